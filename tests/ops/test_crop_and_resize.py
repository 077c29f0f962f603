"""Sampling of grids: values are TensorFlow's, and the gradient is whole, the same every time."""

import numpy as np
import tensorflow as tf

from tf_frcnn.ops.crop_and_resize import sample_grids


def sample(features, first, last, upstream, num_points=14):
    """Sample, and pull `upstream` back -> (samples, gradient of the features)."""
    points = tf.constant(num_points)

    @tf.function
    def run(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            samples = sample_grids(features, first, last, points)
        return samples, tape.gradient(samples, features, output_gradients=upstream)

    return run(features)


def test_one_point_by_hand():
    # 2 x 2 points from (0.25, 1) to (1.25, 3) on a map of 2 x 4. y = 1.25 is outside of 0 to 1.
    # (0.25, 1): 0.75 of (0, 1) and 0.25 of (1, 1); (0.25, 3): 0.75 of (0, 3) and 0.25 of (1, 3).
    features = tf.reshape(tf.range(8.0), [1, 2, 4, 1])  # 0 1 2 3 / 4 5 6 7
    first, last = tf.constant([[[0.25, 1.0]]]), tf.constant([[[1.25, 3.0]]])
    upstream = tf.reshape([1.0, 10.0, 100.0, 1000.0], [1, 2, 2, 1])
    samples, gradient = sample(features, first, last, upstream, num_points=2)
    np.testing.assert_allclose(samples[0, ..., 0], [[0.75 * 1 + 0.25 * 5, 4], [0, 0]])
    np.testing.assert_allclose(gradient[0, ..., 0], [[0, 0.75, 0, 7.5], [0, 0.25, 0, 2.5]])


def test_many_overlapping_boxes_of_two_images():
    # The operator is linear: <upstream, sample(x)> = <gradient(upstream), x> for every x. In
    # float32 a sum of 128 * 14 * 14 samples a channel is good to about 1e-4 of its size.
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=(2, 25, 34, 64)), tf.float32)
    first = rng.uniform([-1, -2], [12, 20], (2, 128, 2))  # some begin outside of the map
    last = tf.constant(first + rng.uniform(0, 14, (2, 128, 2)), tf.float32)
    first = tf.constant(first, tf.float32)
    upstream = tf.constant(rng.normal(size=(256, 14, 14, 64)), tf.float32)
    samples, gradient = sample(features, first, last, upstream)
    pulled = np.sum(np.float64(upstream) * np.float64(samples), axis=(0, 1, 2))
    pushed = np.sum(np.float64(gradient) * np.float64(features), axis=(0, 1, 2))
    np.testing.assert_allclose(pulled, pushed, rtol=1e-3, atol=0.05)
    for _ in range(3):
        np.testing.assert_array_equal(sample(features, first, last, upstream)[1], gradient)


def test_the_points_get_no_gradient():
    first, last = tf.zeros([1, 1, 2]), tf.ones([1, 1, 2])
    with tf.GradientTape() as tape:
        tape.watch([first, last])
        samples = sample_grids(tf.random.normal([1, 3, 3, 2]), first, last, tf.constant(2))
    assert tape.gradient(samples, [first, last]) == [None, None]
