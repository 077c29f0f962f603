"""The interpreter that runs TFLite files here: LiteRT's, or the one in TensorFlow."""

import os
import warnings
from importlib import metadata
from typing import Any

import numpy as np

from tf_frcnn.environment import without_library_messages
from tf_frcnn.tflite.network import SIGNATURE

NUM_THREADS = os.cpu_count() or 1


class FileRunner:
    """Runs a file of this project.

    Args of `__init__`: `content` of the file.

    Attributes:
        name: of the interpreter, with its version.
    """

    def __init__(self, content: bytes) -> None:
        interpreter_class, self.name = _find_interpreter()
        with without_library_messages(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf.lite's announces that it will move to LiteRT
            self._interpreter = interpreter_class(model_content=content, num_threads=NUM_THREADS)
            self._interpreter.allocate_tensors()

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the file's signature on an image.

        Args:
            image: [H, W, 3] uint8 RGB of the file's size.

        Returns:
            boxes [D, 4] float32 yxyx in pixels of the image, scores [D] float32, classes [D]
            int32 from 1; best first, D being the number found.
        """
        answer = self._interpreter.get_signature_runner(SIGNATURE)(images=image[None])
        count = int(answer["num_detections"][0])
        boxes, scores, classes = (
            answer[name][0, :count]
            for name in ("detection_boxes", "detection_scores", "detection_classes")
        )
        return boxes, scores, classes

    def run_once(self) -> None:
        """Run on what the input holds: what is found does not matter, only how long it takes."""
        self._interpreter.invoke()

    def set_input(self, image: np.ndarray) -> None:
        """Put an image into the only input.

        Args:
            image: [H, W, 3] uint8 RGB of the file's size.
        """
        (details,) = self._interpreter.get_input_details()
        self._interpreter.set_tensor(details["index"], image[None])

    def outputs(self) -> list[np.ndarray]:
        """Return what the last run gave, in the order of the file's outputs."""
        details = self._interpreter.get_output_details()
        return [self._interpreter.get_tensor(output["index"]) for output in details]


def _find_interpreter() -> tuple[Any, str]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        return tf.lite.Interpreter, f"tf.lite {tf.__version__}"
    return Interpreter, f"ai-edge-litert {metadata.version('ai-edge-litert')}"
