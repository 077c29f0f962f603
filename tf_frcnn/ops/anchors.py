"""Anchors: the reference boxes that the RPN's offsets are relative to (section 3.1.1)."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> np.ndarray:
    """Make the anchors of one cell, centred on the origin.

    Args:
        sizes: square roots of the areas, in pixels of the network's input.
        aspect_ratios: height / width.

    Returns:
        [len(aspect_ratios) * len(sizes), 4] float32 yxyx boxes, ratio-major: all sizes of the first
        ratio come first. Sides are not rounded.
    """
    size = np.asarray(sizes, np.float64)[None, :]
    root = np.sqrt(np.asarray(aspect_ratios, np.float64))[:, None]
    height, width = (size * root).reshape(-1), (size / root).reshape(-1)
    return (0.5 * np.stack([-height, -width, height, width], axis=-1)).astype(np.float32)


def grid_anchors(anchors: np.ndarray, feature_size: tf.Tensor, stride: int) -> tf.Tensor:
    """Place the anchors of a cell at every cell of a feature map.

    Cell (i, j) is centred on ((i + 0.5) * stride, (j + 0.5) * stride).

    Args:
        anchors: [C, 4] float32 yxyx boxes around the origin.
        feature_size: [2] int32 (height, width) of the feature map, in cells.
        stride: pixels of the network's input a cell.

    Returns:
        [height * width * C, 4] float32 yxyx boxes; rows of cells first, then columns, then anchors.
    """
    y = (tf.range(feature_size[0], dtype=tf.float32) + 0.5) * stride
    x = (tf.range(feature_size[1], dtype=tf.float32) + 0.5) * stride
    y, x = tf.meshgrid(y, x, indexing="ij")  # [height, width]
    centers = tf.reshape(tf.stack([y, x, y, x], axis=-1), [-1, 1, 4])
    return tf.reshape(centers + anchors, [-1, 4])
