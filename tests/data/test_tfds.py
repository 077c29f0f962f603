"""The reader of TensorFlow Datasets: classes, splits, faults, images, and check-data."""

import logging

import numpy as np
import pytest

from tests.data.tfds_writer import (
    CLASS_NAMES,
    box,
    config,
    encode_image,
    features,
    item,
    message_of,
    read_train,
    record,
    tfds,
    unchecked_boxes,
    write_set,
)
from tf_frcnn.cli import main
from tf_frcnn.data.loading import read_datasets
from tf_frcnn.data.verification import verify_images
from tf_frcnn.errors import DataError


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """Keep the sets of TFDS and the images of the reader out of the user's folders."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "tfds"


# === Classes ===


def test_classes_are_those_of_the_set_with_or_without_boxes(data_dir, caplog):
    write_set(data_dir, {"train": [record(0, item(box(1, 2, 30, 40), "cat"))]})
    train = read_train()
    assert train.class_names == CLASS_NAMES == ("dog", "cat", "ant")
    assert train.examples[0].classes.tolist() == [2]
    assert "classes without a box, kept: 2: dog, ant" in caplog.text
    assert read_train(class_names=("cat", "dog")).examples[0].classes.tolist() == [1]
    message = message_of(class_names=("cats", "dog"))
    assert "toy/1.0.0, split train, p0.png: object 1 (cat), name = 'cat'" in message
    assert "(closest: 'cats')" in message


def test_labels_that_are_texts_are_sorted_and_the_background_is_no_class(data_dir):
    text_labels = features(label=tfds.features.Text())
    objects = [item(box(1, 2, 30, 40), name) for name in ("zebra", "ant")]
    write_set(data_dir, {"train": [record(0, *objects)]}, text_labels)
    assert read_train().class_names == ("ant", "zebra")
    names = ("background", "cat")
    with_background = features(label=tfds.features.ClassLabel(names=names))
    write_set(
        data_dir, {"train": [record(0, item(box(1, 2, 3, 4)))]}, with_background, name="other"
    )
    assert read_train("other").class_names == ("cat",)


def test_crowds_are_kept_as_such(data_dir):
    objects = [item(box(1, 2, 30, 40), flag=flag, name="is_crowd") for flag in (True, False)]
    write_set(data_dir, {"train": [record(0, *objects)]}, features(flag="is_crowd"))
    (example,) = read_train().examples
    assert example.crowd.tolist() == [True, False] and not example.difficult.any()


# === Splits ===


def write_three_splits(data_dir):
    one = item(box(1, 2, 30, 40))
    splits = {
        "train": [record(number, one) for number in range(5)],
        "validation": [record(number, one) for number in (5, 6)],
        "test": [record(7)],
    }
    write_set(data_dir, splits)


def ids_of(datasets):
    return {role: [e.image_id for e in dataset.examples] for role, dataset in datasets.items()}


def test_validation_is_found_under_its_name_in_these_sets(data_dir, caplog):
    write_three_splits(data_dir)
    datasets = read_datasets(config(), seed=0)
    assert {role: dataset.split for role, dataset in datasets.items()} == {
        "train": "train",
        "val": "validation",
        "test": "test",
    }
    assert ids_of(datasets)["val"] == ["p5", "p6"]
    assert "split test: no image has an object" in caplog.text
    assert "split train: no" not in caplog.text


def test_slices_are_splits_and_overlapping_ones_share_their_images(data_dir, tmp_path):
    write_three_splits(data_dir)
    options = {"train_split": "train[:80%]", "val_split": "train[60%:]", "test_split": "all"}
    datasets = read_datasets(config(**options), seed=0)
    ids = ids_of(datasets)
    # Of 5 images 80 % are 4, and 60 % are 3.
    assert ids["train"] == ["p0", "p1", "p2", "p3"] and ids["val"] == ["p3", "p4"]
    assert sorted(ids["test"]) == [f"p{number}" for number in range(8)]
    assert datasets["train"].split == "train[:80%]"
    assert datasets["train"].examples[3].image_path == datasets["val"].examples[0].image_path
    assert len(list((tmp_path / "cache" / "tf_frcnn" / "tfds").rglob("*.png"))) == 8


def test_without_validation_there_is_none_and_it_is_said(data_dir, caplog):
    write_set(data_dir, {"train": [record(0, item(box(1, 2, 30, 40)))]})
    datasets = read_datasets(config(test_split="none"), seed=0)
    assert list(datasets) == ["train"]
    assert "no validation: toy/1.0.0: split 'val': there is no such split" in caplog.text
    assert "the splits that are there: train; or a slice" in caplog.text


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("trian", "there is no such split. Expected one of"),
        ("train[:150%]", "When unit=%, percent slice boundaries should be in [-100, 100]"),
        ("train[:half]", "Unrecognized split format: 'train[:half]'"),
        ("train[3:99]", "Requested slice [3:99] incompatible with 5 examples"),
        ("train[:0]", "it is empty. Expected one of"),
    ],
)
def test_splits_that_are_not_there_name_those_that_are(data_dir, split, words):
    write_three_splits(data_dir)
    with pytest.raises(DataError) as caught:
        read_datasets(config(train_split=split), seed=0)
    message = str(caught.value)
    assert f"--data.train-split {split}: toy/1.0.0: split {split!r}: {words}" in message
    assert "the splits that are there: train, validation, test; or a slice" in message


# === Faults ===


def write_faulty_set(data_dir):
    """Write four images: a good box and a bad one, no image, two without a fault."""
    good = item(box(1, 2, 30, 40))
    records = [
        record(0, good, item([0.5, 0.1, 0.25, 0.9])),
        record(1, good, image=b"no image"),
        record(2, good),
        record(3),
    ]
    splits = {"train": records, "test": [record(4, item([0.5, np.nan, 1, 1]))]}
    write_set(data_dir, splits, features(bbox=unchecked_boxes()))


def test_all_faults_are_told_at_once_each_with_set_split_image_and_object(data_dir):
    write_faulty_set(data_dir)
    options = {"val_split": "train[:2]", "test_split": "test"}
    with pytest.raises(DataError) as caught:
        read_datasets(config(**options), seed=0)
    message = str(caught.value)
    assert message.startswith("toy: 3 faults in the annotations and images:")
    assert "toy/1.0.0, split train, p0.png: object 2 (cat), bbox = [0.5, 0.1, 0.25, 0.9]" in message
    assert "toy/1.0.0, split train, p1.png: image of 8 bytes: the content is not" in message
    assert "toy/1.0.0, split test, p4.png: object 1 (cat), bbox = [0.5, nan, 1, 1]" in message


def test_what_has_faults_is_left_out_and_counted_when_asked_for(data_dir):
    write_faulty_set(data_dir)
    options = {"val_split": "none", "test_split": "none", "on_error": "skip"}
    train = read_datasets(config(**options), seed=0)["train"]
    assert [example.image_id for example in train.examples] == ["p0", "p2", "p3"]
    assert [len(example.boxes) for example in train.examples] == [1, 1, 0]
    assert (train.num_images_left_out, train.num_boxes_left_out) == (1, 1)


# === Images ===


def test_a_second_reading_writes_nothing_and_knows_the_images(data_dir, caplog):
    write_three_splits(data_dir)

    def read_and_verify():
        datasets = verify_images(read_datasets(config(), seed=0))
        paths = [e.image_path for dataset in datasets.values() for e in dataset.examples]
        return {path: path.stat().st_mtime_ns for path in paths}

    first = read_and_verify()
    with caplog.at_level(logging.INFO):
        assert read_and_verify() == first and len(first) == 8
    assert "checked 8 images" in caplog.text
    assert "8 unchanged since an earlier check" in caplog.text


def test_images_of_the_same_or_no_name_are_told_apart(data_dir, tmp_path):
    one = item(box(1, 2, 30, 40))
    names = ["sub/a.png", "../a.png", "a.png", "a.png", ""]
    records = [record(n, one, **{"image/filename": name}) for n, name in enumerate(names)]
    write_set(data_dir, {"train": records})
    examples = read_train().examples
    key = "toy-train.tfrecord-00000-of-00001__"
    assert [e.image_id for e in examples] == ["sub/a", "../a", f"{key}2", f"{key}3", f"{key}4"]
    folder = tmp_path / "cache" / "tf_frcnn" / "tfds" / "toy" / "1.0.0" / "train"
    for number, example in enumerate(examples):
        assert example.image_path.resolve().parents[1] == folder.resolve()
        assert example.image_path.read_bytes() == encode_image(number)


def test_the_ids_of_the_set_are_those_of_the_examples(data_dir):
    with_ids = features(**{"image/id": np.int64})
    records = [record(0, item(box(1, 2, 30, 40)), **{"image/id": 480023})]
    write_set(data_dir, {"train": records}, with_ids)
    assert read_train().examples[0].image_id == "480023"


# === Commands ===


def test_check_data_reads_a_set_and_tfds_stays_silent(data_dir, tmp_path, capfd):
    write_three_splits(data_dir)
    capfd.readouterr()
    output = tmp_path / "out"
    options = ["--data.root", "toy", "--data.format", "tfds", "--output", str(output)]
    assert main(["check-data", *options]) == 0
    printed, logged = capfd.readouterr()
    assert "Nothing would stop training" in printed and "validation" in printed
    for words in ("Dataset toy", "it/s", "examples/s", "absl", "deprecated"):
        assert words not in printed + logged
    assert "validation" in (output / "check_data.html").read_text()


# === EXIF orientations ===


def test_boxes_are_fractions_of_the_image_as_it_is_used(data_dir):
    # Stored 48 x 80 and turned by a quarter: 80 rows of 48. Half of the one side, all of the other.
    turned = record(0, item([0.0, 0.0, 0.5, 1.0]), image=encode_image(0, orientation=6))
    write_set(data_dir, {"train": [turned]})
    for exif, size, orientation in (("auto", (80, 48), 6), ("ignore", (48, 80), 1)):
        dataset = read_train(exif=exif)
        (example,) = dataset.examples
        assert dataset.exif == ("apply" if exif == "auto" else "ignore")
        assert (example.image_size, example.orientation) == (size, orientation)
        assert example.boxes.tolist() == [[0, 0, size[0] / 2, size[1]]]
