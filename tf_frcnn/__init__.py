"""tf_frcnn: Faster R-CNN for TensorFlow and Keras.

What the names below take, return and raise is in `tf_frcnn.config`, `tf_frcnn.data.example`,
`tf_frcnn.prediction` and `tf_frcnn.errors`. They are imported when they are first used, so that
`import tf_frcnn` does not wait for TensorFlow.
"""

import os
import platform
import sys
import warnings
from importlib import import_module
from typing import Any


def _turn_on_onednn() -> None:
    """Turn on TensorFlow's oneDNN kernels, or warn that it is too late for that.

    They are off by default on processors without AVX-512, AMD's among them, where they are up to
    four times as fast as the others. TensorFlow reads the variable when it is imported.
    """
    if "TF_ENABLE_ONEDNN_OPTS" in os.environ:
        return
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # for child processes too
    if "tensorflow" not in sys.modules or platform.machine() not in ("x86_64", "AMD64"):
        return
    try:
        is_on = import_module("tensorflow.python.util._pywrap_util_port").IsMklEnabled()
    except (ImportError, AttributeError):  # no public name, so another version may lack it
        return
    if not is_on:
        warnings.warn(
            "TensorFlow was imported before tf_frcnn, and has left its oneDNN kernels off: on "
            "this processor everything takes longer, up to four times as long. Import tf_frcnn "
            "before tensorflow and keras, or set TF_ENABLE_ONEDNN_OPTS=1 for the whole process.",
            stacklevel=3,
        )


_turn_on_onednn()

_HOMES = {  # name -> module that defines it
    "Config": "tf_frcnn.config",
    "Detector": "tf_frcnn.detector",
    "FasterRCNN": "tf_frcnn.model",
    "FasterRCNNTrainer": "tf_frcnn.training.trainer",
    "PRESETS": "tf_frcnn.presets",
    "export_saved_model": "tf_frcnn.export.saved_model",
    "load_dataset": "tf_frcnn.data.preparation",
    "prepare_dataset": "tf_frcnn.data.preparation",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
