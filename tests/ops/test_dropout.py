"""Stateless dropout: shares, scale, gradients, and what a draw depends on."""

import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.ops.dropout import stateless_dropout
from tf_frcnn.ops.random_streams import FoldedStream

SEEDS = tf.constant([[0, 7], [0, 8]])


def test_numbers_are_dropped_or_scaled_up():
    # Rate 0.75: what stays is multiplied by 1 / 0.25 = 4. Of 2 x 50 x 100 numbers 2500 stay, +- 5
    # standard deviations of sqrt(10000 * 0.25 * 0.75) = 43.
    features = tf.random.stateless_uniform([2, 50, 100], [1, 2], 1.0, 2.0)
    dropped = stateless_dropout(features, 0.75, SEEDS, FoldedStream.FC1_DROPOUT).numpy()
    stayed = dropped != 0
    np.testing.assert_allclose(dropped[stayed], 4.0 * features.numpy()[stayed])
    assert abs(stayed.sum() - 2500) < 5 * 43


def test_an_image_depends_on_its_own_seeds_alone():
    features = tf.ones([2, 3, 40])
    both = stateless_dropout(features, 0.5, SEEDS, FoldedStream.FC1_DROPOUT)
    swapped = stateless_dropout(features, 0.5, SEEDS[::-1], FoldedStream.FC1_DROPOUT)
    alone = stateless_dropout(features[:1], 0.5, SEEDS[:1], FoldedStream.FC1_DROPOUT)
    np.testing.assert_array_equal(both, swapped[::-1])
    np.testing.assert_array_equal(both[:1], alone)
    assert not np.array_equal(both[0], both[1])


def test_streams_and_rois_are_independent():
    features = tf.ones([1, 2, 200])
    first, second = (
        stateless_dropout(features, 0.5, SEEDS[:1], stream).numpy()[0] != 0
        for stream in (FoldedStream.FC1_DROPOUT, FoldedStream.FC2_DROPOUT)
    )
    for one, other in ((first[0], second[0]), (first[0], first[1])):
        # Two independent draws agree in half of 200 places, +- 5 standard deviations of 7.
        assert abs((one == other).sum() - 100) < 5 * 7


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_it_runs_in_a_graph_and_has_a_gradient(dtype, jit_compile):
    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, None, 8], dtype)])
    def value_and_gradient(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            dropped = stateless_dropout(features, 0.5, SEEDS, FoldedStream.FC1_DROPOUT)
        return dropped, tape.gradient(dropped, features)

    dropped, gradient = value_and_gradient(tf.ones([2, 3, 8], dtype))
    assert dropped.dtype == dtype
    # The input is 1: a number that stays is 2, and so is its derivative; else both are 0.
    np.testing.assert_array_equal(tf.cast(dropped, tf.float32), tf.cast(gradient, tf.float32))
    assert set(np.unique(tf.cast(dropped, tf.float32))) == {0.0, 2.0}
