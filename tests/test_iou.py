"""IoU without TensorFlow; `tests/ops/test_boxes.py` holds the network's to the same."""

import numpy as np

from tf_frcnn.iou import paired_iou, pairwise_iou


def test_pairwise_iou_of_asymmetric_boxes():
    # [0, 0, 10, 40] is 10 high and 40 wide, area 400; moved by (5, 10) the overlap is
    # 5 * 30 = 150, the union 400 + 400 - 150 = 650. Moved by (10, 0) it only touches.
    boxes = np.array([[0, 0, 10, 40]])
    others = np.array([[5, 10, 15, 50], [10, 0, 20, 40], [0, 0, 0, 0]])
    np.testing.assert_allclose(pairwise_iou(boxes, others), [[150 / 650, 0.0, 0.0]])


def test_pairwise_iou_of_empty_and_inverted_boxes_is_zero():
    boxes = np.array([[3, 3, 3, 3], [8, 8, 2, 2]])
    np.testing.assert_array_equal(pairwise_iou(boxes, boxes), np.zeros((2, 2)))


def test_paired_iou_takes_box_by_box():
    # The first two share 3 x 4 of 5 x 6 + 4 x 5 - 12 = 38, the others nothing.
    boxes = np.array([[0, 0, 5, 6], [0, 0, 2, 9]])
    others = np.array([[2, 2, 6, 7], [2, 0, 4, 9]])
    np.testing.assert_allclose(paired_iou(boxes, others), [12 / 38, 0.0])
    np.testing.assert_allclose(np.diag(pairwise_iou(boxes, others)), [12 / 38, 0.0])
