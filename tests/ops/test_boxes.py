"""Arithmetic on boxes against numbers worked by hand, NumPy loops and properties."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracles
from tf_frcnn.ops.boxes import (
    MAX_LOG_SCALE,
    box_area,
    clip_boxes,
    decode_deltas,
    encode_deltas,
    inside_images,
    paired_giou,
    pairwise_ioa,
    pairwise_iou,
)

STD = (0.1, 0.1, 0.2, 0.2)


@st.composite
def boxes(draw):
    """Draw a box whose centre and sides differ in y and x, as a rule; corners exact in float32."""
    ymin, xmin = draw(st.floats(0, 500, width=32)), draw(st.floats(0, 900, width=32))
    height, width = draw(st.floats(4, 250, width=32)), draw(st.floats(4, 250, width=32))
    return np.array([ymin, xmin, ymin + height, xmin + width], np.float32).tolist()


def test_box_area_of_asymmetric_empty_and_inverted_boxes():
    # (12 - 2) * (9 - 5) = 40; no + 1. A box of no width, one inverted in y, one in both: 0.
    given_boxes = tf.constant(
        [[2.0, 5, 12, 9], [2, 5, 12, 5], [12, 5, 2, 9], [12, 9, 2, 5], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(box_area(given_boxes), [40, 0, 0, 0, 0])


def test_pairwise_iou_of_shifted_boxes():
    # 10 high, 20 wide, shifted by (5, 5): intersection 5 * 15 = 75, union 200 + 200 - 75 = 325.
    # Shifted by (5, 10): 5 * 10 = 50, union 350. Touching, apart, and empty boxes: 0.
    a = tf.constant([[0.0, 0, 10, 20]])
    b = tf.constant(
        [[5.0, 5, 15, 25], [5, 10, 15, 30], [10, 0, 20, 20], [50, 50, 60, 60], [0, 0, 0, 0]]
    )
    expected = [[75 / 325, 50 / 350, 0, 0, 0]]
    np.testing.assert_allclose(pairwise_iou(a, b), expected, rtol=1e-6)


def test_paired_giou_by_hand():
    # Shifted by (5, 5) as above: IoU 75 / 325; around both 15 * 25 = 375, 50 of it in neither.
    # Touching, 10 high each: union 200 + 10 * 20 = 400 of 20 * 20. Apart: around both 20 * 50,
    # union 200 + 5 * 10. A box within another: no more than the IoU, 24 / 240. The box itself: 1.
    a = [[0.0, 0, 10, 20]] * 3 + [[2.0, 10, 6, 16], [3, 4, 8, 6]]
    b = [[5.0, 5, 15, 25], [10, 0, 20, 20], [15, 40, 20, 50], [1, 5, 9, 35], [3, 4, 8, 6]]
    expected = [75 / 325 - 50 / 375, 0, -(1000 - 250) / 1000, 24 / 240, 1]
    np.testing.assert_allclose(paired_giou(tf.constant(a), tf.constant(b)), expected, atol=1e-6)


def test_paired_giou_of_boxes_without_area():
    # Both the same: 0, no 0 / 0. A line of length 6 beside a box of 5 x 6 that is 4 away: around
    # both 9 x 6, union 30.
    a = tf.constant([[0.0, 0, 0, 0], [0, 2, 0, 8]])
    b = tf.constant([[0.0, 0, 0, 0], [4, 2, 9, 8]])
    np.testing.assert_allclose(paired_giou(a, b), [0.0, -(54 - 30) / 54], rtol=1e-6)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 12), min_size=8, max_size=8))
def test_paired_giou_equals_counted_pixels(edges):
    y, x = np.sort(np.reshape(edges, (2, 2, 2)), axis=-1)  # [box, 2] each
    masks = np.zeros((2, 12, 12), bool)
    for mask, rows, cols in zip(masks, y, x, strict=True):
        mask[slice(*rows), slice(*cols)] = True
    union = (masks[0] | masks[1]).sum()
    around = (y.max() - y.min()) * (x.max() - x.min())  # lines count, they have no pixels
    iou = (masks[0] & masks[1]).sum() / union if union else 0.0
    expected = iou - ((around - union) / around if around else 0.0)
    a, b = np.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=-1).astype(np.float32)
    np.testing.assert_allclose(paired_giou(a, b), expected, atol=1e-6)


def test_pairwise_iou_of_padding_with_padding_is_zero():
    np.testing.assert_array_equal(
        pairwise_iou(tf.zeros([2, 4]), tf.zeros([3, 4])), np.zeros((2, 3))
    )


def test_pairwise_iou_of_a_box_inside_another_is_the_ratio_of_areas():
    # 4 * 6 inside 8 * 30: 24 / 240.
    inner, outer = tf.constant([[2.0, 10, 6, 16]]), tf.constant([[1.0, 5, 9, 35]])
    np.testing.assert_allclose(pairwise_iou(inner, outer), [[0.1]], rtol=1e-6)


@settings(max_examples=25)
@given(st.lists(boxes(), min_size=1, max_size=4), st.lists(boxes(), min_size=1, max_size=3))
def test_pairwise_iou_equals_the_loop(boxes_a, boxes_b):
    computed = pairwise_iou(tf.constant(boxes_a, tf.float32), tf.constant(boxes_b, tf.float32))
    np.testing.assert_allclose(computed, oracles.iou_matrix(boxes_a, boxes_b), atol=1e-5)


def test_pairwise_iou_works_image_by_image():
    a = np.array([[[0, 0, 10, 20]], [[0, 0, 4, 8]]], np.float32)  # [2, 1, 4]
    b = np.array([[[0, 0, 10, 10]], [[0, 0, 10, 20]]], np.float32)
    computed = pairwise_iou(tf.constant(a), tf.constant(b))
    # 100 / 200 in the first image, 32 / 200 in the second.
    np.testing.assert_allclose(computed, [[[0.5]], [[0.16]]], rtol=1e-6)


def test_pairwise_ioa_is_over_the_area_of_the_first_alone():
    # 4 * 6 inside of 8 * 30, wholly; the other way round 24 / 240.
    inner, outer = tf.constant([[2.0, 10, 6, 16]]), tf.constant([[1.0, 5, 9, 35]])
    np.testing.assert_array_equal(pairwise_ioa(inner, outer), [[1.0]])
    np.testing.assert_allclose(pairwise_ioa(outer, inner), [[0.1]], rtol=1e-6)
    # Rows 4 to 6 of 2 to 6 and columns 10 to 13 of 10 to 16: 2 * 3 / 24. Padding: 0.
    others = tf.constant([[4.0, 0, 90, 13], [0, 0, 0, 0]])
    np.testing.assert_allclose(pairwise_ioa(inner, others), [[0.25, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(pairwise_ioa(tf.zeros([1, 4]), outer), [[0.0]])


@settings(max_examples=25)
@given(st.lists(boxes(), min_size=1, max_size=4), st.lists(boxes(), min_size=1, max_size=3))
def test_pairwise_ioa_equals_the_loop(boxes_a, boxes_b):
    # |A and B| = IoU (|A| + |B|) / (1 + IoU), from IoU = |A and B| / (|A| + |B| - |A and B|).
    expected = np.zeros((len(boxes_a), len(boxes_b)))
    for row, a in enumerate(boxes_a):
        for column, b in enumerate(boxes_b):
            iou = oracles.iou(a, b)
            shared = iou * (oracles.area(a) + oracles.area(b)) / (1.0 + iou)
            expected[row, column] = shared / oracles.area(a) if oracles.area(a) else 0.0
    computed = pairwise_ioa(tf.constant(boxes_a, tf.float32), tf.constant(boxes_b, tf.float32))
    np.testing.assert_allclose(computed, expected, atol=1e-5)


def test_clip_boxes_to_each_image():
    box = [-5.0, -7, 50, 90]
    clipped = clip_boxes(tf.constant([[box], [box]]), tf.constant([[40.0, 80], [60, 30]]))
    np.testing.assert_array_equal(clipped, [[[0, 0, 40, 80]], [[0, 0, 50, 30]]])


def test_a_box_wholly_outside_becomes_empty():
    outside = tf.constant([[[45.0, 10, 60, 20], [10, 85, 20, 99], [-20, 10, -5, 20]]])
    clipped = clip_boxes(outside, tf.constant([[40.0, 80]]))
    np.testing.assert_array_equal(box_area(clipped), [[0, 0, 0]])


def test_inside_images_counts_the_border_as_inside():
    # In an image of 40 x 80: exactly the image; one past each of the four borders.
    anchors = [[0.0, 0, 40, 80], [-1, 0, 9, 9], [0, -1, 9, 9], [0, 0, 41, 9], [0, 0, 9, 81]]
    sizes = tf.constant([[40.0, 80], [41, 81]])
    expected = [[True, False, False, False, False], [True, False, False, True, True]]
    np.testing.assert_array_equal(inside_images(tf.constant(anchors), sizes), expected)


def test_encode_deltas_worked_by_hand():
    # Anchor: centre (20, 40), 20 x 40. Box: centre (25, 30), 40 x 10.
    # dy = 5 / 20 = 0.25; dx = -10 / 40 = -0.25; dh = 40 / 20 = 2; dw = 10 / 40 = 0.25.
    anchor, box = tf.constant([[10.0, 20, 30, 60]]), tf.constant([[5.0, 25, 45, 35]])
    expected = np.array([[0.25, -0.25, math.log(2), math.log(0.25)]])
    np.testing.assert_allclose(encode_deltas(box, anchor), expected, rtol=1e-6)
    np.testing.assert_allclose(encode_deltas(box, anchor, STD), expected / STD, rtol=1e-6)


def test_decode_deltas_worked_by_hand():
    # dy = 2.5 * 0.1, dx = -2.5 * 0.1, dh = exp(5 log 2 * 0.2) = 2, dw = 1/4: the box of the above.
    deltas = tf.constant([[2.5, -2.5, 5 * math.log(2), 5 * math.log(0.25)]])
    decoded = decode_deltas(deltas, tf.constant([[10.0, 20, 30, 60]]), STD)
    np.testing.assert_allclose(decoded, [[5, 25, 45, 35]], rtol=1e-5)


@pytest.mark.parametrize("std", [(1.0, 1.0, 1.0, 1.0), STD])
def test_decoding_undoes_encoding(std):
    @settings(max_examples=40)
    @given(boxes(), boxes())
    def check(box, anchor):
        deltas = encode_deltas(tf.constant([box]), tf.constant([anchor]), std)
        # Centres up to 1150 are rounded by 6e-5 in float32, twice; over sides from 4 and std from
        # 0.1 that makes 3e-4. Offsets up to 2900 are themselves rounded by up to 5e-4.
        np.testing.assert_allclose(deltas[0], oracles.encode(box, anchor, std), atol=2e-3)
        np.testing.assert_allclose(
            decode_deltas(deltas, tf.constant([anchor]), std)[0], box, atol=2e-2
        )

    check()


def test_encode_deltas_is_finite_for_empty_boxes_and_anchors():
    empty, box = tf.zeros([1, 4]), tf.constant([[10.0, 20, 30, 60]])
    for pair in ((empty, box), (box, empty), (empty, empty)):
        assert np.isfinite(encode_deltas(*pair)).all()


def test_decode_deltas_limits_how_far_a_box_grows():
    # exp(MAX_LOG_SCALE) = 1000 / 16 = 62.5: an anchor of 16 x 32 grows to 1000 x 2000 at most.
    decoded = decode_deltas(tf.constant([[0.0, 0, 1e20, 1e20]]), tf.constant([[0.0, 0, 16, 32]]))
    np.testing.assert_allclose(decoded, [[8 - 500, 16 - 1000, 8 + 500, 16 + 1000]], rtol=1e-5)
    assert math.exp(MAX_LOG_SCALE) == pytest.approx(62.5)


def test_decode_deltas_of_an_empty_anchor_is_empty():
    decoded = decode_deltas(tf.constant([[0.3, -0.2, 1.0, 2.0]]), tf.zeros([1, 4]))
    np.testing.assert_array_equal(box_area(decoded), [0])
