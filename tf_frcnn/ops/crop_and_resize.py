"""Bilinear samples of feature maps on the grid of each box, with a gradient that loses nothing.

On CPUs the gradient of `tf.image.crop_and_resize` adds up the boxes from several threads at once
without a lock, so that where boxes overlap some of it is lost, another part each time (unless
`tf.config.experimental.enable_op_determinism` keeps it to one thread). Here it is two matrix
products, which give the same numbers every time.
"""

import tensorflow as tf


@tf.custom_gradient
def sample_grids(
    features: tf.Tensor, first: tf.Tensor, last: tf.Tensor, num_points: tf.Tensor
) -> tf.Tensor:
    """Sample a grid of points for every box; `tf.image.crop_and_resize` in cells.

    Args:
        features: [B, h, w, C] float32.
        first: [B, R, 2] float32 (y, x) of each grid's first point; cell k is at position k.
        last: [B, R, 2] float32 of its last point.
        num_points: scalar int32, points P along a side of a grid, at least 2.

    Returns:
        [B * R, P, P, C] float32; 0 at points outside of 0 to h - 1 and 0 to w - 1. No gradient
        flows to the points.
    """
    last_cell = tf.cast(tf.shape(features)[1:3] - 1, tf.float32)
    num_images, num_rois = tf.shape(first)[0], tf.shape(first)[1]
    crops = tf.image.crop_and_resize(
        features,
        tf.reshape(tf.concat([first / last_cell, last / last_cell], axis=-1), [-1, 4]),
        tf.repeat(tf.range(num_images), num_rois),
        tf.stack([num_points, num_points]),
    )

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None, None]:
        height, width = tf.shape(features)[1], tf.shape(features)[2]
        rows = _weights(first[..., 0], last[..., 0], num_points, height)  # [B, R, P, h]
        cols = _weights(first[..., 1], last[..., 1], num_points, width)  # [B, R, P, w]
        shape = [num_images, num_rois, num_points, num_points, features.shape[-1]]
        # Sum over R, p and q of rows[R, p, y] * cols[R, q, x] * upstream[R, p, q].
        spread = tf.einsum("brqx,brpqc->brpxc", cols, tf.reshape(upstream, shape))
        return tf.einsum("brpy,brpxc->byxc", rows, spread), None, None, None

    return crops, gradient


def _weights(
    first: tf.Tensor, last: tf.Tensor, num_points: tf.Tensor, num_cells: tf.Tensor
) -> tf.Tensor:
    """Compute how much each cell counts at each point along one axis: [B, R, P, cells]."""
    steps = tf.range(num_points, dtype=tf.float32) / tf.cast(num_points - 1, tf.float32)
    points = tf.expand_dims(first, -1) + tf.expand_dims(last - first, -1) * steps  # [B, R, P]
    inside = (points >= 0.0) & (points <= tf.cast(num_cells - 1, tf.float32))
    cells = tf.range(num_cells, dtype=tf.float32)
    weights = tf.maximum(1.0 - tf.abs(tf.expand_dims(points, -1) - cells), 0.0)
    return tf.where(tf.expand_dims(inside, -1), weights, 0.0)
