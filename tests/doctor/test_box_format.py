"""Signs of mistaken formats: each planted one is found, clean numbers give none."""

import numpy as np
import pytest

from tf_frcnn.doctor.box_format import StatedBoxes, box_format_signs

CORNERS = np.array([[1, 1, 60, 40], [30, 20, 200, 100], [100, 5, 180, 90], [7, 3, 9, 80]] * 6)


def signs(data_format, numbers):
    numbers = np.array(numbers, float)
    return " ".join(box_format_signs(data_format, StatedBoxes(numbers, sizes(len(numbers)))))


def sizes(count):
    return np.tile([200.0, 100.0], (count, 1))  # (width, height)


def xywh(corners):
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def test_clean_numbers_give_no_sign():
    assert signs("voc", CORNERS) == ""
    assert signs("coco", xywh(CORNERS - [1, 1, 0, 0])) == ""
    assert box_format_signs("voc", StatedBoxes(np.zeros((0, 4)), np.zeros((0, 2)))) == []


def test_xywh_in_voc():
    # 100, 5, 80, 85 and 7, 3, 2, 77 have xmax < xmin: half of the boxes, 12 of 24.
    found = signs("voc", xywh(CORNERS))
    assert "xmax < xmin or ymax < ymin: 12 of 24" in found and "xywh" in found


def test_corners_in_coco():
    # As x, y, w, h: 30 + 200 > 200 and 100 + 180 > 200 end past the border, 12 of 24.
    found = signs("coco", CORNERS)
    assert "past the border: 12 of 24" in found and "corners" in found


@pytest.mark.parametrize("data_format", ["voc", "coco"])
def test_normalised(data_format):
    assert "normalised" in signs(data_format, xywh(CORNERS) / [200, 100, 200, 100])


def test_zero_based_voc():
    assert "xmin or ymin = 0: 6 of 24" in signs("voc", CORNERS - 1)
    without_first = CORNERS[CORNERS[:, 0] > 1]
    assert "No box begins at 1" in signs("voc", without_first)


def test_one_based_coco():
    assert "x or y = 1: 6 of 24" in signs("coco", xywh(CORNERS))
