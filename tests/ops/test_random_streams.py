"""Streams of random numbers: each a seed of its own, and the same seed for ever."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.ops.random_streams import (
    FoldedStream,
    SamplingStream,
    draw_for_each,
    fold_in_stream,
    sampling_seeds,
)

IMAGES = [(seed, position) for seed in (3, 4) for position in range(200)]


def derived_seeds():
    """List the seeds of every stream of every image, the pair itself, for mirroring, included."""
    seeds = tf.constant(IMAGES, tf.int32)
    streams = {"mirroring": seeds}
    for folded in FoldedStream:
        streams[folded.name] = tf.map_fn(lambda pair, s=folded: fold_in_stream(pair, s), seeds)
    for sampling in SamplingStream:
        streams[sampling.name] = sampling_seeds(seeds, sampling)
    return {name: [tuple(pair) for pair in found.numpy()] for name, found in streams.items()}


def test_no_two_streams_share_a_seed():
    streams = derived_seeds()
    assert list(streams) == [
        *("mirroring", "CROP", "SCALE", "COLOUR", "FC1_DROPOUT", "FC2_DROPOUT"),
        *("ANCHORS", "ROIS"),
    ]
    # Of the runs with seeds 3 and 4: doubled, 3 is 6 for anchors and 7 for RoIs, 4 is 8 and 9.
    everything = [pair for pairs in streams.values() for pair in pairs]
    assert len(set(everything)) == len(everything) == 8 * len(IMAGES)


def test_numbers_of_streams_stay_so_that_runs_go_on_as_they_began():
    folded = {"CROP": 1, "SCALE": 2, "COLOUR": 3, "FC1_DROPOUT": 4, "FC2_DROPOUT": 5}
    assert {stream.name: int(stream) for stream in FoldedStream} == folded
    pair = tf.constant([7, 5])
    for name, number in folded.items():
        expected = tf.random.experimental.stateless_fold_in(pair, number)
        assert tf.reduce_all(fold_in_stream(pair, FoldedStream[name]) == expected)
    pairs = tf.constant([[7, 5], [0, 2]])
    anchors, rois = (sampling_seeds(pairs, stream).numpy().tolist() for stream in SamplingStream)
    assert anchors == [[14, 10], [0, 4]]
    assert rois == [[15, 11], [1, 5]]


@pytest.mark.parametrize("num_images", [3, None])
def test_each_image_is_drawn_for_from_its_own_seeds_however_many_there_are(num_images):
    # With their number known, and in a loop.
    pairs = tf.constant([[0, 4], [0, 5], [7, 5]])

    @tf.function(input_signature=[tf.TensorSpec([num_images, 2], tf.int32)])
    def draw(seeds):
        folded = partial(fold_in_stream, stream=FoldedStream.FC1_DROPOUT)
        shape = tf.constant([2, 5])
        return draw_for_each(seeds, shape), draw_for_each(seeds, shape, folded)

    plain, folded = draw(pairs)
    for number, pair in enumerate(pairs):
        expected = tf.random.stateless_uniform([2, 5], pair)
        np.testing.assert_array_equal(plain[number], expected)
        own = fold_in_stream(pair, FoldedStream.FC1_DROPOUT)
        np.testing.assert_array_equal(folded[number], tf.random.stateless_uniform([2, 5], own))
