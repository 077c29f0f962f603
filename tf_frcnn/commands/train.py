"""`tf-frcnn train [PRESET] [--section.field VALUE ...]`: train, evaluate and export a detector."""

import contextlib
import dataclasses
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.commands.model_options import typed_value
from tf_frcnn.config import Config
from tf_frcnn.config_upgrade import rename_options
from tf_frcnn.data.example import Dataset
from tf_frcnn.environment import check_backend, set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, ConfigError
from tf_frcnn.files import write_json
from tf_frcnn.model_files import DATASET_FILE, METRICS_FILE, TORCH_SUFFIXES, ModelFiles, find_start
from tf_frcnn.presets import (
    PRESETS,
    as_started,
    explain_decay,
    explain_nms,
    explain_rate,
    with_architecture,
)
from tf_frcnn.pretrained.detectors import DETECTORS
from tf_frcnn.pretrained.trunks import IMAGENET, NO_WEIGHTS, TRUNKS
from tf_frcnn.resuming import check_moved_data, has_moved_data, prepare_run
from tf_frcnn.run_folder import RunFolder, start_run, with_classes, with_exif
from tf_frcnn.run_lock import RunLock
from tf_frcnn.training.distribution import Distribution, join_workers

logger = logging.getLogger(__name__)

DEFAULT_PRESET = "quickstart"
SMALL_NETWORK = "efficientnet_lite0_fpn"
NOTHING_KEPT: dict[str, Any] = {
    "frozen_layers": (),
    "trainable_stages": None,
    "normalization": "batch",
}
"""Fields of the training where everything is trained."""


@dataclass(frozen=True)
class TrainArguments(Config):
    """Everything `tf-frcnn train` takes: the configuration, and what to do with an old run."""

    overwrite: bool = False
    """Move a run that is in the output folder to NAME.bak-TIME and start anew."""
    resume: bool = False
    """Insist on going on: it is an error if there is no run in the output folder."""

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise ConfigError("--resume and --overwrite: expected one of them, or neither.")
        _ = self.config  # refuses sections that do not go together

    @property
    def config(self) -> Config:
        """The configuration alone."""
        fields = dataclasses.fields(Config)
        return Config(**{field.name: getattr(self, field.name) for field in fields})


