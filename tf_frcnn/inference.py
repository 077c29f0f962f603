"""From images of any size to detections in their own pixels: what is evaluated and exported."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_frcnn.config import Config
from tf_frcnn.data.transforms import resize_images, scale_boxes
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import ModelFiles
from tf_frcnn.model_weights import load_weights
from tf_frcnn.ops.resized_size import Rounding, resized_size_in_graph


class InferenceModel:
    """Wraps a network in the resizing before it and the scaling back of boxes after it.

    Args of `__init__`: `network`; `class_names` of classes 1..N; `short_side` and `long_side` to
    which images are resized, in pixels, with the `rounding` of `ops.resized_size`; with `antialias`
    as in `resize_images`.
    """

    def __init__(
        self,
        network: FasterRCNN,
        class_names: Sequence[str],
        short_side: int,
        long_side: int,
        rounding: Rounding = "nearest",
        antialias: bool = False,
    ) -> None:
        self.network = network
        self.class_names = tuple(class_names)
        self.short_side = short_side
        self.long_side = long_side
        self.rounding = rounding
        self.antialias = antialias
        self._detect_one = tf.function(
            lambda image: self.detect(tf.expand_dims(image, 0)),
            input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
        )

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detect in a batch of images of one size.

        Args:
            images: [B, H, W, 3] uint8 or float32 RGB, 0-255; any B, H, W.

        Returns:
            detection_boxes [B, D, 4] float32 yxyx boxes in pixels of `images`, detection_scores
            [B, D] float32, detection_classes [B, D] int32 from 1, detection_names [B, D] string,
            num_detections [B] int32; best first, padded with zeros and empty names.
        """
        from_size = tf.shape(images)[1:3]
        size = resized_size_in_graph(
            from_size, self.short_side, self.long_side, rounding=self.rounding
        )
        batch = tf.shape(images)[0]
        image_sizes = tf.tile(tf.expand_dims(tf.cast(size, tf.float32), 0), [batch, 1])
        resized = resize_images(images, size, self.antialias)
        detections = dict(self.network((resized, image_sizes)))
        detections["detection_boxes"] = scale_boxes(detections["detection_boxes"], size, from_size)
        names = tf.constant(["", *self.class_names])
        detections["detection_names"] = tf.gather(names, detections["detection_classes"])
        return detections

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detect in one image.

        Args:
            image: [H, W, 3] uint8 RGB.

        Returns:
            boxes [D, 4] float32 yxyx in pixels of the image, scores [D] float32, classes [D]
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
    load_weights(model, network)
    sizes = (data.short_side, data.long_side, data.resize_rounding)
    return InferenceModel(network, data.classes, *sizes, data.antialias)
