"""`tf-frcnn predict MODEL INPUT... --output DIR`: draw what a model finds, and write it as JSON."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from tf_frcnn.environment import load_tensorflow
from tf_frcnn.errors import EXIT_FINDINGS, EXIT_OK, DataError, UserError
from tf_frcnn.predict_inputs import (
    UPRIGHT,
    common_folder,
    find_pictures,
    read_picture,
    relative_name,
)
from tf_frcnn.predict_outputs import coco_results, drawing_paths, write_drawing, write_results
from tf_frcnn.runs import prepare_output

if TYPE_CHECKING:
    from tf_frcnn.detector import Detector, Prediction

logger = logging.getLogger(__name__)

DETECTIONS_FILE = "detections.json"
_SEED = 0  # nothing is drawn at random here; TensorFlow wants one all the same


@dataclass(frozen=True)
class PredictArguments:
    """Everything `tf-frcnn predict` takes."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, checkpoint, SavedModel version folder, or its parent (newest version)."""
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT...")]
    """Pictures; folders, of which the pictures directly inside are taken; globs in quotes
    ('photos/**/*.jpg' for all depths). Give them before --classes."""
    output: Path
    """Folder for detections.json and the drawings, in which small pictures are enlarged."""
    score: float = 0.5
    """Detections below this score are left out. The model itself leaves out those below the
    threshold that it was trained or exported with, 0.05 by default."""
    classes: tuple[str, ...] = ()
    """Names of the classes to look for; all of the model's when not given."""
    batch_size: int = 1
    """Pictures read at a time; those of one size go through the network together."""
    exif: Literal["ignore", "apply"] = "ignore"
    """What to do with an EXIF orientation: ignore it, as training does, or turn the picture upright
    first; boxes are then in pixels of the turned picture."""
    overwrite: bool = False
    """Move what is in the output folder to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: a number is out of its range, or no input was given.
        """
        if not 0.0 <= self.score <= 1.0:
            raise UserError(f"--score {self.score}: expected a number from 0 to 1.")
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size}: expected 1 or more.")
        if not self.inputs:
            raise UserError("no INPUT was given: expected pictures, folders or globs after MODEL.")


