"""The 3 x 3 convolution of backbone and RPN as a Keras layer."""

from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.convolution import conv3x3, conv3x3_for_training


@keras.saving.register_keras_serializable(package="tf_frcnn")
class Conv3x3(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a 3 x 3 kernel, stride 1 and padding "same", trained faster.

    Same weights and names, same values; `ops.convolution` says what differs in training and under
    `convolutions_for_this_machine`.

    Inputs: [B, H, W, C]. Returns [B, H, W, filters].
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(filters, **{**kwargs, "kernel_size": 3, "padding": "same"})

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """See the class."""
        convolve = conv3x3_for_training if training else conv3x3
        outputs = convolve(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        return outputs if self.activation is None else self.activation(outputs)
