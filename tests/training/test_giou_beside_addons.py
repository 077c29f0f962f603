"""The GIoU loss against that of TensorFlow Addons, where it is installed."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_frcnn.addons import import_addons
from tf_frcnn.ops.boxes import encode_deltas, paired_giou
from tf_frcnn.training.losses import GIOU_WEIGHT, giou_loss

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_addons") is None,
    reason="needs TensorFlow Addons: the extra [addons], which brings TensorFlow 2.15",
)

# Sides of at least 1, so that no box is empty: there Addons divides by no area in another way.
CORNERS = st.tuples(*[st.integers(0, 60)] * 2)
SIZES = st.tuples(*[st.integers(1, 50)] * 2)
BOXES = st.lists(st.tuples(CORNERS, SIZES), min_size=2, max_size=2)


def to_boxes(drawn):
    return np.array([[*corner, *np.add(corner, size)] for corner, size in drawn], np.float32)


@settings(max_examples=100)
@given(st.lists(BOXES, min_size=1, max_size=5))
def test_giou_of_pairs_is_that_of_addons(pairs):
    boxes, others = np.stack([to_boxes(pair) for pair in pairs], axis=1)
    expected = import_addons("test").losses.giou_loss(others, boxes)
    np.testing.assert_allclose(1.0 - paired_giou(boxes, others), expected, rtol=0, atol=1e-6)


def test_loss_and_gradient_are_those_of_addons():
    # Three objects and one background of an image; the loss counts all four.
    rois = tf.constant(
        [[[0, 0, 20, 40], [10, 30, 26, 50], [5, 8, 60, 30], [0, 0, 9, 9]]], tf.float32
    )
    gt = tf.constant(
        [[[2, 3, 25, 33], [11, 28, 20, 54], [40, 50, 70, 90], [0, 0, 9, 9]]], tf.float32
    )
    std = (0.1, 0.1, 0.2, 0.2)
    targets = encode_deltas(gt, rois, std)
    deltas = tf.Variable(np.random.default_rng(0).normal(0, 1, (1, 4, 4)).astype(np.float32))
    positives, samples = tf.constant([[1.0, 1.0, 1.0, 0.0]]), tf.constant([4.0])
    with tf.GradientTape() as tape:
        loss = giou_loss(deltas, targets, rois, positives, samples, std)
    gradient = tape.gradient(loss, deltas)
    with tf.GradientTape() as tape:
        sizes = rois[..., 2:] - rois[..., :2]  # the decoding of the paper, written out
        centers = (rois[..., :2] + rois[..., 2:]) / 2 + 0.1 * deltas[..., :2] * sizes
        halves = tf.exp(0.2 * deltas[..., 2:]) * sizes / 2
        boxes = tf.concat([centers - halves, centers + halves], axis=-1)
        each = import_addons("test").losses.giou_loss(gt, boxes)  # [1, 4]
        expected = GIOU_WEIGHT * tf.reduce_sum(each * positives) / 4
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, tape.gradient(expected, deltas), rtol=1e-4, atol=1e-6)
