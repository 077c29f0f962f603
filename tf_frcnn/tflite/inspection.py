"""The report on a TFLite file: what is in it, how long it takes, how far off its answers are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.data.orientation import ExifPolicy
from tf_frcnn.inference import InferenceModel
from tf_frcnn.tflite.calibration import read_resized
from tf_frcnn.tflite.file import describe_file
from tf_frcnn.tflite.interpreter import NUM_THREADS, FileRunner
from tf_frcnn.tflite.report import compare_detections
from tf_frcnn.tflite.timing import milliseconds_by_stage


def inspect_file(
    model: InferenceModel,
    content: bytes,
    size: tuple[int, int],
    images: Sequence[Path],
    exif: ExifPolicy,
) -> dict[str, Any]:
    """Collect the report on a file.

    Args:
        model: what the file was made of.
        content: of the file.
        size: (height, width) of its images, in pixels.
        images: files; the first one is run on, or noise where there is none.
        exif: of the model's data, `config.data.exif`.

    Returns:
        What `describe_file` returns, milliseconds added to the stages; `interpreter`, `threads`,
        `milliseconds` in all, and `deviation`, the `picture` (its path) and what
        `compare_detections` returns.
    """
    if images:
        name, image = str(images[0]), read_resized(images[0], size, exif)
    else:
        name = "noise (no image of the run can be read: --calibration DIR)"
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3))
        image = noise.astype(np.uint8)
    runner = FileRunner(content)
    report = describe_file(content)
    for stage, milliseconds in milliseconds_by_stage(content, image).items():
        report["stages"][stage]["milliseconds"] = milliseconds
    deviation = compare_detections(model(image), runner.detect(image))
    return {
        **report,
        "interpreter": runner.name,
        "threads": NUM_THREADS,
        "milliseconds": sum(stage["milliseconds"] for stage in report["stages"].values()),
        "milliseconds_by_operator": None,  # neither interpreter offers them to Python
        "deviation": {"picture": name, **deviation},
    }
