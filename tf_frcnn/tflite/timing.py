"""How long a TFLite file takes, in all and by stage."""

import statistics
import time
from collections.abc import Mapping

import numpy as np

from tf_frcnn.tflite.flatbuffer import cut_after
from tf_frcnn.tflite.interpreter import FileRunner
from tf_frcnn.tflite.stages import STAGES

NUM_RUNS = 5


def milliseconds(runner: FileRunner, picture: np.ndarray) -> float:
    """Measure a run: the median of `NUM_RUNS`, after one that is not counted.

    Args:
        runner: of a whole file or of its first stages.
        picture: [H, W, 3] uint8 RGB of the file's size.
    """
    runner.set_input(picture)
    runner.run_once()
    times = []
    for _ in range(NUM_RUNS):
        start = time.perf_counter()
        runner.run_once()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def milliseconds_by_stage(content: bytes, picture: np.ndarray) -> Mapping[str, float]:
    """Measure each stage: what a file of the stages up to it takes longer than the one before.

    Args:
        content: of the file.
        picture: [H, W, 3] uint8 RGB of the file's size.

    Returns:
        Stage -> milliseconds; a difference of two medians, so that a short stage can come out below
        0.
    """
    totals = [milliseconds(FileRunner(cut_after(content, stage)), picture) for stage in STAGES[:-1]]
    totals.append(milliseconds(FileRunner(content), picture))
    return dict(zip(STAGES, np.diff(totals, prepend=0.0).tolist(), strict=True))
