"""Normalisation folded into convolutions: the same answers from fewer operators."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.export.folding import fold, folded_normalization
from tf_frcnn.layers.convolution import Conv3x3
from tf_frcnn.layers.heads.box_head import BoxHead


def randomized(model):
    """Give every weight and statistic a value that counts."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        low = 0.3 if variable.name.split("/")[-1].startswith(("moving_variance", "gamma")) else -0.5
        variable.assign(random.uniform(low, 0.9, variable.shape))
    return model


def trace(model, shape, network=None):
    """Trace a model on images of a shape, folded where a network is given -> function."""
    function = tf.function(model, input_signature=[tf.TensorSpec(shape)])
    if network is None:
        return function.get_concrete_function()
    with folded_normalization(network):
        return function.get_concrete_function()


def normalizations(function):
    """Count those of Keras 3, and those of Keras 2."""
    kinds = ("Rsqrt", "FusedBatchNormV3")
    return sum(one.type in kinds for one in function.graph.get_operations())


def set_weights(layer, *values):
    """Give each weight of a layer with one channel its number."""
    for variable, value in zip(layer.weights, values, strict=True):
        variable.assign(np.full(variable.shape, value, np.float32))


def test_kernel_and_bias():
    # gamma / sqrt(variance + epsilon) = 6 / sqrt(3.75 + 0.25) = 3: the kernel 2 becomes 6, and the
    # bias is beta + (5 - mean) * 3 = 1 + (5 - 7) * 3 = -5.
    images = keras.Input((None, None, 1))
    conv = keras.layers.Conv2D(1, 1)
    norm = keras.layers.BatchNormalization(epsilon=0.25)
    norm(conv(images))
    set_weights(conv, 2.0, 5.0)
    set_weights(norm, 6.0, 1.0, 7.0, 3.75)  # gamma, beta, mean, variance
    kernel, bias = fold(conv, norm)
    assert kernel.tolist() == [[[[6.0]]]] and bias.tolist() == [-5.0]
    assert kernel.dtype == bias.dtype == np.float32


def test_a_variance_of_nearly_zero_without_epsilon():
    # 1e-40 is no normal float32 number, and its root, 1e-20, is one: scale 1e20.
    norm = keras.layers.BatchNormalization(epsilon=0.0)
    conv = keras.layers.Conv2D(1, 1, use_bias=False)
    norm(conv(keras.Input((None, None, 1))))
    set_weights(conv, 1e-20)
    set_weights(norm, 1.0, 0.0, 0.0, 1e-40)
    assert fold(conv, norm)[0].item() == pytest.approx(1.0, rel=1e-3)


LAYERS = {
    "plain": lambda: keras.layers.Conv2D(5, 3, strides=2, padding="valid", use_bias=False),
    "same": lambda: keras.layers.Conv2D(5, 5, strides=2, padding="same"),
    "conv3x3": lambda: Conv3x3(5, use_bias=False),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False),
    "multiplied": lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
}
OTHERS = {
    "activated": lambda: keras.layers.Conv2D(5, 3, activation="relu"),
    "dilated": lambda: keras.layers.Conv2D(5, 3, dilation_rate=2),
    "grouped": lambda: keras.layers.Conv2D(6, 1, groups=2),
    "transposed": lambda: keras.layers.Conv2DTranspose(5, 3),
    "not a convolution": lambda: keras.layers.MaxPooling2D(2),
}


@pytest.mark.parametrize("name", [*LAYERS, *OTHERS])
def test_the_same_answer_with_and_without(name):
    images = keras.Input((None, None, 4))
    layer = {**LAYERS, **OTHERS}[name]()
    outputs = keras.layers.BatchNormalization(epsilon=1e-3, scale=name != "same")(layer(images))
    model = randomized(keras.Model(images, keras.layers.ReLU()(outputs)))
    shape = [2, 12, 15, 4]
    plain, folded = trace(model, shape), trace(model, shape, model)
    assert normalizations(plain) == 1
    assert normalizations(folded) == (name in OTHERS)
    values = tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)
    np.testing.assert_allclose(folded(values), plain(values), rtol=1e-4, atol=1e-5)
    # What is traced afterwards is the model as it was.
    assert normalizations(trace(model, shape)) == 1


def test_what_a_convolution_gives_to_others_is_not_normalised():
    images = keras.Input((None, None, 4))
    shared = keras.layers.Conv2D(4, 1)(images)
    total = keras.layers.Add()([shared, keras.layers.BatchNormalization()(shared)])
    model = randomized(keras.Model(images, keras.layers.BatchNormalization()(total)))
    shape = [1, 5, 6, 4]
    plain, folded = trace(model, shape), trace(model, shape, model)
    assert (normalizations(plain), normalizations(folded)) == (2, 1)
    values = tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)
    np.testing.assert_allclose(folded(values), plain(values), rtol=1e-4, atol=1e-5)


def test_layers_inside_of_a_head():
    head = BoxHead(8, 3, num_fcs=1, conv_channels=(6, 6))
    shape = [1, 5, 7, 7, 4]
    head.build(shape)
    randomized(head)
    plain, folded = trace(head, shape), trace(head, shape, head)
    assert (normalizations(plain), normalizations(folded)) == (2, 0)
    values = tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)
    for ours, expected in zip(folded(values), plain(values), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
