"""The fingerprint of a data set: equal for equal images and boxes, and for no others."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from tf_frcnn.config import DataConfig
from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.fingerprint import fingerprint
from tf_frcnn.data.loading import read_datasets


def example(name, size, boxes, classes):
    none = np.zeros(len(boxes), bool)
    return Example(
        image_id=name,
        image_path=Path(f"{name}.jpg"),
        image_size=size,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=np.array(classes, np.int32),
        difficult=none,
        crowd=none,
        source="",
    )


FIRST = example("a", (40, 60), [[1, 2.5, 30, 50], [0, 0, 7, 9]], [2, 1])
EMPTY = example("b", (8, 9), [], [])
SPLIT = Dataset("trainval", ("cat", "dog"), (EMPTY, FIRST))


def digest(dataset):
    return fingerprint("voc", "voc", {"train": dataset})["splits"]["train"]["sha256"]


def test_a_worked_fingerprint():
    # A line an image, sorted; numbers as JSON writes them.
    lines = (
        '["a.jpg",[40,60],[[1.0,2.5,30.0,50.0,"dog"],[0.0,0.0,7.0,9.0,"cat"]]]\n',
        '["b.jpg",[8,9],[]]\n',
    )
    assert fingerprint("/somewhere/mine/", "coco", {"train": SPLIT}) == {
        "root": "mine",
        "format": "coco",
        "splits": {
            "train": {
                "split": "trainval",
                "num_pictures": 2,
                "num_boxes": 2,
                "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
            }
        },
    }


def test_a_set_of_tensorflow_datasets_keeps_its_whole_name():
    assert fingerprint("voc/2007", "tfds", {})["root"] == "voc/2007"


def test_neither_the_order_of_images_nor_that_of_classes_counts():
    swapped = dataclasses.replace(FIRST, classes=np.array([1, 2], np.int32))
    assert digest(Dataset("other", ("dog", "cat"), (swapped, EMPTY))) == digest(SPLIT)


@pytest.mark.parametrize(
    "change",
    [
        {"image_path": Path("c.jpg")},
        {"image_size": (60, 40)},
        {"boxes": FIRST.boxes[:, [1, 0, 3, 2]]},
        {"classes": np.array([2, 2], np.int32)},
    ],
)
def test_everything_else_counts(change):
    changed = Dataset("trainval", ("cat", "dog"), (EMPTY, dataclasses.replace(FIRST, **change)))
    assert digest(changed) != digest(SPLIT)


def test_two_formats_of_one_data_set_have_one_digest(voc_folder, coco_folder):
    classes = ("cat", "dog", "duck")
    digests = []
    for root, data_format in ((voc_folder, "voc"), (coco_folder, "coco")):
        config = DataConfig(root=str(root), format=data_format, classes=classes)
        described = fingerprint(str(root), data_format, read_datasets(config, seed=0))
        assert described["format"] == data_format
        digests.append({role: split["sha256"] for role, split in described["splits"].items()})
    assert digests[0] == digests[1] and set(digests[0]) == {"train", "val", "test"}
