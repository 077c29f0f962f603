"""Normalisation that a graph does without: its numbers go into the convolution before it.

Trained, batch normalisation multiplies each channel by gamma / sqrt(variance + epsilon) and adds
beta - mean times that. Of a convolution that comes before it, that is another kernel and a bias.
TensorFlow does a part of this by itself once all are constants; it keeps the products and sums of
depthwise convolutions and of many others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_frcnn.layer_calls import Call, innermost_layers, wrapped_calls
from tf_frcnn.layers.convolution import Conv3x3
from tf_frcnn.ops.convolution import conv3x3


@contextmanager
def folded_normalization(network: keras.Model) -> Iterator[None]:
    """Let graphs that are traced meanwhile convolve and normalise in one.

    What is folded are layers that normalise just what a 2-D convolution without an activation gave
    them; all others stay as they are. The graph holds the new kernels as constants.

    Args:
        network: with its weights, computing in float32; unchanged.
    """
    folding = _Folding()
    layers = [
        one for one in innermost_layers(network) if _is_foldable(one) or _normalizes_channels(one)
    ]
    with wrapped_calls(layers, folding.wrap):
        yield


class _Folding:
    """Remembers what each convolution was given, until a normalisation asks for it."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[keras.layers.Layer, tf.Tensor, tf.Tensor]] = {}
        self._constants: dict[tuple[Any, ...], tuple[tf.Tensor, tf.Tensor]] = {}

    def wrap(self, layer: keras.layers.Layer, call: Call) -> Call:
        """See `wrapped_calls`."""

        def convolve(inputs: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
            outputs = call(inputs, *args, **kwargs)
            # The tensor is kept with the rest, so that no other one gets its identity.
            self._made[id(outputs)] = (layer, inputs, outputs)
            return outputs

        def normalize(inputs: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
            made = self._made.get(id(inputs))
            if made is None:
                return call(inputs, *args, **kwargs)
            # What the convolution gave is left to be pruned, unless something else takes it.
            convolution, its_inputs, _ = made
            kernel, bias = self._fold(convolution, layer)
            return tf.nn.bias_add(_convolve(convolution, its_inputs, kernel), bias)

        return normalize if _normalizes_channels(layer) else convolve

    def _fold(
        self, convolution: keras.layers.Layer, normalization: keras.layers.BatchNormalization
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Give kernel and bias of both, once for each graph."""
        key = (tf.compat.v1.get_default_graph(), convolution.name, normalization.name)
        if key not in self._constants:
            arrays = fold(convolution, normalization)
            self._constants[key] = tuple(tf.constant(one) for one in arrays)
        return self._constants[key]


def fold(
    convolution: keras.layers.Layer, normalization: keras.layers.BatchNormalization
) -> tuple[np.ndarray, np.ndarray]:
    """Compute kernel and bias of a convolution that is normalised, float32, in float64."""

    def values(variable: Any) -> Any:
        return np.asarray(tf.convert_to_tensor(variable), np.float64)

    with tf.init_scope():  # where a graph is being traced, its tensors have no values yet
        kernel = values(convolution.weights[0])
        bias = values(convolution.bias) if convolution.use_bias else 0.0
        gamma = values(normalization.gamma) if normalization.scale else 1.0
        beta = values(normalization.beta) if normalization.center else 0.0
        mean = values(normalization.moving_mean)
        variance = values(normalization.moving_variance)
    scale = gamma / np.sqrt(variance + normalization.epsilon)
    bias = beta + (bias - mean) * scale
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        scale = scale.reshape(kernel.shape[2:])
    return (kernel * scale).astype(np.float32), bias.astype(np.float32)


def _is_foldable(layer: keras.layers.Layer) -> bool:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return (
        type(layer) in (*kinds, Conv3x3)  # others may compute something else
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and tuple(layer.dilation_rate) == (1, 1)
        and getattr(layer, "groups", 1) == 1
        and layer.compute_dtype == "float32"
    )


def _normalizes_channels(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, 3, [3])


def _convolve(layer: keras.layers.Layer, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Do what a layer that `_is_foldable` does with another kernel and without a bias."""
    if isinstance(layer, Conv3x3):
        return conv3x3(inputs, kernel)
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    convolve = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
    return convolve(inputs, kernel, [1, *layer.strides, 1], layer.padding.upper())
