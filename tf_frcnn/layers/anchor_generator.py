"""Dense anchors: the same reference boxes at every cell of the feature map."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.anchors import cell_anchors, grid_anchors


@keras.saving.register_keras_serializable(package="tf_frcnn")
class AnchorGenerator(keras.layers.Layer):
    """Places anchors of all sizes and aspect ratios at every cell (section 3.1.1).

    Inputs: features [B, h, w, C]. Returns anchors [h * w * sizes * ratios, 4] float32 yxyx boxes in
    pixels of the network's input, the same for all pictures of the batch. Anchors may cross the
    picture's border.
    """

    def __init__(
        self, sizes: Sequence[float], aspect_ratios: Sequence[float], stride: int, **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.sizes = tuple(sizes)
        self.aspect_ratios = tuple(aspect_ratios)
        self.stride = stride

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """See the class."""
        anchors = cell_anchors(self.sizes, self.aspect_ratios)
        return grid_anchors(anchors, tf.shape(features)[1:3], self.stride)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("sizes", "aspect_ratios", "stride")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
