"""One VOC annotation: arithmetic of boxes, and what every kind of faulty object is told."""

import logging
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import voc_xml
from tests.data.voc_writer import SIZE, message_of, read_train, write_one, write_voc

# === Boxes ===


def test_one_based_inclusive_pixels_become_half_open(tmp_path):
    # Pixels x 11..30 and y 21..25, counted from 1: x from 10 to 30 (20 wide), y from 20 to 25
    # (5 high); as yxyx [20, 10, 25, 30].
    example = read_train(write_one(tmp_path, ("cat", 11, 21, 30, 25))).examples[0]
    assert example.boxes.dtype == np.float32 and example.classes.dtype == np.int32
    np.testing.assert_array_equal(example.boxes, [[20, 10, 25, 30]])
    assert example.image_size == SIZE
    assert example.image_id == "a"
    assert example.image_path == tmp_path / "JPEGImages" / "a.png"
    assert example.source == str(tmp_path / "Annotations" / "a.xml")


def test_float_coordinates_lose_one_in_the_mins_only(tmp_path):
    # 45.70 - 1 = 44.70, 10.25 - 1 = 9.25; the maxes stay.
    root = write_one(tmp_path, ("cat", "45.70", "10.25", "99.5", "60.75"))
    np.testing.assert_allclose(read_train(root).examples[0].boxes, [[9.25, 44.70, 60.75, 99.5]])


def test_equal_min_and_max_is_one_pixel_wide(tmp_path):
    example = read_train(write_one(tmp_path, ("cat", 7, 3, 7, 9), ("cat", 5, 5, 5, 5))).examples[0]
    np.testing.assert_array_equal(example.boxes, [[2, 6, 9, 7], [4, 4, 5, 5]])


def test_the_whole_image_and_the_last_pixel_are_inside(tmp_path):
    dataset = read_train(write_one(tmp_path, ("cat", 1, 1, 200, 100), ("cat", 200, 100, 200, 100)))
    np.testing.assert_array_equal(
        dataset.examples[0].boxes, [[0, 0, 100, 200], [99, 199, 100, 200]]
    )
    assert dataset.num_clipped == 0


def test_boxes_partly_outside_are_clipped_and_counted_once(tmp_path, caplog):
    annotations = {
        "a": voc_xml(SIZE, [("cat", 10, 10, 20, 20)]),
        # xmin 0 -> -1 -> 0; ymax 130 -> 100.
        "b": voc_xml(SIZE, [("cat", 5, 5, 6, 6), ("cat", 0, 90, 30, 130)]),
        "c": voc_xml(SIZE, [("cat", 190, -5, 1e300, 40)]),
    }
    with caplog.at_level(logging.WARNING):
        dataset = read_train(write_voc(tmp_path, annotations))
    np.testing.assert_array_equal(dataset.examples[1].boxes[1], [89, 0, 100, 30])
    np.testing.assert_array_equal(dataset.examples[2].boxes[0], [0, 189, 40, 200])
    assert dataset.num_clipped == 2
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "clipped: 2 " in warning and "b.xml: object 2 (cat)" in warning


def test_an_image_without_objects_has_an_empty_array_of_boxes(tmp_path):
    annotations = {"a": voc_xml(SIZE, []), "b": voc_xml(SIZE, [("cat", 1, 2, 3, 4)])}
    example = read_train(write_voc(tmp_path, annotations)).examples[0]
    assert example.boxes.shape == (0, 4) and example.boxes.dtype == np.float32
    assert example.classes.shape == example.difficult.shape == example.crowd.shape == (0,)


def test_the_difficult_flag_is_read_and_missing_means_easy(tmp_path):
    boxes = [("cat", 1, 2, 3, 4, flag) for flag in (0, 1, "True", "false", "")]
    example = read_train(write_one(tmp_path, *boxes, ("cat", 1, 2, 3, 4))).examples[0]
    assert example.difficult.tolist() == [False, True, True, False, False, False]
    assert example.difficult.dtype == bool and not example.crowd.any()


def test_boxes_of_an_objects_parts_are_not_read(tmp_path):
    part = (
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    )
    text = voc_xml(SIZE, [("person", 11, 21, 31, 51)]).replace("</name>", "</name>" + part)
    dataset = read_train(write_voc(tmp_path, {"a": text}))
    assert dataset.class_names == ("person",)
    np.testing.assert_array_equal(dataset.examples[0].boxes, [[20, 10, 51, 31]])


@st.composite
def boxes_in_pixels(draw):
    """Half-open integer yxyx boxes inside of SIZE, at most five."""

    def span(limit):
        low = draw(st.integers(0, limit - 1))
        return low, draw(st.integers(low + 1, limit))

    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        (ymin, ymax), (xmin, xmax) = span(SIZE[0]), span(SIZE[1])
        boxes.append([ymin, xmin, ymax, xmax])
    return boxes


