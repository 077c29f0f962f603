"""`tf-frcnn evaluate MODEL`: figures of a model, or with `--detections FILE` of anyone's boxes."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tf_frcnn.commands.model_options import WeightsOptions
from tf_frcnn.config import NONE_SPLIT, Config, DataConfig
from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.formats import DATASETS
from tf_frcnn.data.splits import Division
from tf_frcnn.environment import set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, ConfigError, DataError
from tf_frcnn.files import check_apart, prepare_output, write_json
from tf_frcnn.model_files import DATASET_FILE, METRICS_FILE, ModelFiles
from tf_frcnn.names import normalise_name
from tf_frcnn.resuming import is_same_place

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluateData:
    """The data to evaluate on; with a MODEL, what is not given is that of its run."""

    format: str | None = None
    """Layout of the data set; the help of training says which there are."""
    root: str | None = None
    """Folder of the data set."""
    images: str | None = None
    """Folder of its images, where they are elsewhere."""
    test_split: str | None = None
    """Split to evaluate on."""
    classes: tuple[str, ...] | None = None
    """With a MODEL, those of its classes to judge; boxes of others are left out. For --detections
    all class names in the order of their ids, from 1; those of the split when not given."""
    on_error: Literal["stop", "skip"] | None = None
    """What to do about faults in the data: stop and list them, or leave the boxes and images out
    that have them; metrics.json says how many."""
    exif: Literal["auto", "apply", "ignore"] | None = None
    """What to do about EXIF orientations; a model's own choice when not given."""


