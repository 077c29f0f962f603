"""Bilinear samples of feature maps on the grid of each box, with a gradient that loses nothing.

`pool_grids` is what `crop_and_resize_pool` takes; TFLite has no `crop_and_resize`, and gets a twin
of gathers.

On CPUs the gradient of `tf.image.crop_and_resize` adds up the boxes from several threads at once
without a lock, so that where boxes overlap some of it is lost, another part each time (unless
`tf.config.experimental.enable_op_determinism` keeps it to one thread). Here it is two matrix
products, which give the same numbers every time, of a few RoIs at a time: between the two stands an
array of rows of points by columns of cells for each RoI.
"""

import functools

import tensorflow as tf

from tf_frcnn.ops.anchors import places
from tf_frcnn.ops.builtin import takes_builtin_only

ROIS_AT_ONCE = 16  # whose gradient is made at a time, where their number is known


def pool_grids(
    features: tf.Tensor, first: tf.Tensor, last: tf.Tensor, output_size: int
) -> tf.Tensor:
    """Sample a grid of 2S x 2S points for every box, and keep the maximum of every 2 x 2.

    Args:
        features: [B, h, w, C] float32; for TFLite with static sides, and B = 1.
        first: [B, R, 2] float32 (y, x) of each grid's first point; cell k is at position k.
        last: [B, R, 2] float32 of its last point.
        output_size: S.

    Returns:
        [B * R, S, S, C] float32; points outside of 0 to h - 1 and 0 to w - 1 are 0. No gradient
        flows to the points.
    """
    if takes_builtin_only():
        return _pool_grids_by_gathers(features, first, last, output_size)
    crops = sample_grids(features, first, last, tf.constant(2 * output_size))  # [B * R, 2S, 2S, C]
    return tf.nn.max_pool2d(crops, ksize=2, strides=2, padding="VALID")


def crop_grids(
    features: tf.Tensor,
    first: tf.Tensor,
    last: tf.Tensor,
    images: tf.Tensor,
    num_points: tf.Tensor,
) -> tf.Tensor:
    """Call `tf.image.crop_and_resize` in cells, with its own gradient.

    Args:
        features: [B, h, w, C] float32, of more than one cell each way.
        first: [R, 2] float32 (y, x) of each grid's first point; cell k is at position k.
        last: [R, 2] float32 of its last point.
        images: [R] int32 indices into the batch.
        num_points: scalar int32, points P along a side of a grid.

    Returns:
        [R, P, P, C] float32; 0 at points outside of 0 to h - 1 and 0 to w - 1.
    """
    last_cell = tf.cast(tf.shape(features)[1:3] - 1, tf.float32)
    boxes = tf.concat([first / last_cell, last / last_cell], axis=-1)
    return tf.image.crop_and_resize(features, boxes, images, tf.stack([num_points, num_points]))


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
    num_images, num_rois = tf.shape(first)[0], tf.shape(first)[1]
    # Not `tf.repeat`, whose steps a GPU and the processor would do in turn.
    images = tf.broadcast_to(tf.expand_dims(tf.range(num_images), 1), [num_images, num_rois])
    first_points, last_points = tf.reshape(first, [-1, 2]), tf.reshape(last, [-1, 2])
    images = tf.reshape(images, [-1])
    crops = crop_grids(features, first_points, last_points, images, num_points)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None, None]:
        shape = [num_images, num_rois, num_points, num_points, features.shape[-1]]
        upstream = tf.reshape(upstream, shape)
        total = tf.zeros_like(features)
        for start in range(0, first.shape[1] or 1, ROIS_AT_ONCE):
            rois = slice(start, start + ROIS_AT_ONCE if first.shape[1] else None)
            with tf.control_dependencies([total]):  # or all pieces would be in memory at once
                part = tf.identity(upstream[:, rois])
            total += _spread(part, first[:, rois], last[:, rois], tf.shape(features))
        return total, None, None, None

    return crops, gradient


