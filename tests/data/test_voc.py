"""The VOC reader: images, lists, splits and layouts, and how its faults are told."""

import logging
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import voc_xml
from tests.data.voc_writer import (
    SIZE,
    message_of,
    read_train,
    write_one,
    write_voc,
    write_without_lists,
)
from tf_frcnn.config import DataConfig
from tf_frcnn.data.image import read_image
from tf_frcnn.data.loading import read_datasets
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc import read_voc

BCCD = Path(__file__).parents[3] / "shared" / "data" / "bccd"

# === Faults, all in one message ===


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


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "b", "b.png", "sub/a", ".."])
def test_names_that_are_not_in_the_folder_are_faults(tmp_path, name):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd.xml").write_text(voc_xml(SIZE, [("secret", 1, 2, 3, 4)]))
    root = write_one(tmp_path / "x" / "y", ("cat", 1, 2, 3, 4), lists={"train": f"a\n{name}"})
    message = message_of(root)
    assert f"train.txt: {name!r}: XML files of that name in {root / 'Annotations'}: none" in message
    assert "Expected one; lists hold names without folder and extension" in message
    assert "secret" not in message


# === Images ===


@pytest.mark.parametrize("extension", ["JPG", "jpeg", "Png", "BMP", "webp", "gif"])
def test_images_of_any_extension_in_any_case_are_found(tmp_path, extension):
    root = write_one(tmp_path, ("cat", 1, 2, 3, 4))
    image = root / "JPEGImages" / "a.png"
    target = image.with_name(f"a.{extension}")
    image.rename(target)
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


def test_two_images_of_one_name_are_a_fault(tmp_path):
    root = write_one(tmp_path, ("cat", 1, 2, 3, 4))
    shutil.copy(root / "JPEGImages" / "a.png", root / "JPEGImages" / "a.jpg")
    message = message_of(root)
    assert "a.xml: images in" in message and "a.jpg, a.png" in message
    assert "Expected one" in message


@pytest.mark.parametrize("filename", ["../../secret.png", "/secret.png", "gone.png", ""])
def test_a_missing_image_is_a_fault_and_filename_cannot_leave_the_folder(tmp_path, filename):
    root = tmp_path / "x" / "y"
    write_voc(root, {"a": voc_xml(SIZE, [("cat", 1, 2, 3, 4)], filename=filename)})
    (root / "JPEGImages" / "a.png").rename(tmp_path / "secret.png")
    Image.new("RGB", (5, 5)).save(root / "JPEGImages" / "b.png")
    message = message_of(root)
    assert f"a.xml: images in {root / 'JPEGImages'} named 'a'" in message
    assert f"filename = {filename!r}): none. Expected one" in message


def test_an_unreadable_image_is_a_fault(tmp_path):
    root = write_one(tmp_path, ("cat", 1, 2, 3, 4))
    (root / "JPEGImages" / "a.png").write_bytes(b"no image")
    message = message_of(root)
    assert f"{root / 'JPEGImages' / 'a.png'}: the content is not that of an image" in message


def test_the_size_is_the_images_and_a_difference_is_logged_once(tmp_path, caplog):
    annotations = {"a": voc_xml((90, 200), [("cat", 1, 2, 3, 4)])}
    annotations["b"] = voc_xml((0, 0), [])  # written where the size is not known
    annotations["c"] = "<annotation/>"  # no size stated: nothing to differ from
    annotations["d"] = voc_xml(SIZE, [])
    with caplog.at_level(logging.WARNING):
        dataset = read_train(write_voc(tmp_path, annotations))
    assert [example.image_size for example in dataset.examples] == [SIZE] * 4
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "used: 1;" in warning and "a.xml, image 200 x 100" in warning


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
    assert "train.txt: the list is empty. Expected one image name a line" in message


