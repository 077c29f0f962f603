"""From arguments to configuration: `train.py [PRESET] [--section.field VALUE ...]`."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import tyro

from tf_frcnn.config import NONE_SPLIT, Config
from tf_frcnn.config_upgrade import rename_options
from tf_frcnn.data.formats import DATASETS
from tf_frcnn.errors import ConfigError
from tf_frcnn.model_files import ModelFiles, find_model
from tf_frcnn.presets import PRESETS

DEFAULT_PRESET = "quickstart"


@dataclass(frozen=True)
class TrainArguments(Config):
    """Everything `train.py` takes: the configuration, and what to do with an old run."""

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


@dataclass(frozen=True)
class EvaluateData:
    """The data to evaluate on; with a MODEL, what is not given is that of its run."""

    format: str | None = None
    """Layout of the data set; see `train.py --help`."""
    root: str | None = None
    """Folder of the data set."""
    test_split: str | None = None
    """Split to evaluate on."""
    classes: tuple[str, ...] | None = None
    """Class names in the order of their ids, from 1, for `--detections`; when not given, those of
    the split. A model has its own."""
    on_error: Literal["stop", "skip"] | None = None
    """What to do about faults in the data: stop and list them, or leave the boxes and pictures out
    that have them; metrics.json says how many."""


@dataclass(frozen=True)
class EvaluateArguments:
    """Everything `evaluate.py` takes."""

    model: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = None
    """Run folder, checkpoint, SavedModel version folder, or its parent (newest version); not with
    --detections."""
    detections: Path | None = None
    """Judge the detections in this file, whoever made them, instead of a model: JSON in the format
    of COCO's results (docs/metrics.md). Needs --data.root."""
    data: EvaluateData = field(default_factory=EvaluateData)
    output: Path | None = None
    """Folder for the figures; when not given RUN/evaluation, RUN/STEP-evaluation of a checkpoint,
    MODELS/NAME-VERSION-evaluation of a SavedModel MODELS/NAME/VERSION, or FILE-evaluation beside
    FILE."""
    overwrite: bool = False
    """Move an evaluation that is in the output folder to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check that there is one thing to evaluate, and that the options fit it.

        Raises:
            ConfigError: there is none, or there are two; or classes are given for a model.
        """
        if (self.model is None) == (self.detections is None):
            there = "neither is given" if self.model is None else f"both are given ({self.model})"
            raise ConfigError(
                f"MODEL and --detections: {there}. Expected a training run, one of its checkpoints "
                "or a SavedModel; or --detections FILE --data.root DIR."
            )
        if self.model is not None and self.data.classes is not None:
            raise ConfigError(
                f"--data.classes {' '.join(self.data.classes)}: {self.model} was trained for "
                "classes of its own. Leave the option out; it is for --detections."
            )

    @property
    def subject(self) -> Path:
        """What is evaluated: the file of detections, or the model where it was found."""
        return self.detections or self.model_files.path

    @property
    def output_folder(self) -> Path:
        """Folder for the figures, given or not."""
        if self.output is not None:
            return self.output
        if self.detections is not None:
            return self.detections.with_name(f"{self.detections.stem}-evaluation")
        return self.model_files.evaluation_folder

    @cached_property
    def model_files(self) -> ModelFiles:
        """The model to evaluate; of no use with detections.

        Raises:
            WeightsError: there is none.
        """
        return find_model(self.model or "")

    def load_config(self) -> Config:
        """Make the configuration: the model's, or the defaults, with the data asked for.

        Raises:
            WeightsError: there is no model.
            ConfigError: its configuration cannot be read, or no split is named.
        """
        return self.apply_to(Config() if self.model is None else self.model_files.load_config())

    def load_division(self) -> dict[str, list[str]] | None:
        """Read how the model's run divided its data set; None for other data, or where none is.

        Raises:
            UserError: the file cannot be read.
        """
        if self.model is None or self.data.root not in (
            None,
            self.model_files.load_config().data.root,
        ):
            return None
        return self.model_files.load_division()

    def apply_to(self, config: Config) -> Config:
        """Replace the data of a configuration by those that were asked for.

        Raises:
            ConfigError: neither the configuration nor the options name a split.
        """
        given = {name: value for name, value in vars(self.data).items() if value is not None}
        if given.get("format", "auto") not in ("auto", *DATASETS):
            expected = ", ".join(("auto", *DATASETS))
            raise ConfigError(f"--data.format {given['format']}: expected one of {expected}.")
        data = dataclasses.replace(config.data, **given)
        if data.test_split == NONE_SPLIT:
            raise ConfigError(
                "--data.test-split none: expected the split to evaluate on: --data.test-split NAME."
            )
        return dataclasses.replace(config, data=data)


def parse_train_arguments(argv: Sequence[str] | None = None) -> TrainArguments:
    """Parse the arguments of `train.py`; a usage error exits with status 2.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        The preset's configuration with the options given applied, output folders filled in.
    """
    arguments = rename_options(sys.argv[1:] if argv is None else argv)
    name = DEFAULT_PRESET
    if arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
    if name not in PRESETS:
        _usage_error(f"no preset is named {name!r}: expected one of {', '.join(PRESETS)}.")
    preset = PRESETS[name]()
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
            "train.py [PRESET] [options]: train, evaluate and export a detector.",
            *(f"Preset {key}: {summary}" for key, summary in summaries.items()),
            f"The defaults below are those of {name}.",
        ]
    )
    try:
        return tyro.cli(
            TrainArguments,
            prog=f"train.py {name}",
            description=description,
            args=arguments,
            default=default,
        )
    except ConfigError as error:  # old tyros leave what the outermost class refuses to the caller
        _usage_error(str(error))


def parse_evaluate_arguments(argv: Sequence[str] | None = None) -> EvaluateArguments:
    """Parse the arguments of `evaluate.py`; a usage error exits with status 2.

    Args:
        argv: arguments without the program's name; the process's own when None.
    """
    arguments = tyro.cli(
        EvaluateArguments,
        prog="evaluate.py",
        description=(
            "Evaluate a model on the test split of its run, another split, or other data; or "
            "judge a file of detections: evaluate.py --detections FILE --data.root DIR."
        ),
        args=argv,
    )
    try:
        arguments.check()
    except ConfigError as error:
        _usage_error(str(error))
    return arguments


def _usage_error(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
