"""The COCO reader: classes, all faults at once, and the same data in VOC's form and in COCO's."""

import dataclasses
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import voc_xml
from tests.data.coco_writer import (
    SIZE,
    annotation,
    content,
    image,
    message_of,
    read_train,
    voc_to_coco,
    write_coco,
    write_json,
)
from tests.data.voc_writer import write_voc
from tests.evaluation.images import found
from tf_frcnn.config import DataConfig
from tf_frcnn.data.coco import read_coco
from tf_frcnn.data.loading import read_dataset, read_datasets
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc import read_voc
from tf_frcnn.errors import DataError
from tf_frcnn.evaluation.evaluator import compute_metrics

BCCD = Path(__file__).parents[3] / "shared" / "data" / "bccd"
BOX = [1, 2, 3, 4]

# === Classes ===


def test_categories_without_boxes_are_classes_and_told(tmp_path, caplog):
    categories = {12: "ant", 5: "bee", 0: "background", 8: "cow"}
    value = content([image(0)], [annotation(1, 0, BOX, 8)], categories)
    root = write_coco(tmp_path, value)
    with caplog.at_level(logging.WARNING):
        dataset = read_train(root)
    # By rising id, 5, 8, 12; class 0 is the background already.
    assert dataset.class_names == ("bee", "cow", "ant")
    assert dataset.examples[0].classes.tolist() == [2]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "classes without a box, kept: 2: bee, ant; `--data.classes`" in warning


def test_given_classes_are_the_only_ones_and_fix_the_ids(tmp_path, caplog):
    root = write_coco(tmp_path, content([image(0)], [annotation(1, 0, BOX, 7)]))
    dataset = read_train(root, ("bee", "dog"))
    assert dataset.class_names == ("bee", "dog")
    assert dataset.examples[0].classes.tolist() == [2] and not caplog.records


def test_annotations_of_other_classes_are_a_fault_as_in_voc(tmp_path):
    annotations = [annotation(number, 0, BOX, 7 - 4 * (number == 5)) for number in (4, 5, 6)]
    root = write_coco(tmp_path, content([image(0)], annotations))
    message = message_of(root, class_names=("cat", "dogs"))
    assert (
        f"{root / 'annotations' / 'instances_train.json'}: annotations[0] (id 4) (dog), "
        "name = 'dog' (objects of that name: 2). Expected one of the classes cat, dogs "
        "(closest: 'dogs')."
    ) in message
    assert "1 fault " in message


def test_boxes_of_the_background_are_a_fault(tmp_path):
    value = content([image(0)], [annotation(9, 0, BOX, 0)], {0: "background", 1: "cat"})
    message = message_of(write_coco(tmp_path, value))
    assert "annotations[0] (id 9) (background), name = 'background'" in message
    assert "Class 0 is the background" in message


def test_files_agree_on_classes_by_name(tmp_path):
    write_coco(tmp_path, content([image(0)], [annotation(1, 0, BOX, 3)]))
    other = content([image(1)], [annotation(1, 1, BOX, 3)], {1: "cow", 3: "dog", 9: "cat"})
    write_coco(tmp_path, other, split="val")
    datasets = read_coco(tmp_path, ("train", "val"), (), Divider(0))
    # The lowest ids: cow 1, cat 3, dog 3; cat before dog by name.
    assert datasets["train"].class_names == datasets["val"].class_names == ("cow", "cat", "dog")
    assert datasets["train"].examples[0].classes.tolist() == [2]
    assert datasets["val"].examples[0].classes.tolist() == [3]


def test_without_any_box_the_classes_must_be_given(tmp_path):
    root = write_coco(tmp_path, content([image(0)]))
    message = message_of(root)
    assert "no object on the only image of train. Expected at least one" in message
    assert "`--data.classes`" in message
    assert read_train(root, ("dog",)).class_names == ("dog",)


# === Faults ===


def test_the_faults_of_all_files_are_told_at_once(tmp_path):
    bad = [annotation(number, number % 2, [1, 2, 0, 4]) for number in range(24)]
    write_coco(tmp_path, content([image(0), image(1)], bad))
    write_json(tmp_path / "annotations" / "instances_val.json", "{")
    message = message_of(tmp_path, splits=("train", "val"))
    assert "25 faults" in message and "the first 20" in message
    listed = [line for line in message.splitlines() if line.startswith("  ")]
    # Image by image: the 12 of image 0, then 8 of image 1.
    assert len(listed) == 20 and "annotations[14]" in listed[7] and "annotations[1]" in listed[12]
    assert "instances_val.json: cannot be read" in message_of(tmp_path, splits=("val",))


def test_a_file_that_is_two_splits_is_read_once(tmp_path):
    root = write_coco(tmp_path, content([image(0)], [annotation(1, 0, [1, 2, 0, 4])]))
    assert "1 fault " in message_of(root, splits=("train", "annotations/instances_train.json"))


def test_a_model_reads_one_split_with_its_own_classes(coco_folder):
    config = DataConfig(root=str(coco_folder), format="coco", classes=("ignored",))
    dataset = read_dataset(config, "val", ("duck", "cat", "dog"), seed=0)
    assert [example.classes.tolist() for example in dataset.examples] == [[2], [3, 1]]
    with pytest.raises(DataError, match=r"\(duck\), name = 'duck' .*: 1\). Expected .* cat, dog"):
        read_dataset(config, "val", ("cat", "dog"), seed=0)


# === The same data in both forms ===


