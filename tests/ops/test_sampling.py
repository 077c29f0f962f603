"""Sampling of mini-batches: counts, what a draw depends on, and that it is a draw at all."""

import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.ops.sampling import subsample_labels


def draw(labels, num_samples, fraction=0.5, seeds=None, preferred=None):
    labels = np.atleast_2d(labels)
    seeds = [[0, image] for image in range(len(labels))] if seeds is None else seeds
    indices, sampled = subsample_labels(
        tf.constant(labels, tf.int32),
        num_samples,
        fraction,
        tf.constant(seeds, tf.int32),
        None if preferred is None else tf.constant(np.atleast_2d(preferred)),
    )
    return indices.numpy(), sampled.numpy()


def labels_of(positives, negatives, ignored=0):
    labels = np.repeat([1, 0, -1], [positives, negatives, ignored])
    return np.random.default_rng(0).permutation(labels)


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ((300, 900, 50), (128, 128, 0)),  # plenty of both: half and half
        ((20, 900, 50), (20, 236, 0)),  # few objects: filled with background
        ((0, 900, 50), (0, 256, 0)),
        ((300, 40, 500), (128, 40, 88)),  # background short: never more than half objects
        ((3, 2, 0), (3, 2, 251)),  # fewer boxes than samples
        ((0, 0, 300), (0, 0, 256)),
    ],
)
def test_counts_of_the_rpns_mini_batch(available, expected):
    labels = labels_of(*available)
    indices, sampled = draw(labels, 256)
    assert indices.shape == sampled.shape == (1, 256)
    assert tuple((sampled[0] == label).sum() for label in (1, 0, -1)) == expected
    filled = sampled[0] >= 0
    np.testing.assert_array_equal(labels[indices[0][filled]], sampled[0][filled])
    assert len(set(indices[0][filled])) == filled.sum()  # none twice
    assert not indices[0][~filled].any()


def test_a_quarter_of_the_detectors_mini_batch_are_objects():
    # 128 RoIs: 32 objects, 96 background.
    sampled = draw(labels_of(100, 400), 128, 0.25)[1]
    assert (sampled == 1).sum() == 32 and (sampled == 0).sum() == 96


def test_objects_come_first_and_padding_last():
    sampled = draw(labels_of(5, 8, 9), 16)[1][0]
    np.testing.assert_array_equal(sampled, [1] * 5 + [0] * 8 + [-1] * 3)


def test_the_draw_is_stateless():
    labels = labels_of(100, 400)
    first, again, other = (draw(labels, 64, seeds=[seed])[0] for seed in ([3, 7], [3, 7], [3, 8]))
    np.testing.assert_array_equal(first, again)
    assert set(first[0]) != set(other[0])
    assert set(draw(labels, 64, seeds=[[4, 7]])[0][0]) != set(first[0])


def test_the_draw_is_the_same_in_a_graph():
    labels, seeds = tf.constant([labels_of(100, 400)], tf.int32), tf.constant([[3, 7]])
    in_graph = tf.function(lambda: subsample_labels(labels, 64, 0.5, seeds))()
    np.testing.assert_array_equal(in_graph[0], draw(labels, 64, seeds=[[3, 7]])[0])


def test_the_draw_of_an_image_does_not_depend_on_the_others():
    first, second = labels_of(100, 400), labels_of(30, 470)
    together = draw([first, second], 64, seeds=[[3, 7], [3, 8]])
    alone = draw(second, 64, seeds=[[3, 8]])
    swapped = draw([second, first], 64, seeds=[[3, 8], [3, 7]])
    for i in range(2):
        np.testing.assert_array_equal(together[i][1], alone[i][0])
        np.testing.assert_array_equal(together[i], swapped[i][::-1])


def test_images_with_equal_labels_are_drawn_differently():
    indices = draw([labels_of(100, 400)] * 2, 64)[0]
    assert set(indices[0]) != set(indices[1])


def test_preferred_background_is_used_up_first():
    labels = np.zeros(40, int)
    preferred = np.arange(40) % 4 == 1  # 10 of them
    indices, sampled = draw(labels, 6, preferred=preferred)
    assert preferred[indices[0]].all() and (sampled == 0).all()
    indices, sampled = draw(labels, 16, preferred=preferred)
    assert preferred[indices[0]].sum() == 10 and (sampled == 0).all()


def test_preference_says_nothing_about_objects():
    labels = np.repeat([1, 0], [10, 10])
    indices, sampled = draw(labels, 8, preferred=np.arange(20) >= 10)
    assert (sampled[0] == 1).sum() == 4 and (indices[0][:4] < 10).all()


def test_every_candidate_is_drawn_about_equally_often():
    # 20 objects and 30 background, 5 of each drawn in each of 400 images. An object is drawn
    # 400 * 5 / 20 = 100 times on average, standard deviation sqrt(100 * 0.75) = 9; background
    # 66.7 times, sqrt(66.7 * 5 / 6) = 7.5. Bounds are five deviations away.
    labels = labels_of(20, 30, 10)
    indices, sampled = draw([labels] * 400, 10)
    counts = np.bincount(indices[sampled >= 0], minlength=60)
    assert 55 < counts[labels == 1].min() and counts[labels == 1].max() < 145
    assert 29 < counts[labels == 0].min() and counts[labels == 0].max() < 104
    assert not counts[labels == -1].any()


def test_objects_and_background_are_drawn_independently_of_their_place():
    # The mean index of what is drawn from 0..999 tends to 499.5; standard error of 50 images
    # with 100 draws each: 289 / sqrt(5000) = 4.
    indices = draw([np.zeros(1000, int)] * 50, 100)[0]
    assert abs(indices.mean() - 499.5) < 20
