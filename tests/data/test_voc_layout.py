"""Where a VOC data set has its files: folders for splits, sub-folders, lists of other tools."""

import logging
import os

import pytest
from PIL import Image

from tests.conftest import voc_xml
from tests.data.voc_writer import SIZE, message_of, write_voc, write_without_lists
from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import read_dataset, read_datasets
from tf_frcnn.data.splits import Divider, match_split, role_of
from tf_frcnn.data.voc import read_voc

CAT = voc_xml(SIZE, [("cat", 1, 2, 3, 4)])


def write_pair(xml_folder, image_folder, name, text=CAT, image_size=SIZE):
    for path in ((xml_folder / name).parent, (image_folder / name).parent):
        path.mkdir(parents=True, exist_ok=True)
    (xml_folder / f"{name}.xml").write_text(text)
    Image.new("RGB", image_size[::-1]).save(image_folder / f"{name}.png")


def sizes_of(root, **options):
    datasets = read_datasets(DataConfig(root=str(root), **options), seed=0)
    return {role: (data.split, len(data.examples)) for role, data in datasets.items()}


# === Names of splits ===


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Train", "train"),
        ("training", "train"),
        ("valid", "val"),
        ("Validation", "val"),
        ("val_annotations", "val"),
        ("TEST", "test"),
        ("train2017", None),  # one of several years, which the user has to choose
        ("cat_train", None),
        ("trainval", None),
        ("interval", None),
        ("annotations", None),
        ("", None),
    ],
)
def test_names_that_stand_for_a_split(name, role):
    assert role_of(name) == role


def test_a_split_is_found_by_its_own_name_first_and_never_by_a_guess():
    assert match_split("val", ["valid", "val"]) == "val"
    assert match_split("val", ["Train", "valid"]) == "valid"
    assert match_split("val", ["valid", "validation"]) == ""  # which one?
    assert match_split("valid", ["val"]) == ""  # typed, so it is meant


@pytest.mark.parametrize("names", [("Train", "Validation"), ("training", "valid")])
def test_lists_of_other_spellings_are_found_and_val_stands_in_for_test(tmp_path, names, caplog):
    train, val = names
    root = write_voc(tmp_path, dict.fromkeys("abc", CAT), {train: "a\nb", val: "c"})
    expected = {"train": (train, 2), "val": (val, 1), "test": (val, 1)}
    assert sizes_of(root) == expected
    assert "no split 'test': split 'val' is evaluated" in caplog.text
    assert read_dataset(DataConfig(root=str(root)), "test", ("cat",), 0).split == val


# === Folders for splits ===


@pytest.mark.parametrize(
    "folders", [(".", "."), ("annotations", "images"), ("Annotations", "images"), ("xml", ".")]
)
@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Train", "Validation", "Test")])
def test_folders_are_splits(tmp_path, folders, names):
    for split, count in zip(names, (3, 2, 1), strict=True):
        write_without_lists(*(tmp_path / split / folder for folder in folders), count)
    assert sizes_of(tmp_path) == {
        role: (name, count)
        for role, name, count in zip(("train", "val", "test"), names, (3, 2, 1), strict=True)
    }


def test_images_of_one_name_in_two_folders_are_two(tmp_path):
    # p00 in train has a box from (0, 1) to (4, 3); in test the class and the size are others.
    write_pair(tmp_path / "train", tmp_path / "train", "p00")
    dog = voc_xml((8, 9), [("dog", 2, 2, 5, 6)])
    write_pair(tmp_path / "test", tmp_path / "test", "p00", dog, (8, 9))
    datasets = read_voc(tmp_path, ("train", "test"), (), Divider(0))
    (train,), (test,) = (datasets[split].examples for split in ("train", "test"))
    assert train.boxes.tolist() == [[1, 0, 4, 3]] and train.image_size == SIZE
    assert test.boxes.tolist() == [[1, 1, 6, 5]] and test.image_size == (8, 9)
    assert train.classes.tolist() == [1] and test.classes.tolist() == [2]


def test_folders_without_a_test_split_evaluate_val(tmp_path, caplog):
    for split in ("train", "valid"):
        write_without_lists(tmp_path / split, tmp_path / split, 2)
    assert sizes_of(tmp_path)["test"] == ("valid", 2)
    assert "no split 'test': split 'val' is evaluated" in caplog.text
    assert "no folder 'dev' with XML files. Expected one of the splits that are there: " in (
        message_of(tmp_path, splits=("dev",))
    )


def test_one_folder_with_a_splits_name_is_just_a_folder(tmp_path):
    write_without_lists(tmp_path / "train", tmp_path / "train", 10)
    assert sizes_of(tmp_path) == {"train": ("train", 8), "val": ("val", 1), "test": ("test", 1)}


# === Lists ===


def test_a_lone_list_is_divided(tmp_path, caplog):
    names = [f"p{number}" for number in range(12)]
    root = write_voc(tmp_path, dict.fromkeys(names, CAT), {"default": "\n".join(names[:10])})
    with caplog.at_level(logging.INFO):
        assert sizes_of(root) == {"train": ("train", 8), "val": ("val", 1), "test": ("test", 1)}
    assert "default.txt: the only list; images divided with seed 0: train 8" in caplog.text
    assert len(read_voc(root, ("default",), (), Divider(0))["default"].examples) == 10
    assert "would be made from the list default" in message_of(root, splits=("default", "val"))
    message = message_of(root, splits=("trainval",))
    assert "cannot be made: default is the only list in ImageSets/Main" in message


