"""The 3 x 3 convolution and both its gradients, which are ours, against TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tf_frcnn.ops import convolution
from tf_frcnn.ops.convolution import conv3x3


def random_tensors(*shapes):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]


def reference(inputs, kernel):
    return tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")


def value_and_gradients(convolve, inputs, kernel, upstream):
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = convolve(inputs, kernel)
    return outputs, *tape.gradient(outputs, [inputs, kernel], output_gradients=upstream)


@pytest.fixture(autouse=True)
def matrix_products_everywhere(monkeypatch):
    """Use our gradient for narrow kernels too, and where a GPU is there."""
    monkeypatch.setattr(convolution, "MIN_CHANNELS", 1)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])


@pytest.mark.parametrize("size", [(7, 12), (1, 1), (1, 5), (2, 1)])
@pytest.mark.parametrize("in_graph", [False, True])
def test_equals_conv2d_forward_and_both_gradients(size, in_graph):
    tensors = random_tensors((2, *size, 3), (3, 3, 3, 4), (2, *size, 4))
    run = value_and_gradients
    if in_graph:
        spec = tf.TensorSpec
        run = tf.function(
            lambda *args: value_and_gradients(conv3x3, *args),
            input_signature=[
                spec([None, None, None, 3]),
                spec([3, 3, 3, 4]),
                spec([None, None, None, 4]),
            ],
        )
        computed = run(*tensors)
    else:
        computed = run(conv3x3, *tensors)
    for ours, theirs in zip(computed, value_and_gradients(reference, *tensors), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_kernel_with_one_tap_shifts_the_picture():
    # Tap (0, 2) reads one row above and one column to the right; zeros beyond the border.
    inputs = tf.reshape(tf.range(1.0, 7.0), [1, 2, 3, 1])  # 1 2 3 / 4 5 6
    kernel = tf.scatter_nd([[0, 2, 0, 0]], [1.0], [3, 3, 1, 1])
    np.testing.assert_array_equal(conv3x3(inputs, kernel)[0, ..., 0], [[0, 0, 0], [2, 3, 0]])


def test_kernel_gradient_equals_finite_differences():
    inputs, kernel, upstream = random_tensors((1, 3, 4, 2), (3, 3, 2, 1), (1, 3, 4, 1))

    def loss(kernel):
        return float(tf.reduce_sum(conv3x3(inputs, tf.constant(kernel, tf.float32)) * upstream))

    gradient = value_and_gradients(conv3x3, inputs, kernel, upstream)[2]
    # The function is linear in the kernel, so a large step costs no accuracy.
    np.testing.assert_allclose(
        gradient, oracles.numerical_gradient(loss, kernel, 1.0), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("channels", "is_ours"), [((48, 50), True), ((47, 64), False)])
def test_wide_kernels_only_get_the_matrix_products(monkeypatch, channels, is_ours):
    monkeypatch.setattr(convolution, "MIN_CHANNELS", 48)
    called = []
    ours = convolution._kernel_gradient
    monkeypatch.setattr(
        convolution, "_kernel_gradient", lambda *args: called.append(True) or ours(*args)
    )
    in_channels, out_channels = channels
    tensors = random_tensors(
        (2, 3, 4, in_channels), (3, 3, in_channels, out_channels), (2, 3, 4, out_channels)
    )
    computed = value_and_gradients(conv3x3, *tensors)
    for ours_or_not, theirs in zip(computed, value_and_gradients(reference, *tensors), strict=True):
        np.testing.assert_allclose(ours_or_not, theirs, rtol=1e-3, atol=1e-3)
    assert bool(called) == is_ours
