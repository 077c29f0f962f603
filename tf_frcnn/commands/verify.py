"""`tf-frcnn verify NAME`: does a published detector reach its published AP on COCO?"""

import logging
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Annotated

import tyro

from tf_frcnn.config import DataConfig
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import counted
from tf_frcnn.devices import describe_device
from tf_frcnn.environment import set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_FINDINGS, EXIT_OK, DataError, UserError, WeightsError
from tf_frcnn.files import check_apart, prepare_output, write_json
from tf_frcnn.model_files import METRICS_FILE, ModelFiles
from tf_frcnn.pretrained.catalogue import PublishedWeights
from tf_frcnn.pretrained.detectors import DETECTORS, WEIGHTS_OPTION, find_detector
from tf_frcnn.pretrained.download import sha256_of

logger = logging.getLogger(__name__)

SPLIT = "val2017"
NUM_IMAGES = 5000
"""Of COCO's split that the published figures are of."""
TOLERANCE = 0.1
"""Points of AP, of which figures are published to one decimal."""


@dataclass(frozen=True)
class VerifyData:
    """COCO, as it is published."""

    root: str = ""
    """Folder with annotations/instances_val2017.json and the images in val2017/."""


@dataclass(frozen=True)
class VerifyArguments:
    """Everything `tf-frcnn verify` takes."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name of a published detector (`tf-frcnn models`)."""
    data: VerifyData = field(default_factory=VerifyData)
    weights: Path | None = None
    """The published file, where it is not in the cache."""
    offline: bool = False
    """Use no network: the file must be in the cache."""
    limit: int | None = None
    """Look at the first N images only, to see that all works; nothing is compared then."""
    output: Path | None = None
    """Folder for detections.json, metrics.json and the report; NAME-verification when not given.
    What was found so far is kept in a file beside it, and the same command goes on from there."""
    overwrite: bool = False
    """Move what is in the output folder to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: no detector is published by that name, no data are given, or the limit is
                no number of images.
        """
        if self.name not in DETECTORS:
            raise UserError(
                f"NAME {self.name}: no published detector has this name. Expected one of "
                f"{', '.join(DETECTORS)}."
            )
        if not self.data.root:
            raise UserError(
                "--data.root is missing: expected the folder of COCO, with "
                f"annotations/instances_{SPLIT}.json and the images in {SPLIT}/."
            )
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit {self.limit}: expected a number of images, 1 or more.")

    @property
    def output_folder(self) -> Path:
        """Folder for the figures, given or not."""
        return self.output or Path(f"{self.name}-verification")


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Raises:
        UserError: an option cannot be used, the data are not COCO's val2017, or the weights are not
            the published ones or cannot be had.
    """
    arguments = tyro.cli(
        VerifyArguments,
        prog=prog,
        description="Run a published detector on COCO val2017, and compare its box AP with the "
        f"published one. Exit status 1 when they differ by more than {TOLERANCE} points.",
        args=list(argv),
    )
    set_up_logging()
    arguments.check()
    check_apart(arguments.output_folder, [arguments.data.root, arguments.weights])
    entry = DETECTORS[arguments.name]
    dataset = _load_dataset(arguments, entry)
    model, digits = _find_weights(arguments, entry)
    output = arguments.output_folder
    prepare_output(output, arguments.overwrite)
    set_up_tensorflow()
    from tf_frcnn.detector import Detector
    from tf_frcnn.evaluation.kept_detections import keep_detections
    from tf_frcnn.reporting.evaluation import evaluate_detector

    detector = Detector.from_files(model)
    kept = output.with_name(f"{output.name}.partial")
    with keep_detections(detector.detect, kept, {"sha256": digits, **_versions()}) as detect:
        title = f"{entry.name} on split {SPLIT} of {arguments.data.root}"
        metrics = evaluate_detector(detect, dataset, output, title)
    published = {"sha256": digits, "published_coco_ap": entry.coco_ap}
    write_json(output / METRICS_FILE, {**metrics, **published})
    if arguments.limit is None:  # else it may hold what a longer run found before
        kept.unlink()
    logger.info("written to %s", output)
    return _compare(arguments, entry, digits, metrics["coco_ap"], dataset)


def _load_dataset(arguments: VerifyArguments, entry: PublishedWeights) -> Dataset:
    """Read the images with their boxes, classes by their names.

    Raises:
        DataError: there is no val2017, or not all of it.
    """
    from tf_frcnn.data.loading import load_dataset

    # A box that COCO itself has wrong must not stop the comparison; the result tells of it.
    data = DataConfig(
        format="coco",
        root=arguments.data.root,
        test_split=SPLIT,
        on_error="skip",
        exif="ignore",  # torchvision's figures are those of stored pixels
    )
    dataset = load_dataset(data, SPLIT, tuple(entry.categories.values()), seed=0)
    if arguments.limit is not None:
        return replace(dataset, examples=dataset.examples[: arguments.limit])
    if len(dataset.examples) != NUM_IMAGES:
        raise DataError(
            f"--data.root {arguments.data.root}: {SPLIT} has "
            f"{counted(len(dataset.examples), 'image')} that can be used. Expected the {NUM_IMAGES}"
            " that the published figure is of; --limit N looks at some, and compares nothing."
        )
    return dataset


def _find_weights(arguments: VerifyArguments, entry: PublishedWeights) -> tuple[ModelFiles, str]:
    """Find the published weights -> (the model, the SHA-256 of its file).

    Raises:
        WeightsError: they cannot be had, or the file is another one.
    """
    found = find_detector(entry.name, arguments.weights, offline=arguments.offline)
    digits, published = sha256_of(found.path), entry.sha256 or entry.sha256_start
    if not digits.startswith(published):
        raise WeightsError(
            f"{WEIGHTS_OPTION} {found.path}: has the SHA-256 {digits}, and the published file's "
            f"begins with {published}. Expected that file; tf-frcnn evaluate {entry.name} "
            f"{WEIGHTS_OPTION} PATH gives the figures of others."
        )
    return ModelFiles("published", found.path, None, found), digits


def _compare(
    arguments: VerifyArguments,
    entry: PublishedWeights,
    digits: str,
    figure: float | None,
    dataset: Dataset,
) -> int:
    """Print the result on one line, and whether it agrees -> exit status."""
    if figure is None or entry.coco_ap is None:
        raise DataError(f"--data.root {arguments.data.root}: the images have no box to find.")
    num_boxes = sum(len(example.boxes) for example in dataset.examples)
    num_left_out = dataset.num_boxes_left_out if arguments.limit is None else 0
    left_out = f" ({num_left_out} left out)" if num_left_out else ""
    found, difference = 100 * figure, 100 * figure - entry.coco_ap
    parts = [
        entry.name,
        f"SHA-256 {digits}",
        f"AP {found:.2f}",
        f"published {entry.coco_ap:.1f}",
        f"difference {difference:+.2f}",
        f"{counted(len(dataset.examples), 'image')}, {num_boxes} boxes{left_out}",
        ", ".join(f"{name} {version}" for name, version in _versions().items()),
        f"{describe_device()}, {platform.system()}",
    ]
    if arguments.limit is not None:
        parts[3:5] = [f"not compared with {entry.coco_ap:.1f}, which is of all {NUM_IMAGES} images"]
    sys.stdout.write(" | ".join(parts) + "\n")
    if arguments.limit is not None:
        return EXIT_OK
    agrees = round(abs(difference), 6) <= TOLERANCE
    sys.stdout.write(f"{'agrees' if agrees else 'DIFFERS'}: {TOLERANCE} points are allowed\n")
    return EXIT_OK if agrees else EXIT_FINDINGS


def _versions() -> dict[str, str]:
    """Give the versions that a figure depends on."""
    import keras
    import tensorflow as tf

    return {
        "tf_frcnn": metadata.version("tf_frcnn"),
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
    }