def _spread(upstream: tf.Tensor, first: tf.Tensor, last: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Give cells what comes back from the points: [B, h, w, C] of [B, R, P, P, C]."""
    num_points = tf.shape(upstream)[2]
    rows = _weights(first[..., 0], last[..., 0], num_points, shape[1])  # [B, R, P, h]
    cols = _weights(first[..., 1], last[..., 1], num_points, shape[2])  # [B, R, P, w]
    # Sum over R, p and q of rows[R, p, y] * cols[R, q, x] * upstream[R, p, q]; of the first product
    # `tf.einsum` would make two copies.
    spread = tf.matmul(tf.expand_dims(cols, 2), upstream, transpose_a=True)  # [B, R, P, w, C]
    return tf.einsum("brpy,brpxc->byxc", rows, spread)


def _weights(
    first: tf.Tensor, last: tf.Tensor, num_points: tf.Tensor, num_cells: tf.Tensor
) -> tf.Tensor:
    """Compute how much each cell counts at each point along one axis: [B, R, P, cells]."""
    steps = places(num_points) / tf.cast(num_points - 1, tf.float32)
    points = tf.expand_dims(first, -1) + tf.expand_dims(last - first, -1) * steps  # [B, R, P]
    inside = (points >= 0.0) & (points <= tf.cast(num_cells - 1, tf.float32))
    cells = places(num_cells)
    weights = tf.maximum(1.0 - tf.abs(tf.expand_dims(points, -1) - cells), 0.0)
    return tf.where(tf.expand_dims(inside, -1), weights, 0.0)


def _pool_grids_by_gathers(
    features: tf.Tensor, first: tf.Tensor, last: tf.Tensor, output_size: int
) -> tf.Tensor:
    """Do what `pool_grids` does, for one image.

    The first points of all bins, in y and in x, are a grid of their own, and so are the second: the
    maximum is taken over four grids of S x S, which need a quarter of the memory of one of 2S x 2S.
    """
    _, num_rows, num_cols, num_channels = features.shape
    cells = tf.reshape(features, [num_rows * num_cols, num_channels])
    rows = _taps_of_halves(first[0, :, 0], last[0, :, 0], output_size, num_rows)
    cols = _taps_of_halves(first[0, :, 1], last[0, :, 1], output_size, num_cols)
    grids = []
    for row_taps in rows:
        for col_taps in cols:
            taps = []
            for row, row_weight in row_taps:
                for col, col_weight in col_taps:
                    index = tf.expand_dims(row * num_cols, 2) + tf.expand_dims(col, 1)  # [R, S, S]
                    weight = tf.expand_dims(row_weight, 2) * tf.expand_dims(col_weight, 1)
                    cell = tf.gather(cells, tf.reshape(index, [-1]))
                    taps.append(cell * tf.reshape(weight, [-1, 1]))
            grids.append(functools.reduce(tf.add, taps))
    pooled = functools.reduce(tf.maximum, grids)
    return tf.reshape(pooled, [-1, output_size, output_size, num_channels])


_Taps = list[tuple[tf.Tensor, tf.Tensor]]  # (cell, weight) of both neighbours, [R, S] each


def _taps_of_halves(
    first: tf.Tensor, last: tf.Tensor, output_size: int, num_cells: int
) -> list[_Taps]:
    """Find the cells, with their weights, between which the points of a grid lie along one axis.

    Args:
        first: [R] float32 position of each grid's first point.
        last: [R] float32 position of its last point.
        output_size: S; the grid has 2S points.
        num_cells: length of the feature map along this axis.

    Returns:
        The taps of the first point of every bin, and those of the second.
    """
    step = tf.expand_dims((last - first) * (1.0 / (2 * output_size - 1)), 1)
    halves = []
    for half in range(2):
        points = tf.range(output_size, dtype=tf.float32) * 2.0 + float(half)
        position = tf.expand_dims(first, 1) + points * step  # [R, S]
        inside = (position >= 0.0) & (position <= num_cells - 1.0)
        weight = tf.cast(inside, tf.float32)
        position = tf.clip_by_value(position, 0.0, num_cells - 1.0)
        low = tf.floor(position)
        low_cell = tf.cast(low, tf.int32)
        high_cell = tf.minimum(low_cell + 1, num_cells - 1)
        share = position - low
        halves.append([(low_cell, weight * (1.0 - share)), (high_cell, weight * share)])
    return halves
