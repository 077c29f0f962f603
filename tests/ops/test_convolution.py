"""The 3 x 3 convolution in its two forms: values and both gradients against TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tf_frcnn.layers.convolution import Conv3x3
from tf_frcnn.ops import convolution
from tf_frcnn.ops.convolution import (
    conv3x3,
    conv3x3_for_training,
    convolutions_for_this_machine,
)


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
def our_form_everywhere(monkeypatch):
    """Use our form for narrow kernels too, and on every machine."""
    monkeypatch.setattr(convolution, "MIN_CHANNELS", 1)
    monkeypatch.setattr(convolution, "_products_are_faster", lambda: True)


@pytest.mark.parametrize("size", [(7, 12), (1, 1), (1, 5), (2, 1)])
@pytest.mark.parametrize("in_graph", [False, True])
def test_equals_conv2d_forward_and_both_gradients(size, in_graph):
    tensors = random_tensors((2, *size, 3), (3, 3, 3, 4), (2, *size, 4))
    run = value_and_gradients
    if in_graph:
        spec = tf.TensorSpec
        run = tf.function(
            lambda *args: value_and_gradients(conv3x3_for_training, *args),
            input_signature=[
                spec([None, None, None, 3]),
                spec([3, 3, 3, 4]),
                spec([None, None, None, 4]),
            ],
        )
        computed = run(*tensors)
    else:
        computed = run(conv3x3_for_training, *tensors)
    for ours, theirs in zip(computed, value_and_gradients(reference, *tensors), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_kernel_with_one_tap_shifts_the_image():
    # Tap (0, 2) reads one row above and one column to the right; zeros beyond the border.
    inputs = tf.reshape(tf.range(1.0, 7.0), [1, 2, 3, 1])  # 1 2 3 / 4 5 6
    kernel = tf.scatter_nd([[0, 2, 0, 0]], [1.0], [3, 3, 1, 1])
    for convolve in (conv3x3, conv3x3_for_training):
        outputs = convolve(inputs, kernel)[0, ..., 0]
        np.testing.assert_array_equal(outputs, [[0, 0, 0], [2, 3, 0]])


def test_kernel_gradient_equals_finite_differences():
    inputs, kernel, upstream = random_tensors((1, 3, 4, 2), (3, 3, 2, 1), (1, 3, 4, 1))

    def loss(kernel):
        return float(
            tf.reduce_sum(conv3x3_for_training(inputs, tf.constant(kernel, tf.float32)) * upstream)
        )

    gradient = value_and_gradients(conv3x3_for_training, inputs, kernel, upstream)[2]
    # The function is linear in the kernel, so a large step costs no accuracy.
    np.testing.assert_allclose(
        gradient, oracles.numerical_gradient(loss, kernel, 1.0), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("size", [(7, 12), (1, 1), (1, 5)])
def test_inference_takes_the_fast_form_where_it_is_told_to(size):
    inputs, kernel = random_tensors((2, *size, 3), (3, 3, 3, 4))

    def operators_and_value():
        # A function of its own each time: what is traced keeps its form.
        traced = tf.function(lambda: conv3x3(inputs, kernel)).get_concrete_function()
        return {node.type for node in traced.graph.get_operations()}, traced()

    plain, value = operators_and_value()
    with convolutions_for_this_machine():
        fast, fast_value = operators_and_value()
    again, _ = operators_and_value()
    assert "Conv2D" in plain and "Conv2DBackpropInput" not in plain and again == plain
    assert "Conv2DBackpropInput" in fast and "Conv2D" not in fast
    assert "IdentityN" not in fast  # that of a custom gradient, which an export would keep
    np.testing.assert_allclose(value, reference(inputs, kernel), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fast_value, value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "is_ours"), [((48, 50), True), ((47, 64), False)])
def test_wide_kernels_only_get_our_form(monkeypatch, channels, is_ours):
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
    computed = value_and_gradients(conv3x3_for_training, *tensors)
    for ours_or_not, theirs in zip(computed, value_and_gradients(reference, *tensors), strict=True):
        np.testing.assert_allclose(ours_or_not, theirs, rtol=1e-3, atol=1e-3)
    assert bool(called) == is_ours


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx avx2 fma", True), ("fpu avx2 avx512f", False), ("fpu avx", False), ("", False)],
)
def test_our_form_is_for_processors_with_avx2_and_no_more(monkeypatch, flags, expected):
    monkeypatch.setattr(
        convolution.Path, "read_text", lambda *args, **options: f"flags\t\t: {flags}\n"
    )
    convolution._has_avx2_only.cache_clear()
    try:
        assert convolution._has_avx2_only() == expected
    finally:
        convolution._has_avx2_only.cache_clear()


def test_a_processor_that_cannot_be_asked_gets_tensorflows_form(monkeypatch):
    def refuse(*args, **options):
        raise OSError("no /proc here")

    monkeypatch.setattr(convolution.Path, "read_text", refuse)
    convolution._has_avx2_only.cache_clear()
    try:
        assert not convolution._has_avx2_only()
    finally:
        convolution._has_avx2_only.cache_clear()


def test_inference_keeps_tensorflows_operator():
    # Exports and their readers know Conv2D; the form for training is a gradient operator.
    layer = Conv3x3(4, activation="relu")
    images = tf.ones([1, 4, 5, 3])
    layer(images)
    operators = {
        training: {
            node.type
            for node in tf.function(layer)
            .get_concrete_function(images, training=training)
            .graph.get_operations()
        }
        for training in (False, True)
    }
    assert "Conv2D" in operators[False] and "Conv2DBackpropInput" not in operators[False]
    assert "Conv2DBackpropInput" in operators[True]
