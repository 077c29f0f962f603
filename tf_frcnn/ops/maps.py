"""Feature maps of several strides: the type that all of them travel in, and who reads which.

A network with one map, as VGG16, has a tuple of one.
"""

import tensorflow as tf

from tf_frcnn.ops.boxes import box_area

Maps = tuple[tf.Tensor, ...]
"""L feature maps [B, h_l, w_l, C], fine to coarse."""

# A RoI as large as ImageNet's images is pooled from the map of stride 2^4 = 16.
CANONICAL_SIDE, CANONICAL_LEVEL = 224.0, 4
# Above a power of two by rounding alone is not above it.
_EPSILON = 1e-6


def assign_levels(boxes: tf.Tensor, first_level: int, last_level: int) -> tf.Tensor:
    """Choose the map that each RoI is pooled from, by its size (FPN, section 4.2, equation 1).

    Level k = floor(4 + log2(sqrt(area) / 224)), k being the logarithm of the map's stride.

    Args:
        boxes: [..., 4] float32 yxyx boxes in pixels of the network's input.
        first_level: log2 of the stride of the finest map.
        last_level: log2 of the stride of the coarsest map.

    Returns:
        [...] int32 index into the maps, 0 for the finest; boxes too small or too large for any map,
        padding among them, take the nearest.
    """
    side = tf.maximum(tf.sqrt(box_area(boxes)), 1e-6)  # padding is empty, and log 0 is no level
    exact = CANONICAL_LEVEL + tf.math.log(side / CANONICAL_SIDE) / tf.math.log(2.0)
    # In float32: a GPU leaves arithmetic of int32 to the processor, and waits for it.
    place = tf.floor(exact + _EPSILON) - first_level
    place = tf.where(place > 0.0, place, 0.0)  # of NaN too, where a maximum would be NaN
    return tf.cast(tf.minimum(place, float(last_level - first_level)), tf.int32)