def main(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """Run the whole job and return its exit status.

    Args:
        argv: arguments without the program's name; the process's own when None.
        prog: what was typed to call the command.

    Raises:
        UserError: something that the user can mend.
    """
    set_up_logging()
    arguments = parse_arguments(argv, prog)
    check_backend()
    distribution = join_workers(arguments.config.distribution)
    folder = RunFolder(arguments.output, is_writer=distribution.is_chief)
    with RunLock(folder) as lock:
        with distribution.chief_first():
            lock.take_what_is_there()  # before it is moved or emptied
            config = prepare_run(folder, arguments.config, arguments.overwrite, arguments.resume)
            lock.take()
        return _run(config, folder, distribution, prog)


def _run(config: Config, folder: RunFolder, distribution: Distribution, prog: str) -> int:
    """Train, evaluate and export in a folder that is prepared -> exit status."""
    # A finished run needs no TensorFlow, nor what follows.
    from tf_frcnn.reporting.summary import print_finished_run, training_figures

    is_elsewhere = has_moved_data(folder, config)
    if distribution.of_chief(folder.is_finished(config)):
        if is_elsewhere and folder.is_writer:
            check_moved_data(folder, config, _fingerprint(config, _load(config, folder)))
        print_finished_run(folder, prog)
        return EXIT_OK

    if not folder.has_started:  # what is missing is told now, and downloaded by one alone
        with distribution.chief_first():
            train = config.train
            find_start(train.start_from, config.model.architecture, train.start_from_epsilon)
    all_gpus = config.distribution.strategy != "none"
    set_up_tensorflow(config.train.seed, config.train.deterministic, all_gpus)
    if not folder.has_started and (advice := advise_small_network(config)):
        logger.info("%s", advice)
    from tf_frcnn.data.drawings import ensure_drawings
    from tf_frcnn.detector import Detector
    from tf_frcnn.export.saved_model import export_saved_model
    from tf_frcnn.inference import InferenceModel
    from tf_frcnn.reporting.curves import plot_curves
    from tf_frcnn.reporting.evaluation import evaluate_detector
    from tf_frcnn.training.run import train_detector

    if config.data.draw_seed is not None:
        with distribution.chief_first():
            ensure_drawings(Path(config.data.root), config.data.draw_seed)
    datasets = _load(config, folder)
    config = with_classes(config, datasets["train"].class_names)
    config = with_exif(config, datasets["train"].exif)
    dataset_record = _fingerprint(config, datasets)
    if is_elsewhere and folder.is_writer:
        check_moved_data(folder, config, dataset_record)
    distribution.check_same(dataset_record["splits"], "data set", "Copy the chief's --data.root.")
    start_run(folder, config, datasets["train"].division, dataset_record)

    network, outcome = train_detector(config, datasets, folder, distribution)
    data = config.data
    sizes = (data.short_side, data.long_side, data.resize_rounding)
    antialias = data.antialias
    inference_model = InferenceModel(network, data.classes, *sizes, antialias=antialias)
    found = {}
    if "test" in datasets:
        found = evaluate_detector(
            Detector.from_network(network, data.classes, *sizes, antialias=antialias).in_batches(),
            datasets["test"],
            folder.path,
            str(folder.path),
            folder.metrics_log,
            distribution,
        )
    if folder.is_writer:
        plot_curves(folder.metrics_log, folder.curves)
        metrics = training_figures(config, folder.metrics_log, outcome) | found
        records = {DATASET_FILE: dataset_record, METRICS_FILE: metrics}
        export_saved_model(inference_model, config, Path(config.export_dir), records)
        write_json(folder.metrics_file, metrics)
    distribution.finish()
    print_finished_run(folder, prog)
    return EXIT_OK


def _load(config: Config, folder: RunFolder) -> dict[str, Dataset]:
    from tf_frcnn.data.loading import load_datasets

    return load_datasets(config.data, config.train.seed, folder.load_division())


def _fingerprint(config: Config, datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    from tf_frcnn.data.fingerprint import fingerprint
    from tf_frcnn.data.formats import find_format

    return fingerprint(config.data.root, find_format(config.data)[1], datasets)


def advise_small_network(config: Config) -> str:
    """Name the network that is made for processors where VGG16 is to be trained without a GPU.

    Args:
        config: of the run; one that starts from ImageNet weights, as those of `finetune` do.

    Returns:
        What to log, or "".
    """
    import tensorflow as tf

    is_large = config.model.architecture == "vgg16" and config.train.start_from == IMAGENET
    if not is_large or tf.config.get_visible_devices("GPU"):
        return ""
    return (
        f"no GPU: --model.architecture {SMALL_NETWORK} (extra [lite0]) trains several times as "
        "fast on processors, and was no less accurate on BCCD's 364 images: docs/models.md"
    )


def parse_arguments(argv: Sequence[str] | None = None, prog: str = "train.py") -> TrainArguments:
    """Parse the arguments; help and what tyro refuses exit, with status 0 and 2.

    Args:
        argv: arguments without the program's name; the process's own when None.
        prog: what was typed to call the command.

    Returns:
        The preset's configuration with the options given applied, output folders filled in.

    Raises:
        ConfigError: there is no such preset, or options that do not go together.
    """
    arguments = rename_options(sys.argv[1:] if argv is None else argv)
    name = DEFAULT_PRESET
    if arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
    if name not in PRESETS:
        raise ConfigError(f"no preset is named {name!r}: expected one of {', '.join(PRESETS)}.")
    preset = PRESETS[name]()
    architecture = typed_value(arguments, "--model.architecture")
    preset = _start_from(preset, typed_value(arguments, "--train.start-from"), architecture)
    run = RunFolder(typed_value(arguments, "--output") or f"runs/{name}")
    if run.has_started and "--overwrite" not in arguments:
        with contextlib.suppress(ConfigError):  # which is told when it is gone on with
            preset = as_started(preset, name, run.load_config())
    default = TrainArguments(
        **{
            **{field.name: getattr(preset, field.name) for field in dataclasses.fields(Config)},
            "output": f"runs/{name}",
            "export_dir": f"saved_models/{name}",
        }
    )
    summaries = {key: (make.__doc__ or "").splitlines()[0] for key, make in PRESETS.items()}
    description = "\n\n".join(
        [
            f"{prog} [PRESET] [options]: train, evaluate and export a detector.",
            *(f"Preset {key}: {summary}" for key, summary in summaries.items()),
            f"The defaults below are those of {name} with {preset.model.architecture}.",
        ]
    )
    parsed = tyro.cli(
        TrainArguments,
        prog=f"{prog} {name}",
        description=description,
        args=arguments,
        default=default,
    )
    remarks = (
        explain_rate(parsed.train, preset.train),
        explain_decay(parsed.train, preset.train),
        explain_nms(parsed.model, preset.model),
    )
    for remark in filter(None, remarks):
        logger.warning("%s", remark)
    return parsed


def _start_from(preset: Config, source: str, architecture: str) -> Config:
    """Fit a preset to the architecture that was typed, or else to the detector to start from.

    Args:
        preset: whose own values give way.
        source: --train.start-from, or "".
        architecture: --model.architecture, or "".

    Raises:
        ConfigError: the detector's configuration cannot be read.
    """
    if architecture in ARCHITECTURES:
        preset = with_architecture(preset, architecture)
    if source in DETECTORS:
        preset = preset if architecture else with_architecture(preset, source)
        return _with_frozen(preset, from_detector=True)
    if source == NO_WEIGHTS:
        train = dataclasses.replace(preset.train, **NOTHING_KEPT)
        return dataclasses.replace(preset, train=train)
    if architecture in TRUNKS and source == IMAGENET:
        return _with_frozen(preset, from_detector=False)
    is_torch = source.endswith(TORCH_SUFFIXES)
    if not source or not Path(source).expanduser().exists():  # which is told when it is looked for
        return preset
    if is_torch and architecture not in TRUNKS:  # so is this
        return preset
    found = find_start(source, architecture)
    if found is None:
        return preset
    if isinstance(found, ModelFiles) and found.published is None and not architecture:
        theirs = found.load_config()
        model = dataclasses.replace(theirs.model, head_rank=0, unused_columns=())
        names = ("short_side", "long_side", "resize_rounding", "antialias")
        sizes = {name: getattr(theirs.data, name) for name in names}
        data = dataclasses.replace(preset.data, **sizes)
        preset = dataclasses.replace(preset, model=model, data=data)
    return _with_frozen(preset, from_detector=isinstance(found, ModelFiles))


def _with_frozen(preset: Config, from_detector: bool) -> Config:
    """Keep the first layers as they are: those that go with what the training starts from."""
    architecture = ARCHITECTURES[preset.model.architecture]
    kept = architecture.from_weights
    if not from_detector and architecture.from_imagenet is not None:
        kept = architecture.from_imagenet
    train = dataclasses.replace(preset.train, **{**NOTHING_KEPT, **kept})
    return dataclasses.replace(preset, train=train)
