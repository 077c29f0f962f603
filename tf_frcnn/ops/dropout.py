"""Dropout that depends on seeds alone, so that a resumed run repeats it.

Keras' own layer keeps a generator, whose state is in no model's weights.
"""

from functools import partial

import tensorflow as tf

from tf_frcnn.ops.random_streams import FoldedStream, draw_for_each, fold_in_stream


def stateless_dropout(
    features: tf.Tensor, rate: float, seeds: tf.Tensor, stream: FoldedStream
) -> tf.Tensor:
    """Set a share of the numbers to 0 and scale the others up, so that the mean stays.

    Args:
        features: [B, R, C] of any float dtype.
        rate: probability of 0, from 0 to below 1.
        seeds: [B, 2] int32, one pair an image; the draw of an image depends on its own alone.
        stream: that of the layer; draws of different streams are independent of each other.

    Returns:
        [B, R, C] of the same dtype.
    """
    noise = draw_for_each(
        seeds, tf.shape(features)[1:], partial(fold_in_stream, stream=stream)
    )  # [B, R, C] in [0, 1)
    scaled = features * tf.cast(1.0 / (1.0 - rate), features.dtype)
    return tf.where(noise >= rate, scaled, tf.zeros_like(features))