def assert_same(voc, coco):
    """Compare everything but the images' ids and the names of the annotation files."""
    assert voc.class_names == coco.class_names and voc.num_clipped == coco.num_clipped
    for one, other in zip(voc.examples, coco.examples, strict=True):
        assert one.image_path.name == other.image_path.name
        assert one.image_size == other.image_size
        for name in ("boxes", "classes", "difficult", "crowd"):
            left, right = getattr(one, name), getattr(other, name)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


def imagine_detections(dataset):
    """Find most boxes more or less, some twice, some as another class; no random numbers."""
    records = []
    for number, example in enumerate(dataset.examples):
        order = np.arange(len(example.boxes))
        height_and_width = np.tile(example.boxes[:, 2:] - example.boxes[:, :2], 2)
        shift = np.array([0.02, -0.05, 0.09, 0.03]) * ((order + number) % 5)[:, None]
        boxes = np.concatenate([example.boxes + shift * height_and_width, example.boxes[::3]])
        classes = np.concatenate([example.classes, example.classes[::3] % 3 + 1])
        scores = (np.arange(len(boxes)) * 7 + number) % 19 / 19
        kept = np.arange(len(boxes)) % 7 != 6
        records.append((boxes[kept], scores[kept], classes[kept]))
    return records


def metrics_of(dataset, records):
    detections = [
        found(example.image_id, *record)
        for example, record in zip(dataset.examples, records, strict=True)
    ]
    return compute_metrics(dataset, detections)


@pytest.mark.parametrize("class_names", [(), ("duck", "cat", "dog")])
def test_both_forms_give_the_same_examples_and_figures(coco_folder, tmp_path, class_names):
    roots = (tmp_path / "drawn", coco_folder)
    voc, coco = (
        read_datasets(DataConfig(root=str(root), classes=class_names), seed=0) for root in roots
    )
    assert list(voc) == list(coco) == ["train", "val", "test"]
    for role in voc:
        assert_same(voc[role], coco[role])
        records = imagine_detections(voc[role])
        assert metrics_of(voc[role], records) == metrics_of(coco[role], records)


CORNERS = st.tuples(*(st.integers(-40, 440) for _ in range(4)))  # in quarters of a pixel


@settings(max_examples=30)  # each writes and reads files
@given(corners=st.lists(CORNERS, min_size=1, max_size=4))
def test_any_valid_boxes_are_the_same_in_both_forms(tmp_path_factory, corners):
    objects = []
    for first_x, first_y, second_x, second_y in corners:
        (xmin, xmax), (ymin, ymax) = sorted((first_x, second_x)), sorted((first_y, second_y))
        objects.append(("cat", xmin / 4, ymin / 4, xmax / 4, ymax / 4))
    folder = tmp_path_factory.mktemp("both")
    voc_root = write_voc(folder / "voc", {"a": voc_xml(SIZE, objects)})
    coco_root = voc_to_coco(voc_root, folder / "coco", ["cat"], ["train"])
    try:
        voc = read_voc(voc_root, ("train",), ("cat",), Divider(0))["train"]
    except DataError as error:  # wholly outside: of both forms, and the same number
        count = re.search(r": \d+ faults? in", str(error)).group()
        assert count in message_of(coco_root, ("cat",))
    else:
        assert_same(voc, read_train(coco_root, ("cat",)))


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD data set is not beside the repository")
def test_bccd_is_the_same_in_both_forms(tmp_path):
    class_names = ("RBC", "WBC", "Platelets")
    coco_root = voc_to_coco(BCCD, tmp_path / "coco", class_names, ("train", "val", "test"))
    splits = ("train", "val", "test")
    voc = read_voc(BCCD, splits, class_names, Divider(0))
    coco = read_coco(coco_root, splits, (), Divider(0))
    for split in splits:
        assert_same(voc[split], coco[split])
    assert sum(len(example.boxes) for example in coco["test"].examples) == 945
    records = imagine_detections(voc["test"])
    figures = metrics_of(voc["test"], records)
    assert figures == metrics_of(coco["test"], records)
    assert 0.1 < figures["coco_ap"] < 0.9 and 0.1 < figures["voc_ap50_area"] < 0.95


# === Crowds in the figures ===


def test_crowds_are_ignored_by_both_kinds_of_figures(tmp_path):
    annotations = [annotation(1, 0, [10, 20, 30, 40]), annotation(2, 0, [100, 0, 80, 90])]
    annotations[1]["iscrowd"] = 1
    root = write_coco(tmp_path, content([image(0)], annotations, {3: "cat"}))
    dataset = read_train(root)
    # Two detections of the crowd region come first; both are ignored, so the precision stays 1.
    records = [found("0", [[0, 100, 90, 180]] * 2 + [[20, 10, 60, 40]], [0.9, 0.85, 0.8])]
    figures = compute_metrics(dataset, records)
    assert (figures["num_boxes"], figures["num_difficult"]) == (1, 1)
    for name in ("voc_ap50_11pt", "voc_ap50_area", "coco_ap"):
        assert figures[name] == pytest.approx(1)
    # Were it an ordinary box, the second would be a duplicate: precision 1 up to recall 1/2, then
    # 2/3: area (1 + 2/3) / 2 = 5/6.
    example = dataclasses.replace(dataset.examples[0], crowd=np.array([False, False]))
    figures = compute_metrics(dataclasses.replace(dataset, examples=(example,)), records)
    assert (figures["num_boxes"], figures["num_difficult"]) == (2, 0)
    assert figures["voc_ap50_area"] == pytest.approx(5 / 6)
