"""One record of TensorFlow Datasets: fractions to pixels, and what faulty objects are told."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_frcnn.data.tfds_record import Record, read_objects, to_pixels

SIZE = (48, 80)  # (height, width)
CLASS_NAMES = ("dog", "cat")


def make_record(boxes, labels, difficult=None, crowd=None):
    flags = [False] * len(labels)
    return Record(
        key="toy-train.tfrecord-00000-of-00001__3",
        content=b"",
        file_name="p.png",
        image_id="",
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=labels,
        difficult=np.array(difficult or flags),
        crowd=np.array(crowd or flags),
    )


def read(*args, **options):
    return read_objects(make_record(*args), "toy/1.0.0, split train, p.png", CLASS_NAMES, **options)


# === Fractions and pixels ===


def test_fractions_become_pixels_of_their_own_side():
    # Height 48, width 80: 0.25 * 48 = 12, 0.5 * 80 = 40, 0.75 * 48 = 36, 0.625 * 80 = 50; all of
    # them are exact in binary.
    pixels = to_pixels(np.float32([[0.25, 0.5, 0.75, 0.625]]), SIZE)
    np.testing.assert_array_equal(pixels, [[12, 40, 36, 50]])
    assert to_pixels(np.zeros((0, 4), np.float32), SIZE).shape == (0, 4)


@given(data=st.data(), height=st.integers(1, 20_000), width=st.integers(1, 20_000))
def test_whole_pixels_survive_being_stored_as_fractions(data, height, width):
    corners = [data.draw(st.integers(0, side)) for side in (height, width, height, width)]
    fractions = np.array(corners) / [height, width, height, width]
    pixels = to_pixels(fractions[None].astype(np.float32), (height, width))
    np.testing.assert_array_equal(pixels, [corners])


@given(fraction=st.floats(0, 1, width=32), side=st.integers(1, 20_000))
def test_no_number_is_moved_by_more_than_rounding_may_have_moved_it(fraction, side):
    moved = to_pixels(np.float32([[fraction] * 4]), (side, side)) - fraction * side
    # Four times the largest error of a fraction up to 1 in float32, 2^-25.
    assert (np.abs(moved) <= side * 2.0**-23).all()


def test_boxes_between_pixels_stay_there():
    # 10.25 of 640 pixels; float32 stores the fraction with an error of at most 2^-25, which is
    # 640 * 2^-25 pixels.
    pixels = to_pixels(np.float32([[10.25 / 640] * 4]), (640, 640))
    np.testing.assert_allclose(pixels, 10.25, rtol=0, atol=640 * 2.0**-25)


def test_boxes_that_count_from_one_lose_one_in_the_mins_only():
    # VOC's xmin 11, ymin 21, xmax 30, ymax 25 are the pixels 10..30 and 20..25, half-open; and
    # xmin = xmax = 80, the last column, is a box one pixel wide.
    stated = [[21 / 48, 11 / 80, 25 / 48, 30 / 80], [1 / 48, 80 / 80, 9 / 48, 80 / 80]]
    objects, faults = read(stated, [0, 1], image_size=SIZE, counts_from_one=True)
    assert not faults and not any(item.clipped for item in objects)
    np.testing.assert_array_equal(objects[0].box, [20, 10, 25, 30])
    np.testing.assert_array_equal(objects[1].box, [0, 79, 9, 80])


# === Objects ===


def test_an_object_has_name_flags_and_place():
    boxes = [[0, 0, 1, 1], [0, 0.5, 1, 1]]
    objects, faults = read(boxes, [1, 0], [False, True], [True, False], image_size=SIZE)
    assert not faults
    assert [item.name for item in objects] == ["cat", "dog"]
    assert [item.difficult for item in objects] == [False, True]
    assert [item.crowd for item in objects] == [True, False]
    assert objects[1].place == "toy/1.0.0, split train, p.png: object 2 (dog)"
    assert objects[0].box.dtype == np.float32


def test_a_box_partly_outside_is_clipped():
    # 1.25 * 48 = 60 rows of 48, and -0.1 * 80 = -8.
    (item,), faults = read([[0.25, -0.1, 1.25, 0.5]], [0], image_size=SIZE)
    assert item.clipped and not faults
    np.testing.assert_array_equal(item.box, [12, 0, 48, 40])


FAULTY_OBJECTS = {
    "inverted": ([0.5, 0.1, 0.25, 0.9], 1, ["(cat), bbox = [0.5, 0.1, 0.25, 0.9]", "inverted"]),
    "empty": ([0.5, 0.1, 0.75, 0.1], 1, ["(cat), bbox = [0.5, 0.1, 0.75, 0.1]", "empty"]),
    "outside": ([0.5, 1, 0.75, 1.5], 1, ["bbox = [0.5, 1, 0.75, 1.5]", "no area inside"]),
    "pixels": ([12, 40, 36, 50], 1, ["bbox = [12, 40, 36, 50]", "fractions of the image's"]),
    "nan": ([0.5, np.nan, 0.75, 0.9], 1, ["bbox = [0.5, nan, 0.75, 0.9]", "not all are numbers"]),
    "infinite": ([0.5, 0, np.inf, 0.9], 1, ["bbox = [0.5, 0, inf, 0.9]", "not all are numbers"]),
    "no label": ([0, 0, 1, 1], -1, [", label = -1", "Expected the number of a class, 0 to 1"]),
    "large label": ([0, 0, 1, 1], 2, [", label = 2", "Expected the number of a class, 0 to 1"]),
}


@pytest.mark.parametrize("fault", FAULTY_OBJECTS)
def test_a_faulty_object_is_told_and_the_others_stay(fault):
    bad, label, expected = FAULTY_OBJECTS[fault]
    objects, (message,) = read([[0, 0, 1, 1], bad], [0, label], image_size=SIZE)
    assert [item.name for item in objects] == ["dog"]
    for words in ["toy/1.0.0, split train, p.png: object 2", "Expected", *expected]:
        assert words in message


def test_areas_are_those_of_the_set_where_they_can_be():
    record = make_record([[0, 0, 1, 1]] * 4, [0] * 4)
    record = dataclasses.replace(record, areas=np.array([12.5, 0, np.nan, np.inf]))
    objects, _ = read_objects(record, "toy", CLASS_NAMES, SIZE)
    assert [item.area for item in objects] == [12.5, None, None, None]
    (item,), _ = read([[0, 0, 1, 1]], [0], image_size=SIZE)
    assert item.area is None


def test_labels_may_be_names():
    record = make_record([[0, 0, 1, 1]] * 2, ["bee", ""])
    objects, (message,) = read_objects(record, "toy", (), SIZE)
    assert [item.name for item in objects] == ["bee"]
    assert message == "toy: object 2, label: there is none. Expected the name of a class."
