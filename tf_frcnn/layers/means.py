"""The mean of each channel of a map."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf_frcnn")
class ChannelMeans(keras.layers.Layer):
    """Averages each channel over the whole map: rows first, then their means.

    Keras' own global pooling adds up all cells in one go. In a padded image thousands of them are
    equal, so that rounding always goes the same way: 1e-4 of the mean at 150 x 150 cells.

    Input: [B, h, w, C]. Returns [B, 1, 1, C].
    """

    def call(self, features: Any) -> Any:
        """See the class."""
        rows = tf.reduce_mean(features, axis=2, keepdims=True)
        return tf.reduce_mean(rows, axis=1, keepdims=True)
