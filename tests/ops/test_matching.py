"""Matching by IoU: labels, thresholds, ties."""

import numpy as np
import tensorflow as tf

from tf_frcnn.ops.boxes import pairwise_ioa, pairwise_iou
from tf_frcnn.ops.matching import best_of_each_object, ignore_inside, match_boxes


def match(rows, positive_iou=0.7, negative_iou=0.3):
    matched, labels = match_boxes(tf.constant([rows], tf.float32), positive_iou, negative_iou)
    return matched.numpy()[0].tolist(), labels.numpy()[0].tolist()


def test_the_largest_iou_decides():
    matched, labels = match([[0.8, 0.1], [0.2, 0.75], [0.1, 0.5], [0.2, 0.1], [0.0, 0.0]])
    assert matched == [0, 1, 1, 0, 0]
    assert labels == [1, 1, -1, 0, 0]


def test_thresholds_themselves_are_object_and_ignored():
    below = np.nextafter(np.float32([0.7, 0.3]), np.float32(0))
    assert match([[0.7], [0.3], [below[0]], [below[1]]])[1] == [1, -1, -1, 0]


def test_thresholds_hold_for_ious_of_real_boxes():
    # Boxes 10 wide in an object of 10 x 10; 7 rows make IoU 70 / 100, 3 rows 30 / 100. Far from
    # the origin too, where coordinates have fewer digits after the point.
    for y in (0.0, 777.0):
        rows = tf.constant([[y, 3, y + 7, 13], [y, 3, y + 3, 13]])
        iou = pairwise_iou(rows, tf.constant([[y, 3, y + 10, 13]]))
        assert match(iou.numpy())[1] == [1, -1]


def test_equal_thresholds_leave_nothing_ignored():
    assert match([[0.5], [0.499], [0.0]], 0.5, 0.5)[1] == [1, 0, 0]


def test_rows_to_be_ignored_are_ignored_at_any_threshold():
    assert match([[-1.0, -1.0]])[1] == [-1]
    assert match([[-1.0, -1.0]], 0.0, 0.0)[1] == [-1]


def test_of_equal_ious_the_first_object_is_taken():
    assert match([[0.2, 0.8, 0.8]])[0] == [1]


def test_images_are_matched_separately():
    matched, labels = match_boxes(tf.constant([[[0.9, 0.1]], [[0.1, 0.2]]]), 0.7, 0.3)
    np.testing.assert_array_equal(matched, [[0], [1]])
    np.testing.assert_array_equal(labels, [[1], [0]])


def test_the_best_box_of_each_object_with_all_its_ties():
    # Object 0: the best are boxes 0 and 2, which tie; object 1: box 1, at an IoU of 0.05 only.
    iou = tf.constant([[[0.4, 0.0], [0.1, 0.05], [0.4, 0.01], [0.39, 0.0]]])
    np.testing.assert_array_equal(best_of_each_object(iou), [[True, True, True, False]])


def test_symmetric_anchors_tie_around_an_object():
    # Anchors 16 x 32 at x = 0 and x = 16, an object of 10 x 20 halfway: IoU 200 / 512 with each.
    anchors = tf.constant([[[0.0, 0, 16, 32], [0, 16, 16, 48], [0, 32, 16, 64]]])
    iou = pairwise_iou(anchors, tf.constant([[[3.0, 14, 13, 34]]]))
    np.testing.assert_array_equal(best_of_each_object(iou), [[True, True, False]])


def test_objects_that_nothing_meets_and_padding_have_no_best_box():
    # Column 0: an object that no box meets; column 1: padding; all boxes of image 1 ignored.
    iou = tf.constant([[[0.0, 0.0], [0.0, 0.0]], [[-1.0, -1.0], [-1.0, -1.0]]])
    np.testing.assert_array_equal(best_of_each_object(iou), np.zeros((2, 2), bool))


def test_ignored_boxes_are_nobodys_best():
    iou = tf.constant([[[-1.0], [0.2], [0.1]]])
    np.testing.assert_array_equal(best_of_each_object(iou), [[False, True, False]])


def test_ties_that_float32_rounding_tells_apart_are_ties():
    # The second is the next float32 below 0.4, 3e-8 away; 0.39 is another IoU.
    iou = np.float32([[[0.4], [np.nextafter(np.float32(0.4), np.float32(0))], [0.39]]])
    np.testing.assert_array_equal(best_of_each_object(iou), [[True, True, False]])


def test_background_inside_of_a_region_is_ignored_and_nothing_else():
    labels = tf.constant([[0, 0, 0, 0, 1, -1, 0]], tf.int8)
    # Shares in two regions; 0.3 + 0.3 is not 0.6 of one. Float32's next number below 0.5 is less.
    below = np.nextafter(np.float32(0.5), np.float32(0))
    ioa = [[[0.5, 0.0], [below, 0.0], [0.3, 0.3], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]]
    found = ignore_inside(labels, tf.constant(ioa, tf.float32), 0.5)
    assert found.dtype == tf.int8
    np.testing.assert_array_equal(found, [[-1, 0, 0, -1, 1, -1, 0]])


def test_of_a_share_of_one_only_what_is_wholly_inside_is_ignored():
    # Rows 10.3 to 20.7 of a region that begins at 10.3, and the same a hair further up.
    boxes = tf.constant([[[10.3, 5.1, 20.7, 9.9], [10.299, 5.1, 20.7, 9.9]]])
    ioa = pairwise_ioa(boxes, tf.constant([[[10.3, 1.0, 90.0, 70.0]]]))
    labels = ignore_inside(tf.zeros([1, 2], tf.int8), ioa, 1.0)
    np.testing.assert_array_equal(labels, [[-1, 0]])


def test_images_have_their_own_regions():
    boxes = tf.constant([[0.0, 0, 10, 20]])
    regions = tf.constant([[[0.0, 0, 10, 20]], [[0, 0, 0, 0]]])
    labels = ignore_inside(tf.zeros([2, 1], tf.int8), pairwise_ioa(boxes[None], regions), 0.5)
    np.testing.assert_array_equal(labels, [[-1], [0]])