@dataclass(frozen=True)
class _Picture:
    """A picture that was read: `image` [H, W, 3] uint8 RGB, and its EXIF `orientation`."""

    path: Path
    image: np.ndarray
    orientation: int


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.

    Raises:
        UserError: an option cannot be used, there is no picture, no model, or no place for output.
    """
    arguments = tyro.cli(
        PredictArguments,
        prog="tf-frcnn predict",
        description="Detect objects in pictures: a drawing of each, and detections.json (COCO "
        "results format). Exit status 1 when a picture could not be read.",
        args=list(argv),
    )
    arguments.check()
    paths, problems = find_pictures(arguments.inputs)
    for problem in problems if paths else ():
        logger.warning("%s", problem)
    if not paths:
        raise UserError("\n".join(problems))
    _check_apart(arguments.output, [arguments.model, *paths])
    # Imported late: options, help and wrong inputs need not wait for TensorFlow.
    load_tensorflow()
    from tf_frcnn.detector import Detector
    from tf_frcnn.environment import set_up_tensorflow

    set_up_tensorflow(_SEED)
    detector = Detector.load(arguments.model)
    _check_classes(arguments.classes, detector.class_names)
    prepare_output(arguments.output, arguments.overwrite)
    num_unreadable = predict_pictures(detector, paths, arguments)
    return EXIT_FINDINGS if num_unreadable or problems else EXIT_OK


def predict_pictures(
    detector: "Detector", paths: Sequence[Path], arguments: PredictArguments
) -> int:
    """Detect in pictures, and write a drawing of each and `detections.json`.

    A drawing has the path of its picture below the deepest folder common to all pictures, which is
    also the picture's `file_name` in `detections.json`, and the extension .jpg.

    Args:
        detector: the model.
        paths: at least one picture.
        arguments: the options; the output folder is empty.

    Returns:
        The number of pictures that could not be read.

    Raises:
        UserError: the output cannot be written.
    """
    start = time.perf_counter()
    folder = common_folder(paths)
    drawings = drawing_paths([relative_name(path, folder) for path in paths])
    results_file = arguments.output / DETECTIONS_FILE
    results: list[dict[str, Any]] = []
    orientations: list[int] = []
    pictures = _read_pictures(paths, arguments.exif == "apply")
    while batch := list(itertools.islice(pictures, arguments.batch_size)):
        predictions = detector([picture.image for picture in batch])
        for picture, prediction in zip(batch, predictions, strict=True):
            found = select(prediction, arguments.score, arguments.classes)
            file_name = relative_name(picture.path, folder)
            drawing = arguments.output / drawings[file_name]
            write_drawing(drawing, picture.image, found)
            results += coco_results(file_name, found)
            orientations.append(picture.orientation)
            turned = arguments.exif == "apply" and picture.orientation != UPRIGHT
            note = f" (turned: EXIF orientation {picture.orientation})" if turned else ""
            logger.info("%s%s: %s -> %s", picture.path, note, _counts(found), drawing)
    write_results(results_file, results)
    _log_orientations(orientations, arguments.exif)
    seconds = time.perf_counter() - start
    logger.info(
        "%d pictures in %.1f s, %.2f a second with reading and drawing; %d detections in %s",
        len(orientations),
        seconds,
        len(orientations) / seconds,
        len(results),
        results_file,
    )
    num_unreadable = len(paths) - len(orientations)
    if num_unreadable:
        logger.warning("%d of %d pictures could not be read.", num_unreadable, len(paths))
    return num_unreadable


def select(prediction: "Prediction", score: float, class_names: Sequence[str]) -> "Prediction":
    """Keep the detections that were asked for.

    Args:
        prediction: of one picture.
        score: the lowest that is kept.
        class_names: of the classes that are kept; none stands for all.
    """
    wanted = [
        index
        for index, name in enumerate(prediction.class_names)
        if prediction.scores[index] >= score and (not class_names or name in class_names)
    ]
    return type(prediction)(
        boxes=prediction.boxes[wanted],
        scores=prediction.scores[wanted],
        class_ids=prediction.class_ids[wanted],
        class_names=tuple(prediction.class_names[index] for index in wanted),
    )


# === Checks ===


def _check_apart(output: Path, needed: Iterable[Path]) -> None:
    """Refuse an output folder with inputs in it: --overwrite would move them away."""
    folder = output.resolve()
    for path in needed:
        if path.resolve().is_relative_to(folder):
            raise UserError(
                f"--output {output}: holds {path}, which is an input. Give a folder of its own."
            )


def _check_classes(names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"--classes: the model knows no {', '.join(map(repr, unknown))}. Expected some of "
            f"{', '.join(known)}."
        )


# === Reading ===


def _read_pictures(paths: Iterable[Path], apply_exif: bool) -> Iterator[_Picture]:
    """Read pictures as they are wanted; name those that cannot be read, and go on."""
    for path in paths:
        try:
            image, orientation = read_picture(path, apply_exif)
        except DataError as error:
            logger.warning("skipped: %s", error)
            continue
        yield _Picture(path, image, orientation)


# === What is said ===


def _counts(found: "Prediction") -> str:
    """Say how many of which class, in the order of the best of each."""
    counts = Counter(found.class_names)
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"


def _log_orientations(orientations: Sequence[int], exif: str) -> None:
    count = sum(orientation != UPRIGHT for orientation in orientations)
    if count and exif == "apply":
        logger.info(
            "%d pictures were turned upright by their EXIF orientation: their boxes are in pixels "
            "of the turned pictures.",
            count,
        )
    elif count:
        logger.warning(
            "%d pictures have an EXIF orientation, which was ignored, as in training: boxes are in "
            "stored pixels. --exif apply turns the pictures upright first.",
            count,
        )
