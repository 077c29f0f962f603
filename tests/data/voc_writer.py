"""Small VOC data sets on disk, and reading them, for the tests beside this file."""

import pytest
from PIL import Image

from tests.conftest import voc_xml
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc import read_voc
from tf_frcnn.errors import DataError

SIZE = (100, 200)  # (height, width) of the images drawn below


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
    """Write a data set of one image, `a`, with these objects."""
    return write_voc(root, {"a": voc_xml(SIZE, objects)}, **options)


def read_train(root, class_names=()):
    return read_voc(root, ("train",), class_names, Divider(0))["train"]


def message_of(root, class_names=(), splits=("train",)):
    with pytest.raises(DataError) as caught:
        read_voc(root, splits, class_names, Divider(0))
    return str(caught.value)


def write_without_lists(xml_folder, image_folder, count=20):
    for folder in (xml_folder, image_folder):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = voc_xml(SIZE, [("cat", 1, 2, 3, 4)])
        (xml_folder / f"p{number:02}.xml").write_text(text)
        Image.new("RGB", (200, 100)).save(image_folder / f"p{number:02}.png")
