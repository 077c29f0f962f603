"""Anchors: the reference boxes that the RPN's offsets are relative to (section 3.1.1)."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def cell_anchors(
    sizes: Sequence[float], aspect_ratios: Sequence[float], rounded: bool = False
) -> np.ndarray:
    """Make the anchors of one cell, centred on the origin.

    Args:
        sizes: square roots of the areas, in pixels of the network's input.
        aspect_ratios: height / width.
        rounded: round the four coordinates, halves to even, as torchvision does.

    Returns:
        [len(aspect_ratios) * len(sizes), 4] float32 yxyx boxes, ratio-major: all sizes of the first
        ratio come first.
    """
    size = np.asarray(sizes, np.float64)[None, :]
    root = np.sqrt(np.asarray(aspect_ratios, np.float64))[:, None]
    height, width = (size * root).reshape(-1), (size / root).reshape(-1)
    anchors = 0.5 * np.stack([-height, -width, height, width], axis=-1)
    return (np.round(anchors) if rounded else anchors).astype(np.float32)


def places(count: int | tf.Tensor) -> tf.Tensor:
    """Count 0, 1, 2, ... in float32.

    `tf.range` of floats takes its limit as one: a GPU would make that of the shape that it is, and
    give it back.

    Args:
        count: n, scalar int32.

    Returns:
        [n] float32.
    """
    return tf.cast(tf.range(count), tf.float32)


def grid_anchors(
    anchors: np.ndarray, map_size: tf.Tensor, stride: tf.Tensor, offset: float = 0.5
) -> tf.Tensor:
    """Place the anchors of a cell at every cell of a feature map.

    Cell (i, j) has them centred on ((i + offset) * stride, (j + offset) * stride).

    Args:
        anchors: [C, 4] float32 yxyx boxes around the origin.
        map_size: [2] int32 (height, width) of the feature map, in cells.
        stride: [2] float32 pixels of the network's input a cell, vertically and horizontally.
        offset: 0.5 for the cell's centre, 0 for its upper left corner.

    Returns:
        [height * width * C, 4] float32 yxyx boxes; rows of cells first, then columns, then anchors.
    """
    y = (places(map_size[0]) + offset) * stride[0]
    x = (places(map_size[1]) + offset) * stride[1]
    y, x = tf.meshgrid(y, x, indexing="ij")  # [height, width]
    centers = tf.reshape(tf.stack([y, x, y, x], axis=-1), [-1, 1, 4])
    return tf.reshape(centers + anchors, [-1, 4])
