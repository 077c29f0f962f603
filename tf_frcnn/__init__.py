"""tf_frcnn: Faster R-CNN for TensorFlow and Keras.

What the names below take, return and raise is in `tf_frcnn.config`, `tf_frcnn.data.example`,
`tf_frcnn.prediction` and `tf_frcnn.errors`. They are imported when they are first used, so that
`import tf_frcnn` does not wait for TensorFlow.
"""

import os
from importlib import import_module
from typing import Any

# TensorFlow reads these when it is imported. Its oneDNN kernels are off by default on processors
# without AVX-512, AMD's among them, where they are about four times as fast as the others.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

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
