"""From RGB images to what the backbone expects."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.anchors import places


@keras.saving.register_keras_serializable(package="tf_frcnn")
class Preprocessing(keras.layers.Layer):
    """Orders the channels, normalises them, and pads to whole cells of the feature maps.

    Inputs: images [B, H, W, 3] float32 RGB, 0-255; image_sizes [B, 2] float32 (height, width)
    without padding. Returns [B, H', W', 3] float32, H' and W' being the next multiples of
    `multiple`; padding is 0 after the means are subtracted, so that it is neither black nor bright.

    Args of `__init__`: `order` of the channels, "rgb" or "bgr"; their `mean` and `std`, in that
    order; `multiple` of pixels.
    """

    def __init__(
        self,
        order: str,
        mean: Sequence[float],
        std: Sequence[float],
        multiple: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.order = order
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.multiple = multiple

    @property
    def value_range(self) -> tuple[float, float]:
        """The smallest and the largest number that a pixel can become."""
        extremes = [
            (value - mean) / std
            for value in (0.0, 255.0)
            for mean, std in zip(self.mean, self.std, strict=True)
        ]
        return min(extremes), max(extremes)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """See the class."""
        images, image_sizes = inputs
        if self.order == "bgr":
            images = tf.reverse(images, axis=[-1])
        pixels = images - tf.constant(self.mean)
        if set(self.std) != {1.0}:
            pixels /= tf.constant(self.std)
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        sizes = tf.floor(tf.cast(image_sizes, tf.float32))
        inside_y = places(height) < sizes[:, :1]  # [B, H]
        inside_x = places(width) < sizes[:, 1:]  # [B, W]
        mask = tf.expand_dims(inside_y, 2) & tf.expand_dims(inside_x, 1)  # [B, H, W]
        pixels *= tf.expand_dims(tf.cast(mask, tf.float32), -1)
        bottom, right = -height % self.multiple, -width % self.multiple
        return tf.pad(pixels, [[0, 0], [0, bottom], [0, right], [0, 0]])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Sides are known only when they are whole cells already."""
        batch, height, width, channels = input_shape[0]
        return (batch, _padded(height, self.multiple), _padded(width, self.multiple), channels)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("order", "mean", "std", "multiple")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _padded(side: int | None, multiple: int) -> int | None:
    return None if side is None else side + -side % multiple
