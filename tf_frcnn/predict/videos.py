"""Detect in videos, frame by frame: a drawing of each, a line each, and their results."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from tf_frcnn.data.orientation import UPRIGHT
from tf_frcnn.drawing import draw_detections
from tf_frcnn.errors import DataError
from tf_frcnn.predict.inputs import Reading, relative_name
from tf_frcnn.predict.outputs import coco_results, describe_counts, drawing_paths
from tf_frcnn.predict.video_reader import VideoReader
from tf_frcnn.predict.video_writer import VideoWriter
from tf_frcnn.prediction import DetectImages, Prediction

logger = logging.getLogger(__name__)


def predict_videos(
    detect: DetectImages,
    paths: Sequence[Path],
    folder: Path,
    output: Path,
    reading: Reading,
    results: list[dict[str, Any]],
) -> int:
    """Detect in videos, and write a drawing of each.

    Args:
        detect: as in `predict_files`.
        paths: the videos.
        folder: absolute, one that all of them lie in. A drawing has the path of its video below
            it, which is also the video's `file_name`, and the extension .mp4.
        output: the folder to write into, which holds no videos yet.
        reading: how they are read.
        results: the detections are added to it, as objects of the COCO results format with their
            `frame`, video by video.


    Returns:
        How many videos could not be read to their end; those have neither a drawing nor detections.

    Raises:
        UserError: a drawing cannot be written, or PyAV is missing.
    """
    drawings = drawing_paths([relative_name(path, folder) for path in paths], ".mp4")
    num_unreadable = 0
    for path in paths:
        file_name = relative_name(path, folder)
        drawing = output / drawings[file_name]
        try:
            results += _predict_video(detect, path, file_name, drawing, reading)
        except DataError as error:
            logger.warning("skipped: %s", error)
            num_unreadable += 1
    if num_unreadable:
        logger.warning("%d of %d videos could not be read.", num_unreadable, len(paths))
    return num_unreadable


def _predict_video(
    detect: DetectImages, path: Path, file_name: str, drawing: Path, reading: Reading
) -> list[dict[str, Any]]:
    """Detect in one video -> its results, which alone grow with its length."""
    start = time.perf_counter()
    results: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    num_frames = 0
    with (
        VideoReader(path, reading.apply_exif, reading.frame_step) as video,
        VideoWriter(drawing, video.size, video.rate) as writer,
    ):
        console = Console(stderr=True)
        frames = iter(
            track(
                video,
                path.name,
                video.num_expected,
                console=console,
                disable=not console.is_terminal,
            )
        )
        while batch := list(itertools.islice(frames, reading.batch_size)):
            for frame, found in zip(batch, detect([frame.image for frame in batch]), strict=True):
                writer.write(_draw(frame.image, found))
                results += coco_results(file_name, found, frame.number)
                counts.update(found.class_names)
            num_frames += len(batch)
    _log_orientation(path, video.orientation, reading.apply_exif)
    logger.info(
        "%s: %d frames%s, %.2f a second with reading and drawing: %s -> %s",
        path,
        num_frames,
        f" (--frame-step {reading.frame_step})" if reading.frame_step > 1 else "",
        num_frames / (time.perf_counter() - start),
        describe_counts(counts),
        drawing,
    )
    return results


def _draw(image: np.ndarray, found: Prediction) -> np.ndarray:
    """Draw detections on a frame, whose size stays -> [H, W, 3] uint8 RGB."""
    return np.asarray(
        draw_detections(image, found.boxes, found.class_names, found.scores, found.class_ids)
    )


def _log_orientation(path: Path, orientation: int, apply_exif: bool) -> None:
    if orientation == UPRIGHT:
        return
    if apply_exif:
        logger.info(
            "%s: was turned upright (orientation %d): boxes are in pixels of the turned frames.",
            path,
            orientation,
        )
    else:
        logger.warning(
            "%s: its orientation, %d, was ignored, as in training: boxes are in stored pixels, and "
            "the drawing lies as they do. --exif apply turns the frames upright first.",
            path,
            orientation,
        )
