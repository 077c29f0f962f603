"""What TensorFlow computes on: GPUs, their memory, and a card that it cannot use."""

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

# NVIDIA's driver makes the first on Linux, and brings the second into Windows' subsystem for Linux,
# whose own device, /dev/dxg, is there for the cards of all makers.
_CARD_FILES = ("dev/nvidia[0-9]*", "usr/lib/wsl/lib/libcuda.so.1")
_ROOT = Path("/")
_LIST_GPUS = "import tensorflow as tf; tf.config.list_physical_devices('GPU')"
_TELLING = ("cuda", "gpu", "dlopen", "driver")  # words of lines that may say why
_SECONDS = 120  # to import TensorFlow on a slow disk


def leave_other_gpus_alone() -> None:
    """Use the first GPU alone, where there are several: TensorFlow takes memory of all it sees.

    Before the first operation, as in `grow_gpu_memory`.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < 2:
        return
    try:
        tf.config.set_visible_devices(gpus[:1], "GPU")
    except RuntimeError as error:
        logger.debug("all GPUs stay visible (%s)", error)


def grow_gpu_memory() -> None:
    """Let TensorFlow take GPU memory as it needs it, not all of it at once.

    Before the first operation, that is: where a program has used TensorFlow already, what it chose
    stays.
    """
    import tensorflow as tf

    for gpu in tf.config.get_visible_devices("GPU"):
        if not tf.config.experimental.get_memory_growth(gpu):
            try:
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError as error:
                logger.debug("%s: memory growth stays off (%s)", gpu.name, error)


def describe_device() -> str:
    """Name the GPUs that are used, and count those that are not; or name the processor."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return f"CPU, {os.cpu_count()} cores, {platform.machine()}"
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "") for gpu in gpus]
    num_others = len(tf.config.list_physical_devices("GPU")) - len(gpus)
    others = f"; left alone: {num_others} more" if num_others else ""
    return ", ".join(names) + others


def explain_unused_card() -> str:
    """Say why TensorFlow does not use the NVIDIA card of this machine.

    TensorFlow says it in its log alone, while it is loaded, which commands keep off the terminal:
    so it is loaded once more, by a process of its own.

    Returns:
        What to log: TensorFlow's own reason and what mends it. "" where there is no card, it is
        used, or it is hidden on purpose, by CUDA_VISIBLE_DEVICES.
    """
    import tensorflow as tf

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    cards = sorted(str(file) for name in _CARD_FILES for file in _ROOT.glob(name))
    if hidden or not cards or tf.config.list_physical_devices("GPU"):
        return ""
    if tf.test.is_built_with_cuda():
        reason = _reason_for_no_gpu()
        remedy = (
            "Install CUDA's libraries beside TensorFlow, `python -m pip install "
            "'tensorflow[and-cuda]'`, and see that `nvidia-smi` lists the card; where it does not, "
            "NVIDIA's driver is missing or too old"
        )
    else:
        reason = "this TensorFlow was built without CUDA"
        remedy = "Install one with it: `python -m pip install 'tensorflow[and-cuda]'`"
    return (
        f"{', '.join(cards)}: there is an NVIDIA card here that TensorFlow cannot use, so all is "
        f"computed on the processor. TensorFlow says: {reason}. {remedy}. Set "
        "CUDA_VISIBLE_DEVICES=-1 to use the processor without this message."
    )


def _reason_for_no_gpu() -> str:
    """Load TensorFlow in a process of its own -> what it writes of GPUs, on one line."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    try:
        said = subprocess.run(
            [sys.executable, "-c", _LIST_GPUS],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        ).stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nothing that could be read ({type(error).__name__})"
    # A line of its log is "DATE TIME: W FILE:LINE] text"; W and E are warnings and errors.
    told = [line.split("] ", 1)[-1].strip().rstrip(".") for line in said.splitlines()]
    telling = [line for line in told if any(word in line.lower() for word in _TELLING)]
    return "; ".join(dict.fromkeys(telling)) or "nothing about it"
