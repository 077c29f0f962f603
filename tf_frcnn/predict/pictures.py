"""Detect in pictures: a drawing of each, a line each, and their results."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.data.faults import counted
from tf_frcnn.data.orientation import UPRIGHT
from tf_frcnn.errors import DataError
from tf_frcnn.predict.inputs import Reading, read_picture, relative_name
from tf_frcnn.predict.outputs import (
    coco_results,
    describe_counts,
    drawing_paths,
    write_drawing,
)
from tf_frcnn.prediction import DetectImages

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Picture:
    """A picture that was read: `image` [H, W, 3] uint8 RGB, and its EXIF `orientation`."""

    path: Path
    image: np.ndarray
    orientation: int


def predict_pictures(
    detect: DetectImages,
    paths: Sequence[Path],
    folder: Path,
    output: Path,
    reading: Reading,
    results: list[dict[str, Any]],
) -> int:
    """Detect in pictures, and write a drawing of each.

    Args:
        detect: as in `predict_files`.
        paths: the pictures.
        folder: absolute, one that all of them lie in. A drawing has the path of its picture below
            it, which is also the picture's `file_name`, and the extension .jpg.
        output: the folder to write into, which is empty.
        reading: how they are read.
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
    pictures = _read_pictures(paths, reading.apply_exif)
    while batch := list(itertools.islice(pictures, reading.batch_size)):
        for picture, found in zip(batch, detect([picture.image for picture in batch]), strict=True):
            file_name = relative_name(picture.path, folder)
            drawing = output / drawings[file_name]
            write_drawing(drawing, picture.image, found)
            results += coco_results(file_name, found)
            orientations.append(picture.orientation)
            turned = reading.apply_exif and picture.orientation != UPRIGHT
            note = f" (turned: EXIF orientation {picture.orientation})" if turned else ""
            counts = describe_counts(Counter(found.class_names))
            logger.info("%s%s: %s -> %s", picture.path, note, counts, drawing)
    _log_orientations(orientations, reading.apply_exif)
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


def _log_orientations(orientations: Sequence[int], apply_exif: bool) -> None:
    count = sum(orientation != UPRIGHT for orientation in orientations)
    if count and apply_exif:
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