@dataclass(frozen=True)
class EvaluateArguments(WeightsOptions):
    """Everything `tf-frcnn evaluate` takes."""

    model: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = None
    """Run folder, checkpoint, SavedModel version folder, or its parent (newest version); or the
    name of a published detector (`tf-frcnn models`); not with --detections."""
    detections: Path | None = None
    """Judge the detections in this file, whoever made them, instead of a model: JSON in the format
    of COCO's results (docs/metrics.md). Needs --data.root."""
    data: EvaluateData = field(default_factory=EvaluateData)
    output: Path | None = None
    """Folder for the figures; when not given RUN/evaluation, RUN/STEP-evaluation of a checkpoint,
    MODELS/NAME-VERSION-evaluation of a SavedModel MODELS/NAME/VERSION, or FILE-evaluation beside
    FILE."""
    max_detections: tuple[int, ...] = ()
    """Give COCO AP with these limits of detections of a class in an image too, beside COCO's own
    100; when not given 300 and 1000, where an image holds more boxes than 100."""
    overwrite: bool = False
    """Move an evaluation that is in the output folder to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check that there is one thing to evaluate, and that the options fit it.

        Raises:
            ConfigError: there is none, or there are two; or the options are of a model, and there
                is none.
        """
        if (self.model is None) == (self.detections is None):
            there = "neither is given" if self.model is None else f"both are given ({self.model})"
            raise ConfigError(
                f"MODEL and --detections: {there}. Expected a training run, one of its "
                "checkpoints, a SavedModel, or the name of a published detector (`tf-frcnn "
                "models`); or --detections FILE --data.root DIR."
            )
        if any(limit < 1 for limit in self.max_detections):
            given = " ".join(map(str, self.max_detections))
            raise ConfigError(f"--max-detections {given}: expected numbers from 1.")
        if self.detections is not None and self.typed_options:
            raise ConfigError(
                f"--detections and {', '.join(self.typed_options)}: no model is run on the images, "
                "so no weights are looked for. Leave them out, or give a MODEL instead of a file."
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
        return self.find_model(self.model or "")

    def load_config(self) -> Config:
        """Make the configuration: the model's, or the defaults, with the data asked for.

        Raises:
            WeightsError: there is no model.
            ConfigError: its configuration cannot be read, or no split is named.
        """
        return self.apply_to(Config() if self.model is None else self.model_files.load_config())

    def check_root(self, config: Config) -> None:
        """Check that the data of the model's run are where they were, unless others are given.

        Args:
            config: as `load_config` gives it.

        Raises:
            ConfigError: there is no such folder.
        """
        data = config.data
        is_typed = self.data.root is not None or self.model is None
        if is_typed or not data.root or data.format == "tfds" or Path(data.root).exists():
            return
        relative = "" if Path(data.root).is_absolute() else f", seen from {Path.cwd()}"
        raise ConfigError(
            f"{data.root}: there is no such folder{relative}. It is the --data.root that "
            f"{self.model} was trained with; say where the data are now: `--data.root DIR`."
        )

    def load_division(self, data: DataConfig) -> Division | None:
        """Find out how the model's run divided its data set, where these are the same data.

        Data that lie elsewhere are read, and compared with the fingerprint that the run keeps.

        Args:
            data: to evaluate on.

        Returns:
            The division; None for other data, or where none is known.

        Raises:
            UserError: a file of the run cannot be read.
        """
        division = None if self.model is None else self.model_files.load_division()
        if division is None:
            return None
        theirs = self.model_files.load_config()
        if is_same_place(theirs.data, data):
            return division
        record = self.model_files.load_records().get(DATASET_FILE)
        if not isinstance(record, dict):
            return None
        from tf_frcnn.data.fingerprint import fingerprint
        from tf_frcnn.data.loading import read_datasets

        place = {name: getattr(data, name) for name in ("root", "images", "format")}
        try:
            moved = dataclasses.replace(theirs.data, **place)
            # Faults are told when the split is loaded; here they only make another fingerprint.
            found = read_datasets(moved, theirs.train.seed, division, lambda *_: None)
        except DataError:  # so is this
            return None
        if fingerprint(data.root, data.format, found)["splits"] == record.get("splits"):
            logger.info("%s: the images and boxes of %s, divided as there", data.root, self.model)
            return division
        logger.warning(
            "%s: not the images and boxes of %s, by its %s; divided anew, and the model may have "
            "seen some of them",
            *(data.root, self.model, DATASET_FILE),
        )
        return None

    def apply_to(self, config: Config) -> Config:
        """Replace the data of a configuration by those that were asked for.

        Raises:
            ConfigError: neither the configuration nor the options name a split.
        """
        given = {name: value for name, value in vars(self.data).items() if value is not None}
        if "classes" in given:  # as the configuration has them
            given["classes"] = tuple(map(normalise_name, given["classes"]))
        if given.get("format", "auto") not in ("auto", *DATASETS):
            expected = ", ".join(("auto", *DATASETS))
            raise ConfigError(f"--data.format {given['format']}: expected one of {expected}.")
        known = config.data.classes
        unknown = [name for name in given.get("classes", ()) if known and name not in known]
        if unknown:
            raise ConfigError(
                f"--data.classes {' '.join(unknown)}: {self.model} knows no such class. Expected "
                f"some of {enumerate_names(known)}."
            )
        data = dataclasses.replace(config.data, **given)
        if data.test_split == NONE_SPLIT:
            raise ConfigError(
                "--data.test-split none: expected the split to evaluate on: --data.test-split NAME."
            )
        return dataclasses.replace(config, data=data)


def main(argv: Sequence[str] | None = None, prog: str = "evaluate.py") -> int:
    """Run the evaluation and return its exit status.

    Args:
        argv: arguments without the program's name; the process's own when None.
        prog: what was typed to call the command.

    Raises:
        UserError: something that the user can mend.
    """
    arguments = parse_arguments(argv, prog)
    set_up_logging()
    config = arguments.load_config()
    arguments.check_root(config)
    output = arguments.output_folder
    check_apart(output, [arguments.subject, arguments.weights, config.data.root])
    prepare_output(output, arguments.overwrite)
    if arguments.detections is None:
        set_up_tensorflow(config.train.seed)
    from tf_frcnn.data.loading import load_dataset
    from tf_frcnn.evaluation.evaluator import select_classes
    from tf_frcnn.evaluation.results_file import read_results
    from tf_frcnn.reporting.evaluation import evaluate_detections, evaluate_detector
    from tf_frcnn.reporting.summary import print_figures, training_figures

    data, seed = config.data, config.train.seed
    is_choice = arguments.model is not None and arguments.data.classes is not None
    dataset = load_dataset(
        *(data, data.test_split, data.classes, seed, arguments.load_division(data)),
        others="leave out" if is_choice else "refuse",
    )
    title = f"{arguments.subject} on split {dataset.split} of {data.root}"
    if arguments.detections is not None:
        detections = read_results(arguments.detections, dataset)
        metrics = evaluate_detections(
            detections, dataset, output, title, limits=arguments.max_detections
        )
    else:
        from tf_frcnn.detector import Detector
        from tf_frcnn.model_weights import outcome_so_far

        model = arguments.model_files
        detector = Detector.from_files(model)
        metrics = {}
        if model.metrics_log is not None:
            outcome = model.load_records().get(METRICS_FILE) or outcome_so_far(model)
            metrics = training_figures(config, model.metrics_log, outcome)
        detect = select_classes(detector.in_batches(), detector.class_names, data.classes)
        metrics |= evaluate_detector(
            detect,
            dataset,
            output,
            title,
            model.metrics_log,
            limits=arguments.max_detections,
        )
    write_json(output / METRICS_FILE, metrics)
    print_figures(metrics, title)
    logger.info("written to %s", output)
    return EXIT_OK


def parse_arguments(
    argv: Sequence[str] | None = None, prog: str = "evaluate.py"
) -> EvaluateArguments:
    """Parse the arguments; help and what tyro refuses exit, with status 0 and 2.

    Args:
        argv: arguments without the program's name; the process's own when None.
        prog: what was typed to call the command.

    Raises:
        ConfigError: options that do not go together.
    """
    arguments = tyro.cli(
        EvaluateArguments,
        prog=prog,
        description=(
            "Evaluate a model on the test split of its run, another split, or other data; or "
            f"judge a file of detections: {prog} --detections FILE --data.root DIR."
        ),
        args=argv,
    )
    arguments.check()
    return arguments
