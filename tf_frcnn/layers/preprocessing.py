"""From RGB pictures to what the trunk expects."""

from typing import Any

import keras
import tensorflow as tf

# Means of the ImageNet training pictures, as the Caffe VGG16 weights expect them subtracted.
BGR_MEANS = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="tf_frcnn")
class CaffePreprocessing(keras.layers.Layer):
    """Turns RGB into mean-free BGR and pads to whole cells of the feature map.

    Inputs: images [B, H, W, 3] float32 RGB, 0-255; image_sizes [B, 2] float32 (height, width)
    without padding. Returns [B, H', W', 3] float32 BGR, H' and W' being the next multiples of
    `stride`; padding is 0 after the means are subtracted, so that it is neither black nor bright.
    """

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.stride = stride

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """See the class."""
        images, image_sizes = inputs
        centered = tf.reverse(images, axis=[-1]) - tf.constant(BGR_MEANS)
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        inside_y = tf.sequence_mask(image_sizes[:, 0], height, tf.float32)  # [B, H]
        inside_x = tf.sequence_mask(image_sizes[:, 1], width, tf.float32)  # [B, W]
        mask = tf.expand_dims(inside_y, 2) * tf.expand_dims(inside_x, 1)  # [B, H, W]
        centered *= tf.expand_dims(mask, -1)
        bottom, right = -height % self.stride, -width % self.stride
        return tf.pad(centered, [[0, 0], [0, bottom], [0, right], [0, 0]])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Sides are known only when they are whole cells already."""
        batch, height, width, channels = input_shape[0]
        return (batch, _padded(height, self.stride), _padded(width, self.stride), channels)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "stride": self.stride}


def _padded(side: int | None, stride: int) -> int | None:
    return None if side is None else side + -side % stride