@pytest.mark.parametrize("name", ["train", "trainval", "valid", "my_test"])
def test_a_lone_list_with_a_splits_name_is_not_divided(tmp_path, name):
    root = write_voc(tmp_path, {"a": CAT}, {name: "a"})
    assert "Expected one of the lists that are there" in message_of(root, splits=("train", "dev"))


def test_lists_of_classes_make_a_split_and_may_hold_extensions(tmp_path, caplog):
    lists = {
        "cat_train": "a 1.png -1\nb.png 1\n",
        "dog_train": "b.png -1\r\nc.png 1\r\n",
        "cat_val": "d -1",
        "dog_val": "d.png 1",
    }
    root = write_voc(tmp_path, dict.fromkeys(["a 1", "b", "c", "d"], CAT), lists)
    with caplog.at_level(logging.INFO):
        datasets = read_datasets(DataConfig(root=str(root)), seed=0)
    ids = {role: [item.image_id for item in data.examples] for role, data in datasets.items()}
    assert ids == {"train": ["a 1", "b", "c"], "val": ["d"], "test": ["d"]}
    assert "split train: the names of the lists cat_train, dog_train" in caplog.text


# === Sub-folders, and file names of other machines ===


def test_sub_folders_keep_images_of_one_name_apart(tmp_path):
    for folder, side in (("cam1", 1), ("cam2", 2), ("cam2/deep", 3)):
        size = (10 * side, 20)
        text = voc_xml(size, [("cat", 1, 1, side, side)])
        write_pair(tmp_path / "Annotations", tmp_path / "JPEGImages", f"{folder}/0", text, size)
    datasets = read_datasets(DataConfig(root=str(tmp_path)), seed=0)
    found = {item.image_id: item for data in datasets.values() for item in data.examples}
    assert {name: (item.image_size, item.boxes.tolist()) for name, item in found.items()} == {
        "cam1/0": ((10, 20), [[0, 0, 1, 1]]),
        "cam2/0": ((20, 20), [[0, 0, 2, 2]]),
        "cam2/deep/0": ((30, 20), [[0, 0, 3, 3]]),
    }
    # A list names the files with their folders; what it names is asked for and no more.
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("cam2/0\n")
    (example,) = read_voc(tmp_path, ("train",), (), Divider(0))["train"].examples
    assert example.image_path == tmp_path / "JPEGImages" / "cam2" / "0.png"


def test_an_image_of_another_sub_folder_is_not_taken_for_a_missing_one(tmp_path):
    for folder in ("cam1", "cam2"):
        write_pair(tmp_path / "Annotations", tmp_path / "JPEGImages", f"{folder}/0")
    (tmp_path / "JPEGImages" / "cam2" / "0.png").unlink()
    message = message_of(tmp_path)
    assert "0.xml: images in" in message and "named 'cam2/0'" in message and ": none." in message


def test_flat_images_of_annotations_in_sub_folders(tmp_path):
    write_pair(tmp_path / "Annotations" / "cam1", tmp_path / "JPEGImages", "0")
    (example,) = read_voc(tmp_path, ("train",), (), Divider(0))["train"].examples
    assert example.image_path == tmp_path / "JPEGImages" / "0.png"


@pytest.mark.parametrize("stated", ["C:\\Users\\me\\pics\\b.png", "/home/me/b.png", "..\\b.png"])
def test_of_a_stated_path_the_last_part_counts(tmp_path, stated):
    text = voc_xml(SIZE, [("cat", 1, 2, 3, 4)], filename=stated)
    write_pair(tmp_path / "xml", tmp_path / "images", "b", text)
    (tmp_path / "xml" / "b.xml").rename(tmp_path / "xml" / "label.xml")
    (example,) = read_voc(tmp_path, ("train",), (), Divider(0))["train"].examples
    assert example.image_path == tmp_path / "images" / "b.png"


# === Names that are no text ===


@pytest.mark.parametrize("has_list", [True, False])
def test_files_whose_names_are_in_latin_1(tmp_path, has_list):
    names = [f"caf\udce9 {number}" for number in range(4)]  # the byte E9, as Python decodes it
    for name in names:
        write_pair(tmp_path / "Annotations", tmp_path / "JPEGImages", name)
    if has_list:
        (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
        (tmp_path / "ImageSets" / "Main" / "train.txt").write_bytes(os.fsencode("\n".join(names)))
    dataset = read_voc(tmp_path, ("train",), (), Divider(0))["train"]
    assert {example.image_id for example in dataset.examples} <= set(names)
    assert len(dataset.examples) == (4 if has_list else 2)


def test_a_list_in_latin_1_of_other_files_names_what_it_reads(tmp_path):
    write_pair(tmp_path / "Annotations", tmp_path / "JPEGImages", "café")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_bytes("café\n".encode("latin-1"))
    assert r"'caf\udce9': XML files of that name in" in message_of(tmp_path)


@pytest.mark.parametrize("name", ["a\x85b", "a\u2028b", "a\x0bb", " a", "a\u3000"])
def test_a_list_has_a_name_a_line_whatever_else_is_in_it(tmp_path, name):
    write_pair(tmp_path / "Annotations", tmp_path / "JPEGImages", name)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text(f"{name}\n", encoding="utf-8")
    (example,) = read_voc(tmp_path, ("train",), (), Divider(0))["train"].examples
    assert example.image_id == name
