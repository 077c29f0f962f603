"""The same data as a set of TensorFlow Datasets and in VOC's and COCO's form: the same examples."""

import sys

import numpy as np
import pytest

from tests.conftest import voc_xml
from tests.data.coco_writer import annotation, content, write_json
from tests.data.tfds_writer import SIZE, box, encode_image, item, read_train, tfds, write_set
from tf_frcnn.data.coco import read_coco
from tf_frcnn.data.image import read_image
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc import read_voc


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """Keep the sets of TFDS and the images of the reader out of the user's folders."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "tfds"


def assert_same(one, other, atol=0.0):
    """Compare everything but the order of the images, the annotation files and the paths."""
    assert one.class_names == other.class_names and one.num_clipped == other.num_clipped
    examples = {example.image_id: example for example in other.examples}
    assert {example.image_id for example in one.examples} == examples.keys()
    for left in one.examples:
        right = examples[left.image_id]
        assert left.image_size == right.image_size
        assert left.image_path.name == right.image_path.name
        np.testing.assert_array_equal(read_image(left.image_path), read_image(right.image_path))
        for name in ("classes", "difficult", "crowd"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
            assert getattr(left, name).dtype == getattr(right, name).dtype
        np.testing.assert_allclose(left.boxes, right.boxes, rtol=0, atol=atol)
        np.testing.assert_array_equal(left.areas, right.areas)  # both may be None
        assert left.boxes.dtype == right.boxes.dtype and left.boxes.shape == right.boxes.shape


def write_voc_tree(root, images):
    """Write the devkit's folder of VOC; objects are as `voc_xml` takes them, with difficult."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, (image, size, objects) in images.items():
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(image)
        text = voc_xml(size, objects)
        text = text.replace("</name>", "</name><pose>Left</pose><truncated>0</truncated>")
        (root / "Annotations" / f"{name}.xml").write_text(text)
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(images))
    return root


IMAGES = {  # 1-based inclusive pixels; a JPEG, a PNG, one without objects; other sizes
    "a": (
        encode_image(0, (48, 80), "JPEG"),
        (48, 80),
        [("dog", 11, 21, 30, 25, 0), ("cat", 1, 1, 80, 48, 1), ("dog", 7, 3, 7, 9, 0)],
    ),
    "b": (encode_image(1, (333, 500)), (333, 500), [("cat", 499, 2, 500, 333, 0)]),
    "c": (encode_image(2, (1, 97), "JPEG"), (1, 97), []),
}


def test_a_set_of_the_same_boxes_gives_the_examples_of_a_voc_folder(tmp_path, data_dir):
    root = write_voc_tree(tmp_path / "voc", IMAGES)
    voc = read_voc(root, ("train",), ("dog", "cat", "ant"), Divider(0))["train"]
    records = [
        {
            "image": image,
            "image/filename": f"{name}.jpg",
            # 1-based inclusive -> half-open: 1 less in the mins only.
            "objects": [
                item(box(ymin - 1, xmin - 1, ymax, xmax, size), label, bool(difficult))
                for label, xmin, ymin, xmax, ymax, difficult in objects
            ],
        }
        for name, (image, size, objects) in IMAGES.items()
    ]
    write_set(data_dir, {"train": records})
    train = read_train()
    # No tolerance: these boxes are whole pixels, and float32's rounding of fractions is undone.
    assert_same(train, voc)
    assert [example.image_id for example in train.examples] == ["a", "b", "c"]
    assert train.examples[0].difficult.tolist() == [False, True, False]
    assert train.split == "train" and train.division is None


def test_tfds_own_voc_gives_the_examples_of_the_voc_folder(tmp_path, monkeypatch):
    root = write_voc_tree(tmp_path / "VOCdevkit" / "VOC2007", IMAGES)
    names = tfds.builder("voc/2007").info.features["objects"]["label"].names
    voc = read_voc(root, ("train",), tuple(names), Divider(0))["train"]
    monkeypatch.setattr(
        tfds.builder_cls("voc"),
        "_split_generators",
        lambda builder, _: {"train": builder._generate_examples(str(tmp_path), "train")},
    )
    # TFDS divides VOC's numbers as they stand; the reader takes off the 1 that they count from.
    assert_same(read_train("voc/2007"), voc)


def test_tfds_own_coco_gives_the_examples_of_the_coco_folder(tmp_path, monkeypatch):
    builder_class = tfds.builder_cls("coco")
    kind = sys.modules[builder_class.__module__].AnnotationType.BBOXES
    images = [
        {"id": number, "file_name": f"{number:012}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for number in (7, 3, 5)
    ]
    annotations = [
        annotation(1, 7, [10.25, 3.5, 20.13, 30.87], 90),
        annotation(2, 7, [0, 0, 80, 48], 2, iscrowd=1),
        annotation(3, 5, [79, 0, 1, 48], 1),
    ]
    for entry in annotations:
        entry["area"] = round(entry["area"])
    categories = {number: f"class {number}" for number in [*range(1, 80), 90]}  # COCO has 80
    write_json(
        tmp_path / "annotations" / "instances_train2017.json",
        content(images, annotations, categories),
    )
    (tmp_path / "train2017").mkdir()
    for image in images:
        encoded = encode_image(image["id"], image_format="JPEG")
        (tmp_path / "train2017" / image["file_name"]).write_bytes(encoded)
    monkeypatch.setattr(
        builder_class,
        "_split_generators",
        lambda builder, _: {
            "train": builder._generate_examples(tmp_path, tmp_path, "train2017", kind, None)
        },
    )
    coco = read_coco(tmp_path, ("train2017",), (), Divider(0))["train2017"]
    # These boxes lie between pixels. Fractions up to 1 are stored as float32, off by at most 2^-25,
    # which is 80 * 2^-25 pixels; float32 pixels below 128 are off by as many as 128 * 2^-25 each.
    assert_same(read_train("coco/2017"), coco, atol=3 * 128 * 2.0**-25)
