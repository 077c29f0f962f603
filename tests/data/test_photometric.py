"""Colours: amounts worked by hand, ranges of what is drawn, and pixels that stay pixels."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_frcnn.data.photometric import adjust_colours, jitter_colours

LUMA = [0.299, 0.587, 0.114]
# float32 keeps 2**-24 of a value; some ten operations on values up to 255 stay below this.
ROUNDING = 1e-3


def image_of(*colours):
    return tf.constant([colours], tf.float32)  # [1, W, 3]


# === Amounts ===


@pytest.mark.parametrize(
    ("amounts", "pixels", "expected"),
    [
        ({}, [(200, 100, 50), (0, 255, 3)], [(200, 100, 50), (0, 255, 3)]),
        # Added to all channels, and cut at 255 and at 0.
        ({"brightness": 10}, [(250, 100, 0)], [(255, 110, 10)]),
        ({"brightness": -10}, [(250, 100, 0)], [(240, 90, 0)]),
        # Mean luma (100 + 200) / 2 = 150: half as far from it.
        ({"contrast": 0.5}, [(100, 100, 100), (200, 200, 200)], [(125,) * 3, (175,) * 3]),
        # Red 100 has luma 29.9, black 0, their mean is 14.95: 1.2 * 100 - 0.2 * 14.95 = 117.01,
        # and 1.2 * 0 - 2.99 is below 0.
        ({"contrast": 1.2}, [(100, 0, 0), (0, 0, 0)], [(117.01, 0, 0), (0, 0, 0)]),
        # Luma 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 59.8 + 58.7 + 5.7 = 124.2.
        ({"saturation": 0}, [(200, 100, 50)], [(124.2, 124.2, 124.2)]),
        # 124.2 + 0.5 * (200 - 124.2) = 162.1, 124.2 - 12.1 = 112.1, 124.2 - 37.1 = 87.1.
        ({"saturation": 0.5}, [(200, 100, 50)], [(162.1, 112.1, 87.1)]),
        # Half a turn is the other side of grey: 2 * 124.2 - 200 = 48.4, and so on.
        ({"hue": 180}, [(200, 100, 50)], [(48.4, 148.4, 198.4)]),
        # A quarter: U = 0.492 (B - Y) becomes -V, V = 0.877 (R - Y) becomes U. Y = 41.86 + 58.7
        # + 10.26 = 110.82, R - Y = 29.18, B - Y = -20.82: R = 110.82 - 20.82 * 0.492 / 0.877 =
        # 99.14, B = 110.82 - 29.18 * 0.877 / 0.492 = 58.81; G = (110.82 - 0.299 * 99.14 - 0.114 *
        # 58.81) / 0.587 = 126.87.
        ({"hue": 90}, [(140, 100, 90)], [(99.14, 126.87, 58.81)]),
    ],
)
def test_colours_worked_by_hand(amounts, pixels, expected):
    adjusted = adjust_colours(image_of(*pixels), **amounts)
    assert adjusted.dtype == tf.float32
    np.testing.assert_allclose(adjusted[0], expected, atol=0.006)  # two decimals


def test_amounts_add_up_in_one_pass():
    # One after the other gives the same, where nothing is cut off.
    image = np.random.default_rng(4).uniform(100, 140, (3, 5, 3)).astype(np.float32)
    together = adjust_colours(image, brightness=9, contrast=1.2, saturation=0.7, hue=-15)
    one_by_one = adjust_colours(image, hue=-15)
    one_by_one = adjust_colours(one_by_one, saturation=0.7)
    one_by_one = adjust_colours(one_by_one, contrast=1.2)
    one_by_one = adjust_colours(one_by_one, brightness=9)
    np.testing.assert_allclose(together, one_by_one, atol=ROUNDING)


# A turn of (100..155) about its luma stays within 0 to 255.
middling = st.tuples(*[st.integers(100, 155)] * 3)


@given(colour=middling, hue=st.floats(-180, 180), saturation=st.floats(0, 1.2))
@settings(max_examples=50)
def test_hue_and_saturation_keep_the_luma(colour, hue, saturation):
    adjusted = adjust_colours(image_of(colour), hue=hue, saturation=saturation)[0, 0]
    np.testing.assert_allclose(np.dot(adjusted, LUMA), np.dot(colour, LUMA), atol=ROUNDING)


@given(colour=middling, hue=st.floats(-180, 180))
@settings(max_examples=50)
def test_turning_there_and_back_changes_nothing(colour, hue):
    there = adjust_colours(image_of(colour), hue=hue)
    np.testing.assert_allclose(adjust_colours(there, hue=-hue)[0, 0], colour, atol=ROUNDING)


# === Draws ===


def jittered(image, strength, count=200):
    """Jitter an image with seeds 0 to `count` - 1: [count, H, W, 3]."""
    jitter = tf.function(lambda seed: jitter_colours(image, strength, seed))
    return np.stack([jitter(tf.constant([2, number])) for number in range(count)])


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_brightness_is_drawn_evenly_up_to_the_strength(strength):
    # On one grey, contrast, saturation and hue do nothing.
    change = jittered(image_of((128, 128, 128)), strength)[:, 0, 0, 0] - 128
    assert 30 * strength < np.abs(change).max() <= 32 * strength + ROUNDING
    # Standard deviation of one draw 32 / sqrt(3) = 18.5, of the mean of 200 1.31, times 5.
    assert abs(change.mean()) < 6.6 * strength


def test_contrast_is_drawn_up_to_the_strength():
    two = jittered(image_of((120, 120, 120), (136, 136, 136)), 1.0)[:, 0, :, 0]
    contrast = (two[:, 1] - two[:, 0]) / 16
    assert 0.5 - ROUNDING <= contrast.min() < 0.53 and 1.47 < contrast.max() <= 1.5 + ROUNDING


def test_saturation_and_hue_are_drawn_up_to_the_strength():
    # Two colours of one luma, about which contrast works, so that both are moved by the same.
    pair = np.array([(140.0, 100.0, 90.0), (120.0, 120.0, 120.0)], np.float32)
    pair[1] = np.dot(pair[0], LUMA)
    images = jittered(image_of(*pair), 1.0)[:, 0]  # [200, 2, 3]
    difference = images[:, 0] - images[:, 1]  # scaled by contrast and saturation, and turned
    before = pair[0] - pair[1]
    angle = np.arctan2(0.877 * difference[:, 0], 0.492 * difference[:, 2])
    turn = np.degrees(angle - np.arctan2(0.877 * before[0], 0.492 * before[2]))
    assert 17 < np.abs(turn).max() <= 18 + 0.01  # degrees, from differences of about 20
    assert turn.min() < -16 and turn.max() > 16
    scale = np.hypot(0.877 * difference[:, 0], 0.492 * difference[:, 2])
    scale /= np.hypot(0.877 * before[0], 0.492 * before[2])
    assert 0.25 - ROUNDING <= scale.min() < 0.4 and 1.8 < scale.max() <= 2.25 + ROUNDING


def test_the_four_amounts_have_nothing_to_do_with_each_other():
    # Two greys show brightness and contrast: their mean stays where it is but for the brightness. A
    # colour beside grey of its luma shows contrast times saturation, and the turn.
    greys = jittered(image_of((120, 120, 120), (136, 136, 136)), 1.0)[:, 0, :, 0]
    luma = np.dot((140.0, 100.0, 90.0), LUMA)
    pair = jittered(image_of((140, 100, 90), (luma,) * 3), 1.0)[:, 0]
    red, _, blue = (pair[:, 0] - pair[:, 1]).T
    contrast = (greys[:, 1] - greys[:, 0]) / 16
    saturation = np.hypot(0.877 * red, 0.492 * blue) / contrast
    turn = np.arctan2(0.877 * red, 0.492 * blue)  # from 112 degrees, far from where angles jump
    correlation = np.corrcoef([greys.mean(axis=1) - 128, contrast, saturation, turn])
    # Of 200 independent pairs the coefficient has a standard deviation of 1 / sqrt(200) = 0.07.
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 5 / np.sqrt(200)


def test_no_strength_is_no_change():
    image = np.random.default_rng(5).uniform(0, 255, (4, 6, 3)).astype(np.float32)
    unchanged = np.broadcast_to(image, (5, *image.shape))
    np.testing.assert_allclose(jittered(image, 0.0, 5), unchanged, atol=ROUNDING)


def test_a_draw_depends_on_its_seed_alone():
    image = image_of((200, 100, 50))
    first = jittered(image, 1.0, 10)
    np.testing.assert_array_equal(first, jittered(image, 1.0, 10))
    assert len(np.unique(first[:, 0, 0, 0])) == 10


@given(
    pixels=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=6),
    strength=st.floats(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=100)
def test_values_stay_values(pixels, strength, seed):
    result = jitter_colours(image_of(*pixels), strength, tf.constant([0, seed])).numpy()
    assert result.shape == (1, len(pixels), 3)
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 255


@pytest.mark.parametrize("size", [(1, 1), (4000, 1), (1, 4000), (3, 5)])
@pytest.mark.parametrize("value", [0, 97, 255])
def test_grey_stays_grey(size, value):
    images = jittered(tf.fill([*size, 3], float(value)), 1.0, 10)
    assert np.isfinite(images).all()
    np.testing.assert_allclose(images[..., 1:], images[..., :1].repeat(2, -1), atol=ROUNDING)