@given(boxes=boxes_in_pixels())
def test_boxes_written_as_xml_come_back(tmp_path_factory, boxes):
    root = tmp_path_factory.mktemp("voc")
    objects = [("cat", xmin + 1, ymin + 1, xmax, ymax) for ymin, xmin, ymax, xmax in boxes]
    dataset = read_train(write_one(root, *objects), ("cat",))
    np.testing.assert_array_equal(
        dataset.examples[0].boxes, np.array(boxes, np.float32).reshape(-1, 4)
    )
    assert dataset.num_clipped == 0
    shutil.rmtree(root)


# === Faults: file, field, value, expectation ===

FAULTY_OBJECTS = {
    "inverted x": (
        ("cat", 30, 5, 10, 9),
        ["(cat), xmin = 30 and xmax = 10", "inverted", "Expected xmin <= xmax"],
    ),
    "inverted y": (
        ("cat", 5, 9, 10, 8),
        ["(cat), ymin = 9 and ymax = 8", "inverted", "Expected ymin <= ymax"],
    ),
    "right of the image": (
        ("cat", 201, 5, 210, 9),
        ["bndbox = xmin 201, ymin 5, xmax 210, ymax 9", "wholly outside", "1 to 200 in x"],
    ),
    "above the image": (
        ("cat", 5, -3, 9, 0),
        ["bndbox = xmin 5, ymin -3, xmax 9, ymax 0", "wholly outside", "1 to 100 in y"],
    ),
    "not a number": (("cat", 1, "abc", 3, 4), ["bndbox/ymin = 'abc'", "Expected a finite number"]),
    "nan": (("cat", 1, 2, "nan", 4), ["bndbox/xmax = 'nan'", "Expected a finite number"]),
    "infinite": (("cat", 1, 2, 3, "1e999"), ["bndbox/ymax = '1e999'", "Expected a finite number"]),
    "empty": (("cat", "", 2, 3, 4), ["bndbox/xmin = ''", "Expected a finite number"]),
    "no name": ((" ", 1, 2, 3, 4), ["name: there is none", "Expected the name of a class"]),
    "odd flag": (("cat", 1, 2, 3, 4, "maybe"), ["difficult = 'maybe'", "Expected 0 or 1"]),
}


@pytest.mark.parametrize("fault", FAULTY_OBJECTS)
def test_a_faulty_object_is_named_with_its_file_number_value_and_expectation(tmp_path, fault):
    bad, expected = FAULTY_OBJECTS[fault]
    message = message_of(write_one(tmp_path, ("cat", 1, 2, 3, 4), bad))
    assert f"{tmp_path / 'Annotations' / 'a.xml'}: object 2" in message
    assert "1 fault " in message
    for words in expected:
        assert words in message


def test_an_object_without_a_box_is_a_fault(tmp_path):
    text = "<annotation><object><name>cat</name></object></annotation>"
    message = message_of(write_voc(tmp_path, {"a": text}))
    assert "a.xml: object 1 (cat), bndbox: there is none. Expected one in each" in message


def test_an_object_with_two_boxes_is_a_fault(tmp_path):
    box = "<bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    text = f"<annotation><object><name>cat</name>{box.format(1)}{box.format(9)}</object>"
    message = message_of(write_voc(tmp_path, {"a": f"{text}</annotation>"}))
    assert "a.xml: object 1 (cat), bndbox: there are 2. Expected one in each" in message


@pytest.mark.parametrize("name", ["Object", "objects", "OBJECT"])
def test_boxes_in_elements_of_a_misspelt_name_are_not_passed_over(tmp_path, name):
    text = voc_xml(SIZE, [("cat", 1, 2, 3, 4), ("cat", 5, 6, 7, 8), ("cat", 9, 9, 9, 9)])
    first, _, rest = text.partition("</object>")
    misspelt = rest.replace("<object>", f"<{name}>").replace("</object>", f"</{name}>")
    message = message_of(write_voc(tmp_path, {"a": f"{first}</object>{misspelt}"}))
    assert "1 fault " in message
    assert f"a.xml: <{name}> (there: 2): its boxes would not be seen. Expected <object>" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<annotation><object>", ["cannot be read as XML", "Expected a VOC annotation"]),
        ("", ["cannot be read as XML (the file is empty)", "Expected a VOC annotation"]),
        ("<svg/>", ["the root is <svg>", "Expected <annotation>"]),
        (
            '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
            "<annotation><filename>&e;</filename></annotation>",
            ["its DOCTYPE declares entities", "Expected a VOC annotation without <!ENTITY ...>"],
        ),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', ["cannot be read as XML"]),
    ],
)
def test_broken_and_unsafe_xml_is_named(tmp_path, text, expected):
    message = message_of(write_voc(tmp_path, {"a": text}))
    for words in [str(tmp_path / "Annotations" / "a.xml"), *expected]:
        assert words in message


@pytest.mark.parametrize("field", ["name", "xmin", "difficult"])
def test_messages_are_short_whatever_the_file_holds(tmp_path, field):
    box = {"name": "cat", "xmin": 5, "ymin": 5, "xmax": 30, "ymax": 40, "difficult": 0}
    box[field] = "9" * 3_000_000
    assert len(message_of(write_one(tmp_path, tuple(box.values())))) < 3000
