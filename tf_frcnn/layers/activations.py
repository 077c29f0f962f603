"""The activations of MobileNetV3 (Howard et al., 2019, section 5.2).

Written out, since Keras 2 has another hard sigmoid, clip(0.2 x + 0.5), under the same name.
"""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf_frcnn")
class HardSigmoid(keras.layers.Layer):
    """relu6(x + 3) / 6, of any shape."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return tf.nn.relu6(inputs + 3.0) * (1.0 / 6.0)


@keras.saving.register_keras_serializable(package="tf_frcnn")
class HardSwish(keras.layers.Layer):
    """x relu6(x + 3) / 6, of any shape; TFLite has an operator of its own for it."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return inputs * (tf.nn.relu6(inputs + 3.0) * (1.0 / 6.0))
