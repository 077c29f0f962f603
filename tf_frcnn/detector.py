"""Detect objects in pictures with a trained model, wherever it lies.

detector = Detector.load("runs/quickstart")
prediction = detector(image)                     # uint8 [H, W, 3] RGB
for box, name in zip(prediction.boxes, prediction.class_names): ...
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import tensorflow as tf

from tf_frcnn.config import Config
from tf_frcnn.environment import grow_gpu_memory
from tf_frcnn.errors import WeightsError
from tf_frcnn.inference import load_network
from tf_frcnn.model_files import MODEL_TEXT, ModelFiles, find_model
from tf_frcnn.prediction import Prediction

_SIGNATURE = "serving_default"

DetectBatch = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
"""Takes [B, H, W, 3] uint8 RGB and answers what `PictureDetector.detect` does."""


class Detector:
    """A trained model that takes pictures of any size; `Detector.load` makes one.

    Args of `__init__`: `detect_batch` runs the network; `config` of the run that trained it.

    Attributes:
        class_names: of classes 1..N, so that class 1 is `class_names[0]`.
        config: of the run.
    """

    def __init__(self, detect_batch: DetectBatch, config: Config) -> None:
        self._detect_batch = detect_batch
        self.config = config
        self.class_names = config.data.classes

    @classmethod
    def load(cls, path: str | Path) -> "Detector":
        """Load a model.

        Args:
            path: folder of a run, of which the latest checkpoint is taken, or the best where it was
                trained with `--train.export best`; a checkpoint of a run; a SavedModel's version
                folder; or its parent, of which the highest number is taken.

        Raises:
            WeightsError: there is no model, or it cannot be read.
            ConfigError: its config.json cannot be read.
        """
        model = find_model(path)
        config = model.load_config()
        grow_gpu_memory()
        return cls(_LOADERS[model.kind](model), config)

    @overload
    def __call__(self, images: Sequence[np.ndarray]) -> list[Prediction]: ...

    @overload
    def __call__(self, images: np.ndarray) -> Any: ...  # what it is hangs on the rank

    def __call__(self, images: np.ndarray | Sequence[np.ndarray]) -> Prediction | list[Prediction]:
        """Detect in one picture or in several.

        Args:
            images: [H, W, 3] uint8 RGB; or a list or tuple of such pictures, sizes may differ; or
                [B, H, W, 3] uint8 RGB. Pictures of one size go through the network together.

        Returns:
            A prediction; of several pictures a list of them, in their order.

        Raises:
            ValueError: the pictures are of another type or shape.
        """
        if isinstance(images, list | tuple):
            pictures = [_checked_picture(image, f"images[{i}]") for i, image in enumerate(images)]
            return self._detect_all(pictures)
        array = np.asarray(images)
        if array.ndim == 4:
            return self._detect_all([_checked_picture(image, "images") for image in array])
        return self._detect_all([_checked_picture(array, "image")])[0]

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detect in one picture, as evaluation takes it.

        Args:
            image: [H, W, 3] uint8 RGB.

        Returns:
            boxes [D, 4] float32 yxyx in pixels of the picture, scores [D] float32, class ids [D]
            int32 from 1; best first.
        """
        found = self._detect_all([_checked_picture(image, "image")])[0]
        return found.boxes, found.scores, found.class_ids

    def _detect_all(self, pictures: Sequence[np.ndarray]) -> list[Prediction]:
        positions_by_size: dict[tuple[int, ...], list[int]] = {}
        for position, picture in enumerate(pictures):
            positions_by_size.setdefault(picture.shape, []).append(position)
        predictions: dict[int, Prediction] = {}
        for positions in positions_by_size.values():
            batch = tf.constant(np.stack([pictures[position] for position in positions]))
            found = {name: value.numpy() for name, value in self._detect_batch(batch).items()}
            for row, position in enumerate(positions):
                predictions[position] = self._prediction(found, row)
        return [predictions[position] for position in range(len(pictures))]

    def _prediction(self, found: Mapping[str, np.ndarray], row: int) -> Prediction:
        count = int(found["num_detections"][row])  # what follows is padding
        class_ids = found["detection_classes"][row, :count]
        return Prediction(
            boxes=found["detection_boxes"][row, :count],
            scores=found["detection_scores"][row, :count],
            class_ids=class_ids,
            class_names=tuple(self.class_names[class_id - 1] for class_id in class_ids),
        )


def _checked_picture(image: Any, name: str) -> np.ndarray:
    """Make sure that a picture is uint8 [H, W, 3] with at least one pixel."""
    picture = np.asarray(image)
    if picture.dtype != np.uint8:
        remedy = ""
        if np.issubdtype(picture.dtype, np.floating):
            remedy = (
                " Numbers from 0 to 1 are turned back by np.round(255 * image).astype(np.uint8), "
                "those from 0 to 255 by image.astype(np.uint8)."
            )
        raise ValueError(
            f"{name} has type {picture.dtype}: expected uint8 RGB, numbers from 0 to 255.{remedy}"
        )
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise ValueError(
            f"{name} has shape {picture.shape}: expected [height, width, 3], RGB, with at least "
            "one pixel; of several pictures a list, or [pictures, height, width, 3]."
        )
    return picture


def _load_keras(model: ModelFiles) -> DetectBatch:
    # One graph for batches of every size.
    pictures = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
    return tf.function(load_network(model).detect, input_signature=[pictures])


def _load_saved_model(model: ModelFiles) -> DetectBatch:
    folder = model.path
    try:
        module = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise WeightsError(
            f"{folder}: the SavedModel cannot be read ({error}). Expected all files of the export; "
            "copy the whole folder again, or export anew."
        ) from None
    if _SIGNATURE not in module.signatures:
        raise WeightsError(
            f"{folder}: the SavedModel has the signatures {sorted(module.signatures)}, not "
            f"{_SIGNATURE!r}. {MODEL_TEXT}"
        )

    def detect_batch(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        # Reached through the module: its variables live only as long as it does.
        return module.signatures[_SIGNATURE](images=images)

    return detect_batch


_LOADERS: Mapping[str, Callable[[ModelFiles], DetectBatch]] = {
    "run": _load_keras,
    "checkpoint": _load_keras,
    "saved_model": _load_saved_model,
}
