"""The VOC reader: arithmetic of boxes, layouts, and what every kind of fault is told."""

import logging
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import VOC_SPLIT_COUNTS, voc_xml
from tf_frcnn.config import DataConfig
from tf_frcnn.data import DATASETS, read_dataset, read_datasets
from tf_frcnn.data.image import read_image
from tf_frcnn.data.voc import read_voc
from tf_frcnn.errors import ConfigError, DataError

BCCD = Path(__file__).parents[3] / "shared" / "data" / "bccd"
SIZE = (100, 200)  # (height, width) of the pictures drawn below


def write_voc(root, annotations, lists=None, size=SIZE):
    """Write a devkit-layout data set: annotations by name (XML text), lists by split."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in annotations.items():
        (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
        Image.new("RGB", (size[1], size[0])).save(root / "JPEGImages" / f"{name}.png")
    for split, text in (lists or {"train": "\n".join(annotations)}).items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_bytes(text.encode())
    return root


def write_one(root, *objects, **options):
    """Write a data set of one picture, `a`, with these objects."""
    return write_voc(root, {"a": voc_xml(SIZE, objects)}, **options)


def read_train(root, class_names=()):
    return read_voc(root, ("train",), class_names, 0)["train"]


def message_of(root, class_names=(), splits=("train",)):
    with pytest.raises(DataError) as caught:
        read_voc(root, splits, class_names, 0)
    return str(caught.value)


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


def test_the_whole_picture_and_the_last_pixel_are_inside(tmp_path):
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


def test_a_picture_without_objects_has_an_empty_array_of_boxes(tmp_path):
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
    "right of the picture": (
        ("cat", 201, 5, 210, 9),
        ["bndbox = xmin 201, ymin 5, xmax 210, ymax 9", "wholly outside", "1 to 200 in x"],
    ),
    "above the picture": (
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
    assert "a.xml: object 1 (cat), bndbox/xmin = ''. Expected a finite number" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<annotation><object>", ["cannot be read as XML", "Expected a VOC annotation"]),
        ("", ["cannot be read as XML", "Expected a VOC annotation"]),
        ("<svg/>", ["the root is <svg>", "Expected <annotation>"]),
        (
            '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
            "<annotation><filename>&e;</filename></annotation>",
            ["cannot be read as XML", "EntitiesForbidden", "Expected a VOC annotation"],
        ),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', ["cannot be read as XML"]),
    ],
)
def test_broken_and_unsafe_xml_is_named(tmp_path, text, expected):
    message = message_of(write_voc(tmp_path, {"a": text}))
    for words in [str(tmp_path / "Annotations" / "a.xml"), *expected]:
        assert words in message


def test_all_faults_are_counted_and_the_first_twenty_listed(tmp_path):
    bad = [("cat", 9, 1, number, 5) for number in range(8)]  # xmax 0..7 < xmin 9
    annotations = {name: voc_xml(SIZE, bad) for name in "abc"}
    annotations["d"] = "<annotation>"
    message = message_of(write_voc(tmp_path, annotations))
    # 3 files with 8 inverted boxes and a broken file: 25; 20 lines are 8 + 8 + 4.
    assert "25 faults" in message and "the first 20" in message
    listed = [line for line in message.splitlines() if line.startswith("  ")]
    assert len(listed) == 20
    assert sum("c.xml" in line for line in listed) == 4 and "d.xml" not in message


def test_a_broken_file_in_two_splits_is_one_fault(tmp_path):
    root = write_voc(tmp_path, {"a": "<svg/>"}, {"train": "a", "test": "a"})
    assert "1 fault " in message_of(root, splits=("train", "test"))


def test_an_unknown_class_names_file_value_list_and_closest(tmp_path):
    annotations = {
        "a": voc_xml(SIZE, [("cat", 1, 2, 3, 4), ("Duk", 1, 2, 3, 4)]),
        "b": voc_xml(SIZE, [("Duk", 1, 2, 3, 4), ("zebra", 1, 2, 3, 4)]),
    }
    message = message_of(write_voc(tmp_path, annotations), ("cat", "dog", "duck"))
    assert "2 faults" in message
    assert "a.xml: object 2 (Duk), name = 'Duk' (objects of that name: 2)" in message
    assert "one of the classes cat, dog, duck (closest: 'duck')" in message
    assert "b.xml: object 2 (zebra)" in message and message.count("closest") == 1


def test_other_faults_and_unknown_classes_stand_in_one_message(tmp_path):
    root = write_one(tmp_path, ("cat", 5, 1, 1, 9), ("cow", 1, 2, 3, 4))
    message = message_of(root, ("cat",))
    assert "2 faults" in message and "inverted" in message and "'cow'" in message


def test_no_objects_at_all_leave_no_classes(tmp_path):
    root = write_one(tmp_path)
    assert "no <object> in any of the 1 annotations" in message_of(root)
    assert len(read_train(root, ("cat",)).examples) == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "b", "a.png", "sub/a", ".."])
def test_names_that_are_not_in_the_folder_are_faults(tmp_path, name):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd.xml").write_text(voc_xml(SIZE, [("secret", 1, 2, 3, 4)]))
    root = write_one(tmp_path / "x" / "y", ("cat", 1, 2, 3, 4), lists={"train": f"a\n{name}"})
    message = message_of(root)
    assert f"train.txt: {name!r}: XML files of that name in {root / 'Annotations'}: none" in message
    assert "Expected one; lists hold names without folder and extension" in message
    assert "secret" not in message


# === Pictures ===


@pytest.mark.parametrize("extension", ["JPG", "jpeg", "Png", "BMP", "webp", "gif"])
def test_pictures_of_any_extension_in_any_case_are_found(tmp_path, extension):
    root = write_one(tmp_path, ("cat", 1, 2, 3, 4))
    picture = root / "JPEGImages" / "a.png"
    target = picture.with_name(f"a.{extension}")
    picture.rename(target)
    assert read_train(root).examples[0].image_path == target


def test_the_lists_name_is_trusted_over_the_filename(tmp_path):
    text = voc_xml(SIZE, [("cat", 1, 2, 3, 4)], filename="b.png")
    root = write_voc(tmp_path, {"a": text, "b": text}, {"train": "a"})
    assert read_train(root).examples[0].image_path.name == "a.png"


def test_the_filename_is_the_fallback_and_decides_between_two(tmp_path):
    text = voc_xml(SIZE, [("cat", 1, 2, 3, 4)], filename="other.jpg")
    root = write_voc(tmp_path, {"a": text})
    (root / "JPEGImages" / "a.png").rename(root / "JPEGImages" / "other.jpg")
    assert read_train(root).examples[0].image_path.name == "other.jpg"
    shutil.copy(root / "JPEGImages" / "other.jpg", root / "JPEGImages" / "other.bmp")
    assert read_train(root).examples[0].image_path.name == "other.jpg"


def test_two_pictures_of_one_name_are_a_fault(tmp_path):
    root = write_one(tmp_path, ("cat", 1, 2, 3, 4))
    shutil.copy(root / "JPEGImages" / "a.png", root / "JPEGImages" / "a.jpg")
    message = message_of(root)
    assert "a.xml: pictures in" in message and "a.jpg, a.png" in message
    assert "Expected one" in message


@pytest.mark.parametrize("filename", ["../../secret.png", "/secret.png", "gone.png", ""])
def test_a_missing_picture_is_a_fault_and_filename_cannot_leave_the_folder(tmp_path, filename):
    root = tmp_path / "x" / "y"
    write_voc(root, {"a": voc_xml(SIZE, [("cat", 1, 2, 3, 4)], filename=filename)})
    (root / "JPEGImages" / "a.png").rename(tmp_path / "secret.png")
    Image.new("RGB", (5, 5)).save(root / "JPEGImages" / "b.png")
    message = message_of(root)
    assert f"a.xml: pictures in {root / 'JPEGImages'} named 'a'" in message
    assert f"filename = {filename!r}): none. Expected one" in message


def test_an_unreadable_picture_is_a_fault(tmp_path):
    root = write_one(tmp_path, ("cat", 1, 2, 3, 4))
    (root / "JPEGImages" / "a.png").write_bytes(b"no picture")
    message = message_of(root)
    assert f"{root / 'JPEGImages' / 'a.png'}: the content is not that of a picture" in message


def test_the_size_is_the_pictures_and_a_difference_is_logged_once(tmp_path, caplog):
    annotations = {name: voc_xml((0, 0), [("cat", 1, 2, 3, 4)]) for name in "ab"}
    annotations["c"] = "<annotation/>"  # no size stated: nothing to differ from
    annotations["d"] = voc_xml(SIZE, [])
    with caplog.at_level(logging.WARNING):
        dataset = read_train(write_voc(tmp_path, annotations))
    assert [example.image_size for example in dataset.examples] == [SIZE] * 4
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "used: 2;" in warning and "a.xml, picture 200 x 100" in warning


def test_names_in_composed_and_decomposed_letters_are_the_same(tmp_path):
    composed = unicodedata.normalize("NFC", "Bläschen")
    decomposed = unicodedata.normalize("NFD", "Bläschen")
    annotations = {decomposed: voc_xml(SIZE, [("cät", 1, 2, 3, 4)])}
    dataset = read_train(write_voc(tmp_path, annotations, {"train": composed}))
    assert dataset.class_names == ("cät",)
    read_image(dataset.examples[0].image_path)


# === Lists, splits and layouts ===


def test_lists_may_have_a_second_column_blank_lines_and_crlf(tmp_path):
    names = ["a", "b", "c", "photo 1"]
    annotations = {name: voc_xml(SIZE, [("cat", 1, 2, 3, 4)]) for name in names}
    text = "\ufeffc -1\r\n\r\na  1\r\n  \r\nphoto 1\r\nb 0"
    root = write_voc(tmp_path, annotations, {"train": text})
    ids = [example.image_id for example in read_train(root).examples]
    assert ids == ["c", "a", "photo 1", "b"]


def test_a_name_twice_in_a_list_is_kept_once_with_a_warning(tmp_path, caplog):
    annotations = {name: voc_xml(SIZE, [("cat", 1, 2, 3, 4)]) for name in "ab"}
    root = write_voc(tmp_path, annotations, {"train": "b\na\nb\n"})
    with caplog.at_level(logging.WARNING):
        assert [example.image_id for example in read_train(root).examples] == ["b", "a"]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert (
        "train.txt: names" in warning
        and "kept once: 1" in warning
        and warning.endswith("the first: b")
    )


def test_an_empty_list_is_an_error(tmp_path):
    message = message_of(write_one(tmp_path, lists={"train": "\n \n"}))
    assert "train.txt: the list is empty. Expected one picture name a line" in message


def test_a_list_that_is_no_utf8_is_an_error(tmp_path):
    root = write_one(tmp_path)
    (root / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe\x00a")
    assert "train.txt: cannot be read" in message_of(root)


def test_missing_folders_are_named(tmp_path):
    message = message_of(tmp_path / "nowhere")
    assert "nowhere: there is no such folder. Expected a data set, Pascal VOC" in message
    root = write_one(tmp_path / "data", ("cat", 1, 2, 3, 4))
    shutil.rmtree(root / "Annotations")
    message = message_of(root)
    assert "no XML files" in message and "the folder holds ImageSets/, JPEGImages/" in message
    assert "Expected them in Annotations" in message


def test_a_missing_split_lists_those_that_are_there(tmp_path):
    root = write_one(tmp_path, lists={"train": "a", "trainval": "a", "cat_train": "a"})
    message = message_of(root, splits=("train", "../Main/train"))
    assert "there is no ../Main/train.txt" in message
    assert "the lists that are there: train, trainval, cat_train." in message


def write_without_lists(xml_folder, picture_folder, count=20):
    for folder in (xml_folder, picture_folder):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = voc_xml(SIZE, [("cat", 1, 2, 3, 4)])
        (xml_folder / f"p{number:02}.xml").write_text(text)
        Image.new("RGB", (200, 100)).save(picture_folder / f"p{number:02}.png")


@pytest.mark.parametrize(
    "folders", [(".", "."), ("xml", "pics"), (".", "images"), ("both", "both")]
)
def test_without_lists_pictures_are_divided_80_10_10(tmp_path, caplog, folders):
    root = tmp_path / "data"
    write_without_lists(*(root / folder for folder in folders))
    (root / ".idea").mkdir()
    (root / ".idea" / "workspace.xml").write_text("<project/>")
    with caplog.at_level(logging.INFO):
        datasets = read_datasets(DataConfig(root=str(root)), seed=3)
    assert "seed 3: train 16, val 2, test 2" in caplog.text
    ids = {role: [e.image_id for e in dataset.examples] for role, dataset in datasets.items()}
    assert [len(ids[role]) for role in ("train", "val", "test")] == [16, 2, 2]
    assert sorted(sum(ids.values(), [])) == [f"p{number:02}" for number in range(20)]


def test_made_splits_depend_on_the_seed_alone(tmp_path):
    write_without_lists(tmp_path / "a", tmp_path / "a")
    write_without_lists(tmp_path / "b", tmp_path / "b")

    def ids(folder, seed):
        dataset = read_voc(tmp_path / folder, ("test", "val"), (), seed)
        return [[e.image_id for e in dataset[split].examples] for split in ("val", "test")]

    assert ids("a", 1) == ids("b", 1)
    assert any(ids("a", 1) != ids("a", seed) for seed in (2, 3, 4))


@pytest.mark.parametrize(("count", "sizes"), [(3, (1, 1, 1)), (14, (12, 1, 1)), (15, (11, 2, 2))])
def test_made_splits_of_few_pictures(tmp_path, count, sizes):
    write_without_lists(tmp_path, tmp_path, count)
    datasets = read_voc(tmp_path, ("train", "val", "test"), (), 0)
    assert tuple(len(dataset.examples) for dataset in datasets.values()) == sizes


def test_two_pictures_cannot_be_divided_in_three(tmp_path):
    write_without_lists(tmp_path, tmp_path, 2)
    message = message_of(tmp_path, splits=("train", "val"))
    assert "with 2 XML files the split 'val' is empty. Expected at least 3" in message
    assert "--data.val-split none" in message
    assert len(read_train(tmp_path).examples) == 2


def test_xml_in_several_folders_is_an_error_that_names_them(tmp_path):
    for folder in ("train", "valid"):
        write_without_lists(tmp_path / folder, tmp_path / folder, 3)
    message = message_of(tmp_path)
    assert "XML files in several folders: train, valid. Expected them in Annotations" in message


def test_hidden_files_are_left_out(tmp_path):
    write_without_lists(tmp_path, tmp_path, 1)
    for name in ("._p00.xml", "._p00.png", ".p01.xml"):  # as macOS leaves them
        (tmp_path / name).write_bytes(b"\x00")
    assert [example.image_id for example in read_train(tmp_path).examples] == ["p00"]


def test_pictures_without_xml_are_counted_in_the_log(tmp_path, caplog):
    write_without_lists(tmp_path, tmp_path, 4)
    (tmp_path / "p02.xml").unlink()
    with caplog.at_level(logging.WARNING):
        read_train(tmp_path)
    assert "pictures without XML file, left out: 1" in caplog.text


def test_other_splits_than_the_made_ones_are_an_error(tmp_path):
    write_without_lists(tmp_path, tmp_path, 4)
    message = message_of(tmp_path, splits=("trainval",))
    assert "'trainval' cannot be made" in message
    assert "divided into train, val, test. Expected one of these" in message


# === Through the configuration ===


def test_read_datasets_finds_format_and_classes_over_all_splits(tmp_path, caplog):
    annotations = {
        "a": voc_xml(SIZE, [("dog", 11, 21, 30, 25)]),
        "b": voc_xml(SIZE, [("cat", 1, 2, 3, 4), ("dog", 1, 2, 3, 4)]),
        "c": voc_xml(SIZE, [("ant", 1, 2, 3, 4)]),
    }
    lists = {"train": "a", "val": "b", "test": "a", "unused": "c"}
    root = write_voc(tmp_path, annotations, lists)
    with caplog.at_level(logging.INFO):
        datasets = read_datasets(DataConfig(root=str(root)), seed=0)
    assert list(datasets) == ["train", "val", "test"]
    assert all(dataset.class_names == ("cat", "dog") for dataset in datasets.values())
    assert datasets["train"].examples[0].classes.tolist() == [2]
    assert datasets["val"].examples[0].classes.tolist() == [1, 2]
    assert "format voc detected" in caplog.text and "2 classes found: cat, dog" in caplog.text


def test_given_classes_fix_the_ids(voc_folder):
    config = DataConfig(root=str(voc_folder), format="voc", classes=("duck", "dog", "cat"))
    datasets = read_datasets(config, seed=0)
    counts = {role: len(dataset.examples) for role, dataset in datasets.items()}
    assert counts == VOC_SPLIT_COUNTS
    # The fixture's second picture holds a dog and a duck.
    assert datasets["train"].examples[1].classes.tolist() == [2, 1]


def test_splits_set_to_none_are_absent_and_two_roles_may_share_one(voc_folder):
    config = DataConfig(root=str(voc_folder), val_split="none", test_split="train")
    datasets = read_datasets(config, seed=0)
    assert list(datasets) == ["train", "test"]
    assert datasets["test"] is datasets["train"]


@pytest.mark.parametrize("role", ["train", "val", "test"])
def test_a_missing_default_split_names_the_splits_and_the_way_out(voc_folder, role):
    (voc_folder / "ImageSets" / "Main" / f"{role}.txt").unlink()
    with pytest.raises(DataError) as caught:
        read_datasets(DataConfig(root=str(voc_folder)), seed=0)
    message = str(caught.value)
    others = [name for name in ("test", "train", "val") if name != role]
    assert f"--data.{role}-split {role}: " in message and f"there is no {role}.txt" in message
    assert f"lists that are there: {', '.join(others)}." in message
    assert (f"--data.{role}-split none" in message) == (role != "train")


def test_no_root_and_a_missing_root_name_the_option(tmp_path):
    with pytest.raises(ConfigError, match="data.root is empty.*`--data.root DIR`"):
        read_datasets(DataConfig(), seed=0)
    with pytest.raises(DataError, match="nowhere: .*no such folder.*`--data.root DIR`"):
        read_datasets(DataConfig(root=str(tmp_path / "nowhere")), seed=0)


@pytest.mark.parametrize("data_format", ["auto", "voc"])
def test_a_folder_that_is_no_data_set_says_what_it_holds(tmp_path, data_format):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError) as caught:
        read_datasets(DataConfig(root=str(tmp_path), format=data_format), seed=0)
    assert "the folder holds notes.txt" in str(caught.value)
    assert "Annotations" in str(caught.value)


def test_the_folder_above_the_data_set_suggests_it(voc_folder):
    with pytest.raises(DataError, match=f"`--data.root DIR`, perhaps {voc_folder}"):
        read_datasets(DataConfig(root=str(voc_folder.parent)), seed=0)


def test_read_dataset_takes_the_models_classes(voc_folder):
    config = DataConfig(root=str(voc_folder), classes=("ignored",))
    dataset = read_dataset(config, "val", ("duck", "cat", "dog"), seed=0)
    assert dataset.split == "val" and dataset.class_names == ("duck", "cat", "dog")
    assert [example.classes.tolist() for example in dataset.examples] == [[2], [3, 1]]
    with pytest.raises(DataError, match=r"name = 'duck' .*: 1\). Expected .* cat, dog"):
        read_dataset(config, "val", ("cat", "dog"), seed=0)


def test_read_dataset_divides_as_read_datasets_does(tmp_path):
    write_without_lists(tmp_path, tmp_path, 40)
    config = DataConfig(root=str(tmp_path))
    tests = {}
    for seed in (0, 7):
        expected = [example.image_id for example in read_datasets(config, seed)["test"].examples]
        alone = read_dataset(config, "test", ("cat",), seed).examples
        assert [example.image_id for example in alone] == expected
        tests[seed] = expected
    assert tests[0] != tests[7]


def test_every_format_of_the_configuration_has_a_reader():
    formats = DataConfig.__dataclass_fields__["format"].type
    assert set(formats.__args__) == {"auto", *DATASETS}


def test_the_fixtures_boxes_lie_on_its_drawings(voc_folder):
    example = read_dataset(DataConfig(root=str(voc_folder)), "train", (), 0).examples[4]
    picture = read_image(example.image_path)
    assert picture.shape == (72, 96, 3)
    ymin, xmin, ymax, xmax = example.boxes[0].astype(int)
    background = np.array([90, 100, 90])
    inside = np.abs(picture[ymin:ymax, xmin:xmax].astype(int) - background).sum(axis=-1)
    assert inside.min() > 60  # every pixel of the box is drawn on
    for y, x in ((ymin - 3, xmin), (ymin, xmin - 3), (ymax + 3, xmax), (ymax, xmax + 3)):
        assert np.abs(picture[y, x].astype(int) - background).sum() < 40


def test_readers_do_not_import_tensorflow():
    code = "import sys, tf_frcnn.data, tf_frcnn.data.example; sys.exit('tensorflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert result.returncode == 0


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD data set is not beside the repository")
def test_bccd_is_read_as_its_readme_counts_it():
    splits = ("train", "val", "trainval", "test")
    datasets = read_voc(BCCD, splits, ("RBC", "WBC", "Platelets"), 0)
    expected = {  # pictures, then boxes of RBC, WBC and Platelets
        "train": (205, [2382, 214, 209]),
        "val": (87, [968, 87, 83]),
        "trainval": (292, [3350, 301, 292]),  # 3943 boxes
        "test": (72, [805, 71, 69]),
    }
    num_one_pixel = {}
    for split, (num_pictures, num_boxes) in expected.items():
        examples = datasets[split].examples
        boxes = np.concatenate([example.boxes for example in examples])
        classes = np.concatenate([example.classes for example in examples])
        sides = boxes[:, 2:] - boxes[:, :2]
        assert len(examples) == num_pictures
        assert np.bincount(classes, minlength=4).tolist() == [0, *num_boxes]
        assert boxes.dtype == np.float32 and (sides > 0).all()
        assert boxes.min() == 0 and (boxes.max(axis=0) <= [480, 640, 480, 640]).all()
        assert {example.image_size for example in examples} == {(480, 640)}
        num_one_pixel[split] = int((sides == 1).all(axis=1).sum())
    assert num_one_pixel == {"train": 1, "val": 1, "trainval": 2, "test": 0}
    assert sum(dataset.num_clipped for dataset in datasets.values()) == 0
