"""Reading rows by their indices, an image at a time."""

from collections.abc import Callable

import tensorflow as tf


@tf.custom_gradient
def gather_rows(
    rows: tf.Tensor, indices: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Read rows of each image: `tf.gather` with one batch dimension, and the same gradient.

    TensorFlow's own gradient computes in int32 where to put the numbers, which a GPU leaves to the
    processor and waits for.

    Args:
        rows: [B, A, ...] of any float type.
        indices: [B, S] int32 or int64 into A; a row may be read several times.

    Returns:
        [B, S, ...] of the same type.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        shape = tf.shape(rows)
        num_rows = shape[0] * shape[1]
        firsts = tf.cast(tf.range(shape[0]) * shape[1], tf.int64)
        places = tf.cast(indices, tf.int64) + tf.expand_dims(firsts, 1)  # [B, S]
        flat = tf.reshape(upstream, tf.concat([[-1], shape[2:]], axis=0))
        total = tf.math.unsorted_segment_sum(flat, tf.reshape(places, [-1]), num_rows)
        return tf.reshape(total, shape), None

    return tf.gather(rows, indices, batch_dims=1), gradient
