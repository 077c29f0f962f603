"""The order of training images: whole epochs, one orientation a batch, any step at once."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_frcnn.data.sampler import BatchSampler, repeat_factors

LANDSCAPE, PORTRAIT, SQUARE = (40, 60), (60, 40), (50, 50)


def epoch_of(sampler, epoch):
    first = epoch * sampler.steps_per_epoch
    return np.stack([sampler.batch(first + step) for step in range(sampler.steps_per_epoch)])


def test_batches_of_one_visit_every_image_once_an_epoch():
    sampler = BatchSampler([LANDSCAPE, PORTRAIT, SQUARE, PORTRAIT, LANDSCAPE], 1, seed=3)
    assert sampler.steps_per_epoch == 5
    for epoch in range(4):
        assert sorted(epoch_of(sampler, epoch).ravel()) == [0, 1, 2, 3, 4]


def test_steps_of_an_epoch_are_counted_by_orientation():
    # 5 landscape images make ceil(5 / 2) = 3 batches, 3 portrait ones ceil(3 / 2) = 2.
    sampler = BatchSampler([LANDSCAPE] * 5 + [PORTRAIT] * 3, 2, seed=0)
    assert sampler.steps_per_epoch == 5


def test_square_images_go_with_landscape_ones():
    sampler = BatchSampler([SQUARE, LANDSCAPE], 2, seed=0)
    assert sampler.steps_per_epoch == 1
    assert sorted(sampler.batch(0)) == [0, 1]


@given(
    portrait=st.lists(st.booleans(), min_size=1, max_size=20),
    batch_size=st.integers(1, 7),
    seed=st.integers(0, 2**31),
)
def test_an_epoch_is_complete_balanced_and_of_one_orientation_a_batch(portrait, batch_size, seed):
    sizes = [PORTRAIT if flag else LANDSCAPE for flag in portrait]
    sampler = BatchSampler(sizes, batch_size, seed)
    batches = epoch_of(sampler, epoch=1)
    assert batches.shape[1] == batch_size
    for batch in batches:
        assert len({portrait[index] for index in batch}) == 1
    for flag in set(portrait):
        members = [index for index, value in enumerate(portrait) if value == flag]
        counts = [int(np.sum(batches == index)) for index in members]
        # Filling up the last batch repeats images, none of them twice as often as another.
        assert sum(counts) == math.ceil(len(members) / batch_size) * batch_size
        assert min(counts) >= 1 and max(counts) - min(counts) <= 1


def test_a_batch_larger_than_the_data_repeats_images():
    sampler = BatchSampler([LANDSCAPE, LANDSCAPE], 5, seed=0)
    batch = sampler.batch(0)
    assert sampler.steps_per_epoch == 1
    assert batch.shape == (5,) and sorted(np.bincount(batch)) == [2, 3]


def test_any_step_can_be_asked_for_at_once():
    sizes = [LANDSCAPE] * 7 + [PORTRAIT] * 4
    sequential = [BatchSampler(sizes, 3, seed=5)] * 30
    expected = [sampler.batch(step) for step, sampler in enumerate(sequential)]
    for step in reversed(range(30)):
        np.testing.assert_array_equal(BatchSampler(sizes, 3, seed=5).batch(step), expected[step])


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0)])
def test_another_epoch_or_seed_is_another_order(seed, epoch):
    # 40 images: equal orders by chance have probability 1 / 40!.
    sizes = [LANDSCAPE] * 40
    first = epoch_of(BatchSampler(sizes, 1, seed=0), 0)
    other = epoch_of(BatchSampler(sizes, 1, seed=seed), epoch)
    assert not np.array_equal(first, other)


def test_the_orientations_of_an_epoch_are_mixed():
    # 20 + 20 batches follow each other in two blocks with chance 2 / C(40, 20) only.
    sampler = BatchSampler([LANDSCAPE] * 20 + [PORTRAIT] * 20, 1, seed=0)
    is_portrait = epoch_of(sampler, 0).ravel() >= 20
    assert np.count_nonzero(np.diff(is_portrait.astype(int))) > 1


# === Rare classes ===


def test_factors_go_by_the_rarest_class_of_an_image():
    # Of four images, all have class 1, one has class 2: shares 1 and 1/4. With a threshold of 0.5
    # class 1 asks for 1 and class 2 for sqrt(0.5 / 0.25) = 1.414; an image without boxes for 1.
    classes = [[1, 1], [2, 1], [1], [1], []]
    classes = [np.array(one, np.int32) for one in classes]
    factors = repeat_factors(classes[:4], 2, 0.5)
    np.testing.assert_allclose(factors, [1, math.sqrt(2), 1, 1])
    # With the fifth the shares are 4/5 and 1/5, and nobody has class 3.
    np.testing.assert_allclose(repeat_factors(classes, 3, 0.45), [1, 1.5, 1, 1, 1])


def test_images_come_as_often_as_their_factors_say():
    # 1 + 1 + 1.5 + 2.25 + 1 = 6.75 makes epochs of 7, and factors 7 / 6.75 times as large.
    factors = np.array([1, 1, 1.5, 2.25, 1])
    sampler = BatchSampler([LANDSCAPE] * 5, 1, 0, factors)
    assert sampler.steps_per_epoch == 7
    counts = np.stack(
        [np.bincount(epoch_of(sampler, epoch).ravel(), minlength=5) for epoch in range(400)]
    )
    expected = factors * 7 / 6.75
    assert np.all(counts >= np.floor(expected)) and np.all(counts <= np.ceil(expected))
    # A count's standard deviation is 0.5 at most: 0.5 / sqrt(400) = 0.025 for the mean.
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=0.1)


@given(
    images=st.lists(st.tuples(st.booleans(), st.floats(1, 4)), min_size=1, max_size=20),
    batch_size=st.integers(1, 5),
)
def test_epochs_with_factors_are_equally_long_and_complete(images, batch_size):
    sizes = [PORTRAIT if flag else LANDSCAPE for flag, _ in images]
    factors = np.array([factor for _, factor in images])
    sampler = BatchSampler(sizes, batch_size, 1, factors)
    assert sampler.steps_per_epoch * batch_size >= factors.sum() - 1e-6
    for epoch in range(2):
        batches = epoch_of(sampler, epoch)
        assert len(batches) == sampler.steps_per_epoch
        assert set(batches.ravel()) == set(range(len(images)))
        assert all(len({images[index][0] for index in batch}) == 1 for batch in batches)


def test_a_threshold_that_no_class_is_below_changes_how_often_nothing_comes():
    sampler = BatchSampler([LANDSCAPE] * 6, 2, 0, np.ones(6))
    for epoch in range(5):
        assert sorted(epoch_of(sampler, epoch).ravel()) == [0, 1, 2, 3, 4, 5]
