"""Resizing and mirroring: boxes that stay on their pixels."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tf_frcnn.data.transforms import flip_horizontally, resize_images, scale_boxes


def box_in_pixels(image):
    """Find the half-open yxyx box of what is bright."""
    bright = np.asarray(image)[..., 0] > 127.5
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def image_with_box(size, box):
    image = np.zeros((*size, 3), np.uint8)
    ymin, xmin, ymax, xmax = box
    image[ymin:ymax, xmin:xmax] = 255
    return image


# === Pixels ===


def test_resizing_samples_at_pixel_centres():
    # Twice as wide: centres (i + 0.5) / 2 - 0.5 = -0.25, 0.25, 0.75, 1.25; ends are repeated.
    image = tf.constant([[[0.0] * 3, [100.0] * 3]])  # [1, 2, 3]
    resized = resize_images(image, tf.constant([1, 4]))
    np.testing.assert_allclose(resized[0, :, 0], [0.0, 25.0, 75.0, 100.0], atol=1e-5)
    assert resized.dtype == tf.float32


def bilinear_oracle(image, size):
    """Sample with loops: centres at halves, edges repeated, no antialiasing."""
    height, width, channels = image.shape
    result = np.zeros((*size, channels))
    for row in range(size[0]):
        for column in range(size[1]):
            y = np.clip((row + 0.5) * height / size[0] - 0.5, 0, height - 1)
            x = np.clip((column + 0.5) * width / size[1] - 0.5, 0, width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = (1 - (x - left)) * image[top, left] + (x - left) * image[top, right]
            lower = (1 - (x - left)) * image[bottom, left] + (x - left) * image[bottom, right]
            result[row, column] = (1 - (y - top)) * upper + (y - top) * lower
    return result


@pytest.mark.parametrize("size", [(7, 4), (13, 20), (1, 9), (5, 11)])
def test_resizing_equals_loops(size):
    image = np.random.default_rng(1).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    resized = resize_images(tf.constant(image), tf.constant(size))
    np.testing.assert_allclose(resized, bilinear_oracle(image.astype(float), size), atol=1e-3)


def test_a_batch_is_resized_image_by_image():
    images = np.random.default_rng(2).uniform(0, 255, (2, 6, 8, 3)).astype(np.float32)
    together = resize_images(tf.constant(images), tf.constant([3, 12]))
    for image, resized in zip(images, together, strict=True):
        np.testing.assert_array_equal(resize_images(tf.constant(image), [3, 12]), resized)


# === Antialiasing ===


def test_an_antialiased_pixel_is_a_mean_of_all_that_it_covers():
    # Half as wide: the centres of the new pixels lie at 1 and 3 of the old ones' edges, those of
    # the old at 0.5, 1.5, 2.5, 3.5. A triangle of base 4 gives them 3/4, 3/4, 1/4, 0 for the first
    # and 0, 1/4, 3/4, 3/4 for the second, whose sum is 7/4. Without it: (0 + 0) / 2, (70 + 0) / 2.
    image = tf.constant([[[0.0] * 3, [0.0] * 3, [70.0] * 3, [0.0] * 3]])  # [1, 4, 3]
    plain = resize_images(image, [1, 2])
    np.testing.assert_allclose(plain[0, :, 0], [0.0, 35.0], atol=1e-5)
    resized = resize_images(image, [1, 2], antialias=True)
    np.testing.assert_allclose(resized[0, :, 0], [70 / 7, 70 * 3 / 7], atol=1e-4)
    assert resized.dtype == tf.float32


# Both sides smaller, by much or by little, one of them, and one smaller and one larger.
@pytest.mark.parametrize("size", [(13, 20), (1, 1), (38, 55), (40, 9), (7, 61), (55, 20)])
def test_antialiased_images_are_those_of_pillow(size):
    image = np.random.default_rng(4).integers(0, 256, (40, 61, 3)).astype(np.uint8)
    resized = resize_images(tf.constant(image), tf.constant(size), antialias=True)
    theirs = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    # Pillow rounds to whole numbers twice, after columns and after rows: by 0.5 each time at most.
    np.testing.assert_allclose(resized, np.asarray(theirs, np.float32), atol=1.001)
    # The comparison tells: most pixels of noise are another mean of four.
    plain = resize_images(tf.constant(image), tf.constant(size))
    if size[0] * size[1] < 1000:
        assert np.abs(plain - np.asarray(theirs, np.float32)).max() > 10


@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=30)
def test_images_that_get_no_smaller_are_the_same_to_the_bit(size, more_rows, more_columns):
    image = np.random.default_rng(5).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    to_size = [size[0] + more_rows, size[1] + more_columns]
    antialiased = resize_images(tf.constant(image), to_size, antialias=True)
    np.testing.assert_array_equal(antialiased, resize_images(tf.constant(image), to_size))
    if not more_rows and not more_columns:
        np.testing.assert_array_equal(antialiased, image)


@pytest.mark.parametrize("size", [(13, 20), (40, 61), (80, 99), (80, 9)])
def test_antialiasing_in_a_graph_of_any_size_is_the_same(size):
    graph = tf.function(
        lambda images, size: resize_images(images, size, antialias=True),
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([2], tf.int32),
        ],
    )
    images = np.random.default_rng(6).integers(0, 256, (2, 40, 61, 3)).astype(np.uint8)
    together = graph(tf.constant(images), tf.constant(size))
    assert together.shape == (2, *size, 3)
    for image, resized in zip(images, together, strict=True):
        alone = resize_images(tf.constant(image), size, antialias=True)
        np.testing.assert_array_equal(resized, alone)


# === Boxes ===


@pytest.mark.parametrize(
    ("to_size", "expected"),
    [
        ((80, 90), [12, 15, 32, 60]),  # y * 2, x * 1.5
        ((20, 30), [3, 5, 8, 20]),  # both halved
        ((40, 120), [6, 20, 16, 80]),  # x * 2 alone
    ],
)
def test_a_box_moves_with_its_pixels(to_size, expected):
    box = [6, 10, 16, 40]
    image = image_with_box((40, 60), box)
    moved = scale_boxes(tf.constant([box], tf.float32), tf.constant([40, 60]), tf.constant(to_size))
    np.testing.assert_allclose(moved[0], expected, rtol=1e-6)
    assert box_in_pixels(resize_images(tf.constant(image), tf.constant(to_size))) == expected


def test_a_mirrored_box_stays_on_its_pixels():
    # Width 60: [10, 40) becomes [60 - 40, 60 - 10) = [20, 50); rows stay.
    box = [6, 10, 16, 40]
    image, boxes = flip_horizontally(
        tf.constant(image_with_box((40, 60), box)), tf.constant([box], tf.float32)
    )
    np.testing.assert_array_equal(boxes, [[6, 20, 16, 50]])
    assert box_in_pixels(image) == [6, 20, 16, 50]


@given(data=st.data(), height=st.integers(1, 6), width=st.integers(1, 9))
@settings(max_examples=30)
def test_mirroring_twice_changes_nothing(data, height, width):
    image = np.arange(height * width * 3, dtype=np.float32).reshape(height, width, 3)
    xs = st.lists(st.integers(0, width), min_size=2, max_size=2).map(sorted)
    spans = data.draw(st.lists(xs, max_size=3))
    boxes = np.array([[0, x1, height, x2] for x1, x2 in spans], np.float32).reshape(-1, 4)
    once = flip_horizontally(tf.constant(image), tf.constant(boxes))
    twice = flip_horizontally(*once)
    np.testing.assert_array_equal(twice[0], image)
    np.testing.assert_array_equal(twice[1], boxes)
    assert np.all(once[1][:, 3] >= once[1][:, 1])  # still xmin <= xmax
    if width > 1:
        assert not np.array_equal(once[0], image)


def test_scaling_there_and_back_is_the_identity():
    boxes = tf.constant([[[1.0, 2.0, 30.0, 47.5]], [[0.0, 0.0, 40.0, 60.0]]])  # [2, 1, 4]
    there = scale_boxes(boxes, [40, 60], [333, 71])
    np.testing.assert_allclose(scale_boxes(there, [333, 71], [40, 60]), boxes, rtol=1e-6)


def test_no_boxes_stay_no_boxes():
    none = tf.zeros([0, 4])
    assert scale_boxes(none, [40, 60], [20, 30]).shape == (0, 4)
    assert flip_horizontally(tf.zeros([4, 6, 3]), none)[1].shape == (0, 4)
