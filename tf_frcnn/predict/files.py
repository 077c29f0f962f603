"""Detect in pictures and videos, and write `detections.json`."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_frcnn.data.faults import counted
from tf_frcnn.predict.inputs import Reading, common_folder
from tf_frcnn.predict.outputs import write_results
from tf_frcnn.predict.pictures import predict_pictures
from tf_frcnn.predict.videos import predict_videos
from tf_frcnn.prediction import DetectImages

logger = logging.getLogger(__name__)

DETECTIONS_FILE = "detections.json"


def predict_files(
    detect: DetectImages,
    pictures: Sequence[Path],
    videos: Sequence[Path],
    output: Path,
    reading: Reading,
) -> int:
    """Detect in files: a drawing of each, and all detections in one file.

    Args:
        detect: finds in images what is to be told of them.
        pictures: files, at least one together with `videos`.
        videos: files.
        output: an empty folder.
        reading: how they are read.

    Returns:
        How many files could not be read.

    Raises:
        UserError: something cannot be written, or PyAV is missing for videos.
        KeyboardInterrupt: as it came; what was found until then is written.
    """
    folder = common_folder([*pictures, *videos])
    results: list[dict[str, Any]] = []
    num_unreadable = 0
    file = output / DETECTIONS_FILE
    try:
        for predict, files in ((predict_pictures, pictures), (predict_videos, videos)):
            if files:
                num_unreadable += predict(detect, files, folder, output, reading, results)
    except KeyboardInterrupt:
        write_results(file, results)
        logger.warning("interrupted: %s holds what was found until then", file)
        raise
    write_results(file, results)
    logger.info("%s in %s", counted(len(results), "detection"), file)
    return num_unreadable
