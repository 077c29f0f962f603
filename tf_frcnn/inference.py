"""From pictures of any size to detections in their own pixels: what is evaluated and exported."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_frcnn.checkpoint_folder import restore_latest
from tf_frcnn.checkpoints import BEST_FILE, load_checkpoint, named_weights
from tf_frcnn.config import Config
from tf_frcnn.data.transforms import resize_images, scale_boxes
from tf_frcnn.errors import WeightsError
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import ModelFiles
from tf_frcnn.ops.resized_size import resized_size_in_graph
from tf_frcnn.run_folder import RunFolder

logger = logging.getLogger(__name__)

# Where an export keeps a variable: NAME is that of `named_weights`, its slash written as ".S".
_EXPORTED_VARIABLE = "weights/{}/.ATTRIBUTES/VARIABLE_VALUE"


class InferenceModel:
    """Wraps a network in the resizing before it and the scaling back of boxes after it.

    Args of `__init__`: `network`; `class_names` of classes 1..N; `short_side` and `long_side` to
    which pictures are resized, in pixels.
    """

    def __init__(
        self,
        network: FasterRCNN,
        class_names: Sequence[str],
        short_side: int,
        long_side: int,
    ) -> None:
        self.network = network
        self.class_names = tuple(class_names)
        self.short_side = short_side
        self.long_side = long_side
        self._detect_one = tf.function(
            lambda image: self.detect(tf.expand_dims(image, 0)),
            input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
        )

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detect in a batch of pictures of one size.

        Args:
            images: [B, H, W, 3] uint8 or float32 RGB, 0-255; any B, H, W.

        Returns:
            detection_boxes [B, D, 4] float32 yxyx boxes in pixels of `images`, detection_scores
            [B, D] float32, detection_classes [B, D] int32 from 1, detection_names [B, D] string,
            num_detections [B] int32; best first, padded with zeros and empty names.
        """
        from_size = tf.shape(images)[1:3]
        size = resized_size_in_graph(from_size, self.short_side, self.long_side)
        batch = tf.shape(images)[0]
        image_sizes = tf.tile(tf.expand_dims(tf.cast(size, tf.float32), 0), [batch, 1])
        detections = dict(self.network((resize_images(images, size), image_sizes)))
        detections["detection_boxes"] = scale_boxes(detections["detection_boxes"], size, from_size)
        names = tf.constant(["", *self.class_names])
        detections["detection_names"] = tf.gather(names, detections["detection_classes"])
        return detections

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detect in one picture.

        Args:
            image: [H, W, 3] uint8 RGB.

        Returns:
            boxes [D, 4] float32 yxyx in pixels of the picture, scores [D] float32, classes [D]
            int32 from 1; best first, D being the number found.
        """
        detections = self._detect_one(tf.constant(image))
        count = int(detections["num_detections"][0])
        boxes, scores, classes = (
            detections[name][0, :count].numpy()
            for name in ("detection_boxes", "detection_scores", "detection_classes")
        )
        return boxes, scores, classes


def load_network(model: ModelFiles, config: Config | None = None) -> InferenceModel:
    """Build the Keras network of a model, with its weights.

    Args:
        model: of a run the latest checkpoint that can be read is taken, or the best by validation
            where it was trained with `--train.export best`.
        config: of the network, where it is to have other thresholds than it was trained with; the
            model's own when None. Classes filled in.

    Raises:
        WeightsError: the weights are missing, damaged or of another network; or the model is a
            frozen export, whose weights cannot be taken out.
        ConfigError: the model's configuration cannot be read.
    """
    config = config or model.load_config()
    data = config.data
    network = FasterRCNN(config.model, len(data.classes))
    _LOADERS[model.kind](model, network)
    return InferenceModel(network, data.classes, data.short_side, data.long_side)


def _load_run(model: ModelFiles, network: FasterRCNN) -> None:
    run, config = RunFolder(model.path), model.load_config()
    best = run.checkpoints / BEST_FILE
    if config.train.export == "best" and best.is_file():
        step = _load_file(best, network)
    else:
        step = restore_latest(run.checkpoints, network).step
    if step == 0:
        raise WeightsError(
            f"{run.checkpoints}: holds no checkpoint. Expected a run that was trained, or at least "
            "stopped after its first step."
        )
    if not run.is_finished(config):
        logger.warning(
            "%s: the run is not finished; taking what it has, the weights of step %d of %d",
            *(model.path, step, config.train.steps),
        )


def _load_one_checkpoint(model: ModelFiles, network: FasterRCNN) -> None:
    _load_file(model.path, network)


def _load_file(path: Path, network: FasterRCNN) -> int:
    """Load a checkpoint -> its step."""
    try:
        return load_checkpoint(path, network).step
    except OSError as error:
        raise WeightsError(
            f"{path}: the checkpoint cannot be read ({error}). Expected a file that training "
            "wrote; give another one of the run, or the run's folder for the latest that can be "
            "read."
        ) from None


def _load_saved_model(model: ModelFiles, network: FasterRCNN) -> None:
    try:
        values = _read_variables(model, network)
    except WeightsError:
        raise
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise WeightsError(
            f"{model.path}: the SavedModel's variables cannot be read ({error}). Expected all "
            "files of the export; copy the whole folder again, or export anew."
        ) from None
    for name, variable in named_weights(network).items():
        variable.assign(values[name])


def _read_variables(model: ModelFiles, network: keras.Model) -> dict[str, np.ndarray]:
    """Read an export's variables by the names of `named_weights`, all or none."""
    reader = tf.train.load_checkpoint(str(model.path / "variables" / "variables"))
    stored = reader.get_variable_to_shape_map()
    if not any(key.startswith("weights/") for key in stored):
        run = model.load_config().output
        raise WeightsError(
            f"{model.path}: is a frozen export, in which the weights are constants that cannot be "
            f"taken out. Give the run that it was made from{f' ({run})' if run else ''}, one of "
            "its checkpoints, or an export without --freeze."
        )
    values = {}
    for name, variable in named_weights(network).items():
        key = _EXPORTED_VARIABLE.format(name.replace("/", ".S"))
        if stored.get(key) != list(variable.shape):
            found = f"of shape {stored[key]}" if key in stored else "missing"
            raise WeightsError(
                f"{model.path}: variable {name} is {found}, expected one of shape "
                f"{list(variable.shape)}; the variables are not those of assets/config.json. "
                "Export anew."
            )
        values[name] = reader.get_tensor(key)
    return values


_LOADERS: Mapping[str, Callable[[ModelFiles, FasterRCNN], None]] = {
    "run": _load_run,
    "checkpoint": _load_one_checkpoint,
    "saved_model": _load_saved_model,
}
