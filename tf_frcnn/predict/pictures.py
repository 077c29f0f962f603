"""Detect in pictures: a drawing of each, a line each, and their results."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_frcnn.data.faults import counted
from tf_frcnn.data.orientation import UPRIGHT
from tf_frcnn.errors import DataError
from tf_frcnn.predict.arguments import PredictArguments
from tf_frcnn.predict.inputs import read_picture, relative_name
from tf_frcnn.predict.outputs import (
    coco_results,
    describe_counts,
    drawing_paths,
    write_drawing,
)

if TYPE_CHECKING:
    from tf_frcnn.detector import Detector

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Picture:
    """A picture that was read: `image` [H, W, 3] uint8 RGB, and its EXIF `orientation`."""

    path: Path
    image: np.ndarray
    orientation: int


def predict_pictures(
    detector: "Detector",
    paths: Sequence[Path],
    folder: Path,
    arguments: PredictArguments,
    results: list[dict[str, Any]],
) -> int:
    """Detect in pictures, and write a drawing of each.

    Args:
        detector: the model.
        paths: the pictures.
        folder: absolute, one that all of them lie in. A drawing has the path of its picture below
            it, which is also the picture's `file_name`, and the extension .jpg.
        arguments: the options; the output folder is empty.
        results: the detections are added to it, as objects of the COCO results format, picture by
            picture: who is interrupted has those of the pictures that are drawn.

    Returns:
        How many pictures could not be read.

    Raises:
        UserError: a drawing cannot be written.
    """
    start = time.perf_counter()
    drawings = drawing_paths([relative_name(path, folder) for path in paths], ".jpg")
    orientations: list[int] = []
    pictures = _read_pictures(paths, arguments.exif == "apply")
    while batch := list(itertools.islice(pictures, arguments.batch_size)):
        predictions = detector([picture.image for picture in batch])
        for picture, prediction in zip(batch, predictions, strict=True):
            found = arguments.select(prediction)
            file_name = relative_name(picture.path, folder)
            drawing = arguments.output / drawings[file_name]
            write_drawing(drawing, picture.image, found)
            results += coco_results(file_name, found)
            orientations.append(picture.orientation)
            turned = arguments.exif == "apply" and picture.orientation != UPRIGHT
            note = f" (turned: EXIF orientation {picture.orientation})" if turned else ""
            counts = describe_counts(Counter(found.class_names))
            logger.info("%s%s: %s -> %s", picture.path, note, counts, drawing)
    _log_orientations(orientations, arguments.exif)
    if orientations:
        seconds = time.perf_counter() - start
        logger.info(
            "%s in %.1f s, %.2f a second with reading and drawing",
            counted(len(orientations), "picture"),
            seconds,
            len(orientations) / seconds,
        )
    num_unreadable = len(paths) - len(orientations)
    if num_unreadable:
        logger.warning("%d of %d pictures could not be read.", num_unreadable, len(paths))
    return num_unreadable


def _read_pictures(paths: Iterable[Path], apply_exif: bool) -> Iterator[_Picture]:
    """Read pictures as they are wanted; name those that cannot be read, and go on."""
    for path in paths:
        try:
            image, orientation = read_picture(path, apply_exif)
        except DataError as error:
            logger.warning("skipped: %s", error)
            continue
        yield _Picture(path, image, orientation)


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
