"""Cropping: what a window leaves, against loops, and which windows are drawn."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_transforms import box_in_pixels, image_with_box
from tf_frcnn.data.transforms import (
    crop,
    draw_window,
    flip_horizontally,
    move_to_window,
    resize_images,
    scale_boxes,
)
from tf_frcnn.ops.boxes import box_area

# === What is left ===


def test_boxes_are_cropped_with_their_pixels():
    # Window: rows 5 to 25, columns 8 to 38, hence 20 x 30.
    boxes = [
        [6, 10, 16, 40],  # centre (11, 25): kept; 10 - 8 = 2, 40 - 8 = 32 is clipped to 30
        [0, 30, 10, 50],  # centre (5, 40): 40 >= 38, dropped
        [0, 8, 10, 20],  # centre (5, 14) lies on the window's first row: kept
        [5, 30, 15, 46],  # centre (10, 38) lies on the first column after it: dropped
        [0, 0, 40, 60],  # centre (20, 30): kept, fills the window
    ]
    image = np.random.default_rng(3).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    cropped, moved, classes = crop(
        tf.constant(image),
        tf.constant(boxes, tf.float32),
        tf.constant([1, 2, 3, 4, 5]),
        tf.constant([5, 8, 25, 38]),
    )
    np.testing.assert_array_equal(cropped, image[5:25, 8:38])
    np.testing.assert_array_equal(moved, [[1, 2, 11, 30], [0, 0, 5, 12], [0, 0, 20, 30]])
    np.testing.assert_array_equal(classes, [1, 3, 5])


def test_boxes_to_ignore_are_clipped_wherever_their_centres_are():
    # The same window, which `crop` would drop the first two from; nothing is left of the third.
    boxes = [[0, 30, 10, 50], [5, 30, 15, 46], [26, 0, 40, 60], [6, 10, 16, 40]]
    moved = move_to_window(tf.constant(boxes, tf.float32), tf.constant([5, 8, 25, 38]))
    np.testing.assert_array_equal(moved[0], [0, 22, 5, 30])
    np.testing.assert_array_equal(moved[1], [0, 22, 10, 30])
    assert float(box_area(moved)[2]) == 0.0
    np.testing.assert_array_equal(moved[3], [1, 2, 11, 30])
    assert move_to_window(tf.zeros([0, 4]), tf.constant([5, 8, 25, 38])).shape == (0, 4)


@st.composite
def sizes_and_boxes(draw, min_side=1, max_boxes=4):
    """Draw an image's size and boxes in it, sides of whole pixels and `min_side` at least."""
    size = draw(st.tuples(*[st.integers(min_side, 60)] * 2))
    boxes = []
    for _ in range(draw(st.integers(1, max_boxes))):
        ymin, xmin = (draw(st.integers(0, side - min_side)) for side in size)
        ymax = draw(st.integers(ymin + min_side, size[0]))
        xmax = draw(st.integers(xmin + min_side, size[1]))
        boxes.append([ymin, xmin, ymax, xmax])
    return size, boxes


@given(
    image=sizes_and_boxes(),
    min_fraction=st.sampled_from([0.1, 0.5, 0.9]),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=100)
def test_a_drawn_window_fits_and_leaves_what_the_loops_leave(image, min_fraction, seed):
    size, boxes = image
    window = draw_window(
        tf.constant(boxes, tf.float32), tf.constant(size), 1.0, min_fraction, tf.constant([0, seed])
    ).numpy()
    height, width = window[2] - window[0], window[3] - window[1]
    assert 0 <= window[0] < window[2] <= size[0] and 0 <= window[1] < window[3] <= size[1]
    # Rounded to whole pixels, and 1 at least.
    assert height >= min_fraction * size[0] - 0.5 and width >= min_fraction * size[1] - 0.5
    assert (height <= width) if size[0] <= size[1] else (height >= width)  # orientation

    expected, expected_classes = [], []
    for number, box in enumerate(boxes):
        ymin, xmin, ymax, xmax = (
            min(max(edge, window[axis % 2]), window[2 + axis % 2]) - window[axis % 2]
            for axis, edge in enumerate(box)
        )
        if all(window[a] <= (box[a] + box[2 + a]) / 2 < window[2 + a] for a in (0, 1)):
            expected.append([ymin, xmin, ymax, xmax])
            expected_classes.append(number + 1)
    _, left, classes = crop(
        tf.zeros([*size, 3]),
        tf.constant(boxes, tf.float32),
        tf.range(1, len(boxes) + 1),
        tf.constant(window),
    )
    assert len(expected) > 0  # an image with objects keeps one
    np.testing.assert_array_equal(left, expected)
    np.testing.assert_array_equal(classes, expected_classes)


@given(
    image=sizes_and_boxes(min_side=3, max_boxes=1),
    seed=st.integers(0, 2**31 - 1),
    mirrored=st.booleans(),
)
@settings(max_examples=50)
def test_a_box_stays_on_its_pixels_through_all_of_it(image, seed, mirrored):
    size, boxes = image
    pixels = tf.constant(image_with_box(size, boxes[0]))
    boxes = tf.constant(boxes, tf.float32)
    window = draw_window(boxes, tf.constant(size), 1.0, 0.3, tf.constant([1, seed]))
    pixels, boxes, _ = crop(pixels, boxes, tf.constant([1]), window)
    from_size = tf.shape(pixels)[:2]
    to_size = from_size * tf.constant([3, 2])
    pixels, boxes = resize_images(pixels, to_size), scale_boxes(boxes, from_size, to_size)
    if mirrored:
        pixels, boxes = flip_horizontally(pixels, boxes)
    # Enlarged bilinearly by 3 and by 2, an edge between black and white is halfway where it was;
    # a box of 3 px, or of fewer at the window's border, is all white in its middle.
    assert box_in_pixels(pixels) == boxes[0].numpy().tolist()


