"""NMS from the operator that TFLite has: what the batched operators of `ops.nms` give."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import greedy_nms
from tf_frcnn.ops.nms import DROPPED, per_class_nms
from tf_frcnn.tflite.suppression import keep_detections, keep_proposals


def draw_boxes(seed, count, num_classes=None):
    """Draw boxes that often overlap, higher than wide, and scores that never tie."""
    random = np.random.default_rng(seed)
    shape = (count,) if num_classes is None else (count, num_classes)
    start = random.uniform(0, 30, (*shape, 2))
    boxes = np.concatenate([start, start + random.uniform((8, 4), (40, 20), (*shape, 2))], axis=-1)
    scores = random.permutation(int(np.prod(shape))).reshape(shape) / np.prod(shape)
    return boxes.astype(np.float32), scores.astype(np.float32)


def test_proposals_by_hand():
    # Boxes 0 and 1 are 10 x 4 and share 8 x 4: IoU 32 / (40 + 40 - 32) = 0.67 > 0.6, so the one
    # with the score 2 goes. Box 2 is dropped. Box 4 is the worst of the best three, without box 3.
    boxes = tf.constant(
        [[0, 0, 10, 4], [2, 0, 12, 4], [50, 0, 60, 4], [30, 5, 35, 25], [0, 40, 9, 43]], tf.float32
    )
    scores = tf.constant([2.0, 3.0, DROPPED, -7.0, -2.0])
    found = keep_proposals(boxes, scores, pre_nms_top_k=3, post_nms_top_k=4, nms_iou=0.6)
    np.testing.assert_array_equal(
        found, [[2, 0, 12, 4], [0, 40, 9, 43], [0, 0, 0, 0], [0, 0, 0, 0]]
    )


def test_proposals_that_are_all_dropped_are_padding():
    boxes, _ = draw_boxes(0, 5)
    found = keep_proposals(tf.constant(boxes), tf.fill([5], DROPPED), 9, 3, 0.7)
    np.testing.assert_array_equal(found, np.zeros((3, 4)))


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_proposals_are_those_of_greedy_nms(seed, count, pre_nms_top_k, post_nms_top_k):
    boxes, scores = draw_boxes(seed, count)
    found = keep_proposals(
        tf.constant(boxes), tf.constant(scores), pre_nms_top_k, post_nms_top_k, 0.4
    )
    top = np.argsort(-scores)[:pre_nms_top_k]
    kept = top[greedy_nms(boxes[top], scores[top], 0.4)][:post_nms_top_k]
    expected = np.zeros((post_nms_top_k, 4), np.float32)
    expected[: len(kept)] = boxes[kept]
    np.testing.assert_array_equal(found, expected)


def test_detections_by_hand():
    # Class 1: the boxes share 10 x 6 of 10 x 10 each: IoU 60 / 140 = 0.43 > 0.3, so 0.5 goes.
    # Class 2: 0.05 does not exceed the threshold. Both classes have the same first box.
    boxes = tf.constant(
        [[[0, 0, 10, 10], [0, 0, 10, 10]], [[0, 4, 10, 14], [20, 4, 60, 14]]], tf.float32
    )
    scores = tf.constant([[0.9, 0.05], [0.5, 0.7]])
    found = keep_detections(boxes, scores, score_threshold=0.05, nms_iou=0.3, max_detections=3)
    np.testing.assert_array_equal(found[0], [[0, 0, 10, 10], [20, 4, 60, 14], [0, 0, 0, 0]])
    np.testing.assert_array_equal(found[1], np.float32([0.9, 0.7, 0.0]))
    np.testing.assert_array_equal(found[2], [1, 2, 0])
    assert found[3].numpy() == 2


@given(
    st.integers(0, 10**6),
    st.integers(1, 30),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.05, 0.6, 1.0]),
    st.integers(1, 60),
)
@settings(max_examples=40, deadline=None)
def test_detections_are_those_of_the_combined_operator(seed, count, num_classes, threshold, most):
    boxes, scores = draw_boxes(seed, count, num_classes)
    found = keep_detections(tf.constant(boxes), tf.constant(scores), threshold, 0.3, most)
    expected = per_class_nms(
        tf.constant(boxes[None]), tf.constant(scores[None]), threshold, 0.3, most
    )
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, wanted[0])
