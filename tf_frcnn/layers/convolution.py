"""The 3 x 3 convolution of trunk and RPN as a Keras layer."""

from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.convolution import conv3x3


@keras.saving.register_keras_serializable(package="tf_frcnn")
class Conv3x3(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a 3 x 3 kernel, stride 1 and padding "same", trained faster.

    Same weights and names, same values; see `ops.convolution` for the gradient.

    Inputs: [B, H, W, C]. Returns [B, H, W, filters].
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(filters, **{**kwargs, "kernel_size": 3, "padding": "same"})

    def convolution_op(self, inputs: tf.Tensor, kernel: Any) -> tf.Tensor:
        """Convolve; Keras adds the bias and the activation."""
        return conv3x3(inputs, tf.convert_to_tensor(kernel))
