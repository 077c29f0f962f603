"""Batch normalisation, as every network here has it."""

import keras
import tensorflow as tf


def batch_normalization(
    name: str, dtype: str, momentum: float = 0.9, epsilon: float = 1e-5
) -> keras.layers.BatchNormalization:
    """Make a layer that normalises by the batch in training, by moving statistics otherwise.

    With several replicas the batch is that of all of them, as on a single device. Frozen, it keeps
    to its moving statistics in training too. The defaults are those of torch, whose momentum 0.1 is
    the other share of the same mean.

    Args:
        name: of the layer.
        dtype: Keras dtype policy.
        momentum: share of the moving statistics that a step keeps.
        epsilon: added to the variance.
    """
    synchronized = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return keras.layers.BatchNormalization(
        momentum=momentum, epsilon=epsilon, synchronized=synchronized, name=name, dtype=dtype
    )
