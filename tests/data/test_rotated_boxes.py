"""CVAT's turned boxes become the upright boxes around them."""

import logging
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.coco_writer import annotation, content, image, write_coco
from tests.data.coco_writer import read_train as read_coco_train
from tests.data.voc_writer import SIZE, read_train, write_voc
from tf_frcnn.config import DataConfig, ModelConfig
from tf_frcnn.data.rotated_boxes import enclose_rotated, read_rotation
from tf_frcnn.doctor.check import check_data
from tf_frcnn.doctor.remarks import list_remarks


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (90, (40, 10, 60, 50)),  # 40 high and 20 wide around (50, 30): the sides change places
        (-90, (40, 10, 60, 50)),
        (180, (30, 20, 70, 40)),
        (360, (30, 20, 70, 40)),
        # cos = sin = 0.7071: both sides are 0.7071 * (40 + 20) = 42.43, half of it 21.213.
        (45, (28.786796564, 8.786796564, 71.213203436, 51.213203436)),
        (225, (28.786796564, 8.786796564, 71.213203436, 51.213203436)),
    ],
)
def test_boxes_by_hand(degrees, expected):
    assert enclose_rotated((30, 20, 70, 40), degrees) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30)
@given(st.floats(1, 50), st.floats(1, 50), st.floats(-400, 400))
def test_it_is_the_smallest_box_around_the_turned_corners(height, width, degrees):
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = np.array([[y, x] for y in (-height, height) for x in (-width, width)]) / 2 @ turn.T
    expected = [*corners.min(axis=0), *corners.max(axis=0)]
    box = (-height / 2, -width / 2, height / 2, width / 2)
    assert enclose_rotated(box, degrees) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("value", "degrees"),
    [(40.0, 40), ("40.5", 40.5), (None, 0), ("left", 0), ("", 0), (True, 0), ("nan", 0), ([], 0)],
)
def test_an_attribute_that_is_no_angle_is_the_users_own(value, degrees):
    assert read_rotation(value) == degrees


def write_rotated(root):
    boxes = [
        annotation(1, 0, [40, 20, 20, 40], attributes={"occluded": False, "rotation": 90.0}),
        annotation(2, 0, [40, 20, 20, 40], attributes={"rotation": 0.0}),
        annotation(3, 0, [40, 20, 20, 40], attributes=["rotation"]),
        annotation(4, 0, [0, 20, 20, 40], attributes={"rotation": 90.0}),
    ]
    return write_coco(root, content([image(0)], boxes), count=1)


def test_coco_boxes_are_turned_clipped_and_counted(tmp_path, caplog):
    root = write_rotated(tmp_path)
    with caplog.at_level(logging.WARNING):
        dataset = read_coco_train(root)
    # x 40 to 60, y 20 to 60: 20 wide, 40 high around (50, 40); turned it is x 30 to 70, y 30 to 50.
    # The last one is around (10, 40), so that x -10 to 30 is cut at the border.
    assert dataset.examples[0].boxes.tolist() == [
        [30, 30, 50, 70],
        [20, 40, 60, 60],
        [20, 40, 60, 60],
        [30, 0, 50, 30],
    ]
    assert (dataset.num_rotated, dataset.num_clipped) == (2, 1)
    assert "drawn turned (attribute rotation)" in caplog.text and "taken: 2; the first" in (
        caplog.text
    )
    config = DataConfig(root=str(root), format="coco", val_split="none", test_split="none")
    report = check_data(config, ModelConfig(), 0).report
    assert report["splits"]["train"]["num_rotated"] == 2
    assert any(
        "drawn turned (attribute rotation) in train: 2;" in text for text in list_remarks(report)
    )


def test_voc_boxes_are_turned_from_the_first_pixel_on(tmp_path):
    # 41 to 60 inclusive are x 40 to 60; 21 to 60 are y 20 to 60: as above.
    text = (
        f"<annotation><size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size><object>"
        "<name>cat</name><bndbox><xmin>41</xmin><ymin>21</ymin><xmax>60</xmax><ymax>60</ymax>"
        "</bndbox><attributes><attribute><name>occluded</name><value>False</value></attribute>"
        "<attribute><name>rotation</name><value>90.0</value></attribute></attributes></object>"
        "</annotation>"
    )
    dataset = read_train(write_voc(tmp_path, {"a": text}))
    assert dataset.examples[0].boxes.tolist() == [[30, 30, 50, 70]]
    assert dataset.num_rotated == 1
