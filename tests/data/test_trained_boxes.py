"""Boxes that take no part in training: crowds, difficult ones, and those with faults."""

import logging

import pytest

from tests.conftest import voc_xml
from tests.data.coco_writer import annotation, content, image, write_coco
from tests.data.voc_writer import SIZE, write_voc
from tf_frcnn.config import DataConfig, ModelConfig
from tf_frcnn.data.loading import load_dataset, load_datasets
from tf_frcnn.data.trained_boxes import BoxCounts, count_boxes
from tf_frcnn.doctor.check import check_data
from tf_frcnn.doctor.remarks import list_remarks
from tf_frcnn.errors import DataError


def config_of(root, **options):
    return DataConfig(root=str(root), val_split="none", test_split="none", **options)


def write_crowds(root, *flags):
    """Write a COCO set of two images whose boxes have these iscrowd, cats and dogs in turn."""
    boxes = [
        annotation(number, number % 2, [10 + number, 10, 30, 20], (3, 7)[number % 2], iscrowd=flag)
        for number, flag in enumerate(flags)
    ]
    return write_coco(root, content([image(0), image(1)], boxes), count=2)


def message_of(config):
    with pytest.raises(DataError) as caught:
        load_datasets(config, 0)
    return str(caught.value)


def test_boxes_are_counted_by_class_and_flag(tmp_path):
    root = write_crowds(tmp_path, 1, 0, 0, 0, 1)
    counts = count_boxes(load_datasets(config_of(root), 0)["train"])
    # Boxes 0, 2, 4 are cats, 0 and 4 of them crowds.
    assert counts == {"cat": BoxCounts(3, 2, 0), "dog": BoxCounts(2, 0, 0)}


def test_all_crowds_stop_before_training_and_name_the_flag(tmp_path):
    root = write_crowds(tmp_path, 1, 1, 1)
    message = message_of(config_of(root))
    assert "split train: nothing to learn from in 2 images with 3 boxes: 3 crowds (iscrowd 1)" in (
        message
    )
    assert message_of(config_of(root, on_error="skip")) == message
    # Evaluation knows what to do about crowds.
    assert load_dataset(config_of(root), "train", ("cat", "dog"), 0).examples
    report = check_data(config_of(root, format="coco"), ModelConfig(), 0).report
    assert report["would_stop_training"] and "3 crowds (iscrowd 1)" in report["verdict"]


def test_all_difficult_or_left_out_stops_too(tmp_path):
    objects = [("cat", 11, 11, 40, 40, 1), ("cat", 50, 11, 90, 40, 1), ("cat", 9, 9, 8, 8)]
    root = write_voc(tmp_path, {"a": voc_xml(SIZE, objects)})
    assert (
        "nothing to learn from in 1 image with 3 boxes: 2 difficult (difficult 1), 1 left out for "
        "their faults"
    ) in message_of(config_of(root, on_error="skip"))
    # Where faults stop, it is one more of them.
    message = message_of(config_of(root))
    assert "2 faults" in message and "the box is inverted" in message and "nothing to" in message


def test_no_box_at_all_in_the_training_images(tmp_path):
    root = write_voc(tmp_path, {"a": voc_xml(SIZE, [])})
    assert "nothing to learn from in 1 image with 0 boxes. Boxes of" in (
        message_of(config_of(root, classes=("cat",)))
    )


def test_a_class_that_is_wholly_so_is_a_warning_and_a_remark(tmp_path, caplog):
    root = write_crowds(tmp_path, 1, 0, 1, 0)
    with caplog.at_level(logging.INFO):
        load_datasets(config_of(root), 0)
    assert "train: 2 images, 4 boxes (split train); not trained on: 2 crowds (iscrowd 1)" in (
        caplog.text
    )
    (record,) = [record for record in caplog.records if "no part" in record.getMessage()]
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "classes all of whose boxes take no part in training: 1: cat: 2 crowds (iscrowd 1)"
    )
    report = check_data(config_of(root, format="coco"), ModelConfig(), 0).report
    assert not report["would_stop_training"]
    assert (
        "A class all of whose boxes take no part in training, cat: 2 crowds (iscrowd 1)."
        in list_remarks(report)
    )
