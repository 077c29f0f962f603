"""Detect in images and videos: a drawing of each, a log line each, and their results."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tf_frcnn.data.faults import counted
from tf_frcnn.data.image import read_image, read_image_header
from tf_frcnn.data.orientation import UPRIGHT
from tf_frcnn.errors import DataError
from tf_frcnn.files import write_json
from tf_frcnn.predict.inputs import Reading, common_folder, relative_name
from tf_frcnn.predict.outputs import coco_results, describe_counts, drawing_paths, write_drawing
from tf_frcnn.predict.video import Frame, VideoReader, VideoWriter
from tf_frcnn.prediction import DetectImages, Prediction
from tf_frcnn.progress import track
from tf_frcnn.visualization import draw_detections

logger = logging.getLogger(__name__)

DETECTIONS_FILE = "detections.json"


@dataclass(frozen=True, eq=False)
class _Image:
    """An image that was read: `image` [H, W, 3] uint8 RGB, and its EXIF `orientation`."""

    path: Path
    image: np.ndarray
    orientation: int


_Item = TypeVar("_Item", _Image, Frame)


def predict_files(
    detect: DetectImages,
    images: Sequence[Path],
    videos: Sequence[Path],
    output: Path,
    reading: Reading,
    category_ids: Sequence[int],
) -> int:
    """Detect in images, then in videos: a drawing of each, and all detections in one file.

    The `file_name` of an input is its path below the deepest folder that holds all inputs. Its
    drawing is the file of that name, with the extension .jpg or .mp4, in the output folder;
    `DETECTIONS_FILE` has the detections as objects of the COCO results format, with `frame` in
    videos.

    Args:
        detect: finds in images what is to be told of them.
        images: files; with `videos` at least one.
        videos: files.
        output: an empty folder.
        reading: how they are read.
        category_ids: of the detector's classes, in `DETECTIONS_FILE`.

    Returns:
        How many files could not be read. Of a video that cannot be read to its end there are
        neither a drawing nor detections.

    Raises:
        UserError: something cannot be written, or PyAV is missing.
        KeyboardInterrupt: as it came; what was found in the files before is written.
    """
    folder = common_folder([*images, *videos])
    results: list[dict[str, Any]] = []
    num_unreadable = 0
    file = output / DETECTIONS_FILE
    try:
        for predict, files in ((_predict_images, images), (_predict_videos, videos)):
            if files:
                num_unreadable += predict(
                    detect, files, folder, output, reading, category_ids, results
                )
    except KeyboardInterrupt:
        write_json(file, results)
        logger.warning("interrupted: %s holds what was found until then", file)
        raise
    write_json(file, results)
    logger.info("%s in %s", counted(len(results), "detection"), file)
    return num_unreadable


def _predict_images(
    detect: DetectImages,
    paths: Sequence[Path],
    folder: Path,
    output: Path,
    reading: Reading,
    category_ids: Sequence[int],
    results: list[dict[str, Any]],
) -> int:
    start = time.perf_counter()
    drawings = drawing_paths([relative_name(path, folder) for path in paths], ".jpg")
    num_read = num_oriented = 0
    images = _read_images(paths, reading.apply_exif)
    for image, found in _detect(detect, images, reading.batch_size):
        file_name = relative_name(image.path, folder)
        drawing = output / drawings[file_name]
        write_drawing(drawing, image.image, found)
        results += coco_results(file_name, found, category_ids=category_ids)
        num_read += 1
        is_oriented = image.orientation != UPRIGHT
        num_oriented += is_oriented
        turned = is_oriented and reading.apply_exif
        note = f" (turned: EXIF orientation {image.orientation})" if turned else ""
        counts = describe_counts(Counter(found.class_names))
        logger.info("%s%s: %s -> %s", image.path, note, counts, drawing)
    if num_oriented and reading.apply_exif:
        logger.info(
            "%s turned upright by EXIF orientation: boxes are in pixels of the turned images.",
            counted(num_oriented, "image was", "images were"),
        )
    elif num_oriented:
        logger.warning(
            "%s an EXIF orientation, which was ignored: boxes are in stored pixels. "
            "--exif apply turns the images upright first.",
            counted(num_oriented, "image has", "images have"),
        )
    if num_read:
        seconds = time.perf_counter() - start
        logger.info(
            "%s in %.1f s, %.2f a second with reading and drawing",
            counted(num_read, "image"),
            seconds,
            num_read / seconds,
        )
    if num_read < len(paths):
        total = counted(len(paths), "image")
        logger.warning("%d of %s could not be read.", len(paths) - num_read, total)
    return len(paths) - num_read


def _predict_videos(
    detect: DetectImages,
    paths: Sequence[Path],
    folder: Path,
    output: Path,
    reading: Reading,
    category_ids: Sequence[int],
    results: list[dict[str, Any]],
) -> int:
    drawings = drawing_paths([relative_name(path, folder) for path in paths], ".mp4")
    num_unreadable = 0
    for path in paths:
        file_name = relative_name(path, folder)
        drawing = output / drawings[file_name]
        try:
            results += _predict_video(detect, path, file_name, drawing, reading, category_ids)
        except DataError as error:
            logger.warning("skipped: %s", error)
            num_unreadable += 1
    if num_unreadable:
        total = counted(len(paths), "video")
        logger.warning("%d of %s could not be read.", num_unreadable, total)
    return num_unreadable


def _predict_video(
    detect: DetectImages,
    path: Path,
    file_name: str,
    drawing: Path,
    reading: Reading,
    category_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """Detect in one video -> its results; nothing else in memory grows with its length."""
    start = time.perf_counter()
    results: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    num_frames = 0
    with (
        VideoReader(path, reading.apply_exif, reading.frame_step) as video,
        VideoWriter(drawing, video.size, video.rate) as writer,
    ):
        frames = track(video, path.name, video.num_expected)
        for frame, found in _detect(detect, frames, reading.batch_size):
            writer.write(np.asarray(draw_detections(frame.image, found)))
            results += coco_results(file_name, found, frame.number, category_ids)
            counts.update(found.class_names)
            num_frames += 1
    if video.orientation != UPRIGHT and reading.apply_exif:
        logger.info(
            "%s: was turned upright (orientation %d): boxes are in pixels of the turned frames.",
            path,
            video.orientation,
        )
    elif video.orientation != UPRIGHT:
        logger.warning(
            "%s: its orientation, %d, was ignored: boxes are in stored pixels, and the drawing is "
            "not turned either. --exif apply turns the frames upright first.",
            path,
            video.orientation,
        )
    logger.info(
        "%s: %s%s, %.2f a second with reading and drawing: %s -> %s",
        path,
        counted(num_frames, "frame"),
        f" (--frame-step {reading.frame_step})" if reading.frame_step > 1 else "",
        num_frames / (time.perf_counter() - start),
        describe_counts(counts),
        drawing,
    )
    return results


def _detect(
    detect: DetectImages, items: Iterable[_Item], batch_size: int
) -> Iterator[tuple[_Item, Prediction]]:
    """Detect batch by batch -> each image or frame with its detections."""
    waiting = iter(items)
    while batch := list(itertools.islice(waiting, batch_size)):
        yield from zip(batch, detect([item.image for item in batch]), strict=True)


def _read_images(paths: Iterable[Path], apply_exif: bool) -> Iterator[_Image]:
    """Read images one at a time; warn of those that cannot be read, and go on."""
    for path in paths:
        try:
            orientation = read_image_header(path).orientation
            image = read_image(path, orientation if apply_exif else UPRIGHT)
        except DataError as error:
            logger.warning("skipped: %s", error)
            continue
        yield _Image(path, image, orientation)