def test_an_uncut_image_keeps_a_box_whose_centre_rounds_onto_its_border():
    # The float32 before 500 is 500 - 2**-15; the mean of the two, taken in float32, is 500.
    thin = [[0.0, np.nextafter(np.float32(500), np.float32(0)), 7.0, 500.0]]
    assert np.float32(0.5) * (np.float32(thin[0][1]) + np.float32(500)) == 500
    _, boxes, _ = crop(
        tf.zeros([7, 500, 3]), tf.constant(thin), tf.constant([1]), tf.constant([0, 0, 7, 500])
    )
    np.testing.assert_array_equal(boxes, thin)


# === Windows ===

SIZE = (375, 500)
WHOLE = [0, 0, 375, 500]


def windows_of_seeds(count, probability=1.0, min_fraction=0.5, boxes=(), size=SIZE):
    """Draw windows with seeds 0 to `count` - 1: [count, 4]."""
    boxes = tf.constant(np.reshape(np.array(boxes, np.float32), (-1, 4)))
    draw = tf.function(
        lambda seed: draw_window(boxes, tf.constant(size), probability, min_fraction, seed)
    )
    return np.stack([draw(tf.constant([6, number])) for number in range(count)])


@pytest.mark.parametrize(
    ("probability", "low", "high"),
    # 200 draws of 0.3: mean 60, standard deviation 6.5; 27 and 93 are 5 of them away.
    [(0.0, 0, 0), (1.0, 200, 200), (0.3, 27, 93)],
)
def test_images_are_cropped_with_the_probability(probability, low, high):
    windows = windows_of_seeds(200, probability)
    assert low <= np.count_nonzero((windows != WHOLE).any(axis=1)) <= high


def test_sides_and_places_are_drawn_evenly():
    windows = windows_of_seeds(400)
    sides = windows[:, 2:] - windows[:, :2]
    fractions = sides / SIZE  # from 0.5 to 1
    places = windows[:, :2] / np.maximum(np.array(SIZE) - sides, 1)  # from 0 to 1
    assert fractions.min() >= 0.495 and fractions.min() < 0.55 and fractions.max() > 0.95
    assert places.min() < 0.05 and places.max() > 0.95
    # The mean of 400 draws from 0 to 1 has a standard deviation of 0.289 / 20 = 0.0144, 5 of them
    # are 0.072. A landscape image's height gives some of its share to the width, so its mean
    # fraction is only bounded.
    np.testing.assert_allclose(places.mean(axis=0), 0.5, atol=0.072)
    assert 0.65 < fractions[:, 0].mean() <= fractions[:, 1].mean() < 0.85
    # Sides and places know nothing of each other; standard deviation 1 / sqrt(400) = 0.05.
    correlation = np.corrcoef(fractions.T, places.T)[:2, 2:]
    assert np.abs(correlation).max() < 0.25


def test_every_place_of_a_small_image_is_drawn_equally_often():
    windows = windows_of_seeds(400, size=(3, 3))
    starts = windows[windows[:, 2] - windows[:, 0] == 2, 0]  # 2 of 3 rows: from 0 or from 1
    # A square's height is the smaller of two sides from 1.5 to 3: rounded it is 2, not 3, unless
    # both are above 2.5, in 8 of 9 windows. Half of these start at 1; 47 is 5 standard deviations
    # of sqrt(356) / 2 = 9.4.
    assert len(starts) > 300
    assert abs(np.count_nonzero(starts) - len(starts) / 2) < 47


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (50, 50), (1, 7), (7, 1)])
def test_a_window_has_the_orientation_of_its_image(size):
    # With fractions from 0.1 to 1 a third of the windows of 40 x 60 would be higher than wide.
    windows = windows_of_seeds(100, min_fraction=0.1, size=size)
    heights, widths = (windows[:, 2:] - windows[:, :2]).T
    assert np.all(heights <= widths) if size[0] <= size[1] else np.all(heights >= widths)


def test_a_window_that_leaves_no_box_is_drawn_again():
    # A window keeps a point at a tenth of both sides with probability 0.27: its start must be
    # below 0.1, which for a side from 0.5 to 1 is 0.2 + 0.2 * ln 5 = 0.52, twice. All of 20 windows
    # miss it with probability 0.73**20 = 0.002.
    box = [36, 48, 39, 52]
    windows = windows_of_seeds(100, boxes=[box])
    assert np.all((windows[:, :2] <= [37.5, 50]) & (windows[:, 2:] > [37.5, 50]))
    assert np.count_nonzero((windows != WHOLE).any(axis=1)) > 90


def test_an_image_stays_whole_where_no_window_leaves_a_box():
    # Only a window in the very corner keeps this box.
    windows = windows_of_seeds(30, boxes=[[374, 499, 375, 500]])
    assert np.all(windows[:, 2:] == SIZE)
    assert np.count_nonzero((windows == WHOLE).all(axis=1)) > 15


def test_a_window_depends_on_its_seed_alone():
    windows = windows_of_seeds(20)
    np.testing.assert_array_equal(windows, windows_of_seeds(20))
    assert len({tuple(window) for window in windows}) > 15
