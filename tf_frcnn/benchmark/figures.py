"""The figures of a model: how long it takes, in all and by stage, and how much memory."""

import logging
import resource
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

from tf_frcnn.benchmark.stages import time_stages
from tf_frcnn.detector import Detector
from tf_frcnn.devices import describe_device
from tf_frcnn.errors import WeightsError
from tf_frcnn.inference import load_network
from tf_frcnn.model_files import ModelFiles
from tf_frcnn.timing import measure

logger = logging.getLogger(__name__)


def measure_model(
    model: ModelFiles, batch: int, image_size: tuple[int, int], num_warm_up: int, num_runs: int
) -> dict[str, Any]:
    """Time a model on images of noise, as a user calls it and stage by stage.

    Args:
        model: where it lies.
        batch: images a call.
        image_size: (height, width) in pixels.
        num_warm_up: calls before those that count.
        num_runs: calls that count, at least 1.

    Returns:
        What `tf-frcnn benchmark --output` writes: `model`, `kind`, `picture_size`, `batch`,
        `device`; `seconds_to_load`, `latency` (a `Timing.describe()` of whole calls),
        `pictures_per_second`, `peak_memory_bytes`; and `stages`, name -> timing, or None where the
        network cannot be taken apart.

    Raises:
        WeightsError: there is no such model.
    """
    noise = np.random.default_rng(0).integers(0, 256, (batch, *image_size, 3))
    images = noise.astype(np.uint8)
    start = time.perf_counter()
    detector = Detector.from_files(model)
    seconds_to_load = time.perf_counter() - start
    timing = measure(lambda: detector(images, batch_size=batch), num_warm_up, num_runs)
    return {
        "model": str(model.path),
        "kind": model.kind,
        "picture_size": list(image_size),
        "batch": batch,
        "device": describe_device(),
        "seconds_to_load": seconds_to_load,
        "latency": timing.describe(),
        "pictures_per_second": len(images) / timing.median,
        "peak_memory_bytes": _peak_memory(),
        "stages": _measure_stages(model, images, num_warm_up, num_runs),
    }


def _peak_memory() -> int:
    """Get the most memory that was in use: the first GPU's, or the process's."""
    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most  # bytes there, kibibytes elsewhere


def _measure_stages(
    model: ModelFiles, images: np.ndarray, num_warm_up: int, num_runs: int
) -> dict[str, Any] | None:
    """Time the stages of the network; None where it cannot be taken apart."""
    try:
        inference_model = load_network(model)
    except WeightsError as error:
        logger.warning("no times by stage: %s", error)
        return None
    timings = time_stages(inference_model, tf.constant(images), num_warm_up, num_runs)
    return {name: timing.describe() for name, timing in timings.items()}
