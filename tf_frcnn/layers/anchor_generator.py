"""Dense anchors: the same reference boxes at every cell of a feature map."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.anchors import cell_anchors, grid_anchors
from tf_frcnn.ops.maps import Maps


@keras.saving.register_keras_serializable(package="tf_frcnn")
class AnchorGenerator(keras.layers.Layer):
    """Places anchors at every cell of every map (section 3.1.1).

    Inputs: pixels [B, H, W, 3], the backbone's input, and maps, L x [B, h_l, w_l, C]. Returns
    anchors, L x [A_l, 4] float32 yxyx boxes in pixels of the network's input, the same for all
    images of the batch. Anchors may cross the border. The stride of a map is H // h_l and W // w_l:
    for an uneven map, what lies nearest to it from below.

    Args of `__init__`: `sizes` and `aspect_ratios` as in `cell_anchors`, which also says what
    `rounded` is; `offset` as in `grid_anchors`; with `one_size_a_map` the first map has the first
    size, and so on, otherwise every map has all sizes.
    """

    def __init__(
        self,
        sizes: Sequence[float],
        aspect_ratios: Sequence[float],
        offset: float = 0.5,
        rounded: bool = False,
        one_size_a_map: bool = False,
        **kwargs: Any,
    ) -> None:
        # autocast off: of the maps only the shapes are looked at.
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.sizes = tuple(sizes)
        self.aspect_ratios = tuple(aspect_ratios)
        self.offset = offset
        self.rounded = rounded
        self.one_size_a_map = one_size_a_map

    @property
    def num_anchors(self) -> int:
        """Anchors of a cell."""
        return (1 if self.one_size_a_map else len(self.sizes)) * len(self.aspect_ratios)

    def call(self, inputs: tuple[tf.Tensor, Maps]) -> tuple[tf.Tensor, ...]:
        """See the class."""
        pixels, maps = inputs
        if self.one_size_a_map and len(maps) != len(self.sizes):
            raise ValueError(
                f"sizes {self.sizes}: expected one for each of the backbone's {len(maps)} maps."
            )
        anchors = []
        for number, one_map in enumerate(maps):
            sizes = self.sizes[number : number + 1] if self.one_size_a_map else self.sizes
            map_size = tf.shape(one_map)[1:3]
            stride = tf.cast(tf.shape(pixels)[1:3] // map_size, tf.float32)
            cell = cell_anchors(sizes, self.aspect_ratios, self.rounded)
            anchors.append(grid_anchors(cell, map_size, stride, self.offset))
        return tuple(anchors)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("sizes", "aspect_ratios", "offset", "rounded", "one_size_a_map")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