def test_a_list_that_is_no_utf8_is_an_error(tmp_path):
    root = write_one(tmp_path)
    (root / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe\x00a")
    assert "train.txt: holds zero bytes, as UTF-16 does. Expected UTF-8" in message_of(root)


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


@pytest.mark.parametrize(
    "folders", [(".", "."), ("xml", "pics"), (".", "images"), ("both", "both")]
)
def test_without_lists_images_are_divided_80_10_10(tmp_path, caplog, folders):
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
        dataset = read_voc(tmp_path / folder, ("test", "val"), (), Divider(seed))
        return [[e.image_id for e in dataset[split].examples] for split in ("val", "test")]

    assert ids("a", 1) == ids("b", 1)
    assert any(ids("a", 1) != ids("a", seed) for seed in (2, 3, 4))


@pytest.mark.parametrize(("count", "sizes"), [(3, (1, 1, 1)), (14, (12, 1, 1)), (15, (11, 2, 2))])
def test_made_splits_of_few_images(tmp_path, count, sizes):
    write_without_lists(tmp_path, tmp_path, count)
    datasets = read_voc(tmp_path, ("train", "val", "test"), (), Divider(0))
    assert tuple(len(dataset.examples) for dataset in datasets.values()) == sizes


def test_two_images_are_all_in_train(tmp_path):
    write_without_lists(tmp_path, tmp_path, 2)
    datasets = read_voc(tmp_path, ("train", "val"), (), Divider(0))
    assert [len(dataset.examples) for dataset in datasets.values()] == [2, 0]


def test_xml_in_several_folders_is_an_error_that_names_them(tmp_path):
    for folder in ("mine", "yours"):
        write_without_lists(tmp_path / folder, tmp_path / folder, 3)
    message = message_of(tmp_path)
    assert "XML files in several folders: mine, yours. Expected them in Annotations" in message


def test_hidden_files_are_left_out(tmp_path):
    write_without_lists(tmp_path, tmp_path, 1)
    for name in ("._p00.xml", "._p00.png", ".p01.xml"):  # as macOS leaves them
        (tmp_path / name).write_bytes(b"\x00")
    assert [example.image_id for example in read_train(tmp_path).examples] == ["p00"]


def test_images_without_xml_are_counted_in_the_log(tmp_path, caplog):
    write_without_lists(tmp_path, tmp_path, 4)
    (tmp_path / "p02.xml").unlink()
    with caplog.at_level(logging.WARNING):
        read_train(tmp_path)
    assert f"{tmp_path}: images without XML file, left out: 1: p02" in caplog.text


def test_an_image_that_an_xml_file_names_is_not_without_one(tmp_path, caplog):
    write_without_lists(tmp_path, tmp_path, 4)
    path = tmp_path / "p02.xml"
    _, _, after = path.read_text().partition("</filename>")
    stated = "<annotation><filename>C:\\pics\\p02.png</filename>"
    (tmp_path / "label_2.xml").write_text(stated + after)
    path.unlink()
    assert len(read_voc(tmp_path, ("train", "val", "test"), (), Divider(0))) == 3
    assert "without XML file" not in caplog.text


def test_other_splits_than_the_made_ones_are_an_error(tmp_path):
    write_without_lists(tmp_path, tmp_path, 4)
    message = message_of(tmp_path, splits=("trainval",))
    assert "'trainval' cannot be made" in message
    assert "divided into train, val, test. Expected one of these" in message


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD data set is not beside the repository")
def test_bccd_is_read_as_its_readme_counts_it():
    splits = ("train", "val", "trainval", "test")
    datasets = read_voc(BCCD, splits, ("RBC", "WBC", "Platelets"), Divider(0))
    expected = {  # images, then boxes of RBC, WBC and Platelets
        "train": (205, [2382, 214, 209]),
        "val": (87, [968, 87, 83]),
        "trainval": (292, [3350, 301, 292]),  # 3943 boxes
        "test": (72, [805, 71, 69]),
    }
    num_one_pixel = {}
    for split, (num_images, num_boxes) in expected.items():
        examples = datasets[split].examples
        boxes = np.concatenate([example.boxes for example in examples])
        classes = np.concatenate([example.classes for example in examples])
        sides = boxes[:, 2:] - boxes[:, :2]
        assert len(examples) == num_images
        assert np.bincount(classes, minlength=4).tolist() == [0, *num_boxes]
        assert boxes.dtype == np.float32 and (sides > 0).all()
        assert boxes.min() == 0 and (boxes.max(axis=0) <= [480, 640, 480, 640]).all()
        assert {example.image_size for example in examples} == {(480, 640)}
        num_one_pixel[split] = int((sides == 1).all(axis=1).sum())
    assert num_one_pixel == {"train": 1, "val": 1, "trainval": 2, "test": 0}
    assert sum(dataset.num_clipped for dataset in datasets.values()) == 0
