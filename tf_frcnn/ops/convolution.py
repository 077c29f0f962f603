"""A 3 x 3 convolution that is fast on processors with AVX2 and no AVX-512.

oneDNN has one kernel for the gradient of a convolution's input, and two others for the convolution
itself and for the gradient of its kernel. Channels last and under AVX2 the first runs at the speed
of a matrix product, the others at a half and a quarter of it. So the convolution is computed here
as the input gradient of another one, and the kernel's gradient as matrix products. Where AVX-512
or a GPU is there, TensorFlow's own are used, and so they are in graphs that go to other machines.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import tensorflow as tf

# Narrower kernels gain nothing (measured from 3 to 512 channels).
MIN_CHANNELS = 48


_for_this_machine = ContextVar("for_this_machine", default=False)


@contextmanager
def convolutions_for_this_machine() -> Iterator[None]:
    """Let `conv3x3` take the form that is fastest here; graphs traced meanwhile keep it."""
    token = _for_this_machine.set(True)
    try:
        yield
    finally:
        _for_this_machine.reset(token)


def conv3x3(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolve with a 3 x 3 kernel, stride 1, zero padding of one pixel.

    One plain operator, which every machine and converter knows; under
    `convolutions_for_this_machine` possibly another one.

    Args:
        inputs: [B, H, W, C].
        kernel: [3, 3, C, D] in the same dtype.

    Returns:
        [B, H, W, D].
    """
    if _for_this_machine.get() and _is_faster(inputs, kernel):
        return _convolve_turned(inputs, kernel)
    return tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")


def conv3x3_for_training(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Do the same as `conv3x3`, and compute its gradients, in the way that is fastest here.

    Values differ from those of `conv3x3` by rounding.

    Args:
        inputs: [B, H, W, C].
        kernel: [3, 3, C, D] in the same dtype.

    Returns:
        [B, H, W, D].
    """
    if _is_faster(inputs, kernel):
        return _convolve_as_gradient(inputs, kernel)
    return conv3x3(inputs, kernel)


def _is_faster(inputs: tf.Tensor, kernel: tf.Tensor) -> bool:
    """Tell whether the form of this file is the faster one for these tensors, here."""
    wide = min(kernel.shape[2], kernel.shape[3]) >= MIN_CHANNELS
    return wide and inputs.dtype == tf.float32 and _products_are_faster()


def _products_are_faster() -> bool:
    return _has_avx2_only() and not tf.config.list_physical_devices("GPU")


@functools.cache
def _has_avx2_only() -> bool:
    """Tell whether the processor has AVX2 and not AVX-512; False where nothing tells."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return "avx2" in flags and "avx512f" not in flags


@tf.custom_gradient
def _convolve_as_gradient(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolve in the fast form, with gradients in fast forms of their own."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _input_gradient(inputs, kernel, upstream), _kernel_gradient(inputs, upstream)

    return _convolve_turned(inputs, kernel), gradient


def _convolve_turned(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolve as the input gradient of the convolution whose kernel is turned by 180 degrees.

    That gradient sends output pixel p through tap (i, j) to input pixel p + (i - 1, j - 1), where a
    convolution fetches pixel p + (i - 1, j - 1) for output p: the same with all taps mirrored, and
    with the roles of input and output channels exchanged.
    """
    turned = tf.transpose(tf.reverse(kernel, axis=[0, 1]), [0, 1, 3, 2])  # [3, 3, D, C]
    batch, height, width = (tf.shape(inputs)[axis] for axis in range(3))
    shape = [batch, height, width, kernel.shape[3]]
    outputs = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.stack(shape),
        filter=turned,
        out_backprop=inputs,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )
    return tf.ensure_shape(outputs, [*inputs.shape[:3], kernel.shape[3]])


def _input_gradient(inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(inputs),
        filter=kernel,
        out_backprop=upstream,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )


def _kernel_gradient(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Compute dK[i, j] = X[i : i + H, j : j + W]^T dY for each of the nine taps, X being padded."""
    height, width = tf.shape(inputs)[1], tf.shape(inputs)[2]
    in_channels, out_channels = inputs.shape[-1], upstream.shape[-1]
    padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]])
    upstream = tf.reshape(upstream, [-1, out_channels])  # [B * H * W, D]
    taps = [
        tf.matmul(
            tf.reshape(padded[:, i : i + height, j : j + width], [-1, in_channels]),
            upstream,
            transpose_a=True,
        )
        for i in range(3)
        for j in range(3)
    ]
    return tf.reshape(tf.stack(taps), [3, 3, in_channels, out_channels])
