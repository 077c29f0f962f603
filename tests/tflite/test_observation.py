"""What is looked at between the layers, and what rounding to 8 bits makes of it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tflite.conftest import build_detector, noise
from tf_frcnn.architectures.vgg16 import build_vgg16
from tf_frcnn.tflite.observation import RangeObserver, RoundingObserver, observing

HEADS = {
    *("rpn_conv", "rpn_objectness", "rpn_deltas"),
    *("fc1", "fc2", "box_classes", "box_deltas"),
}
CONVS = {
    f"block{block}_conv{conv}"
    for block, num_convs in enumerate((2, 2, 3, 3, 3), start=1)
    for conv in range(1, num_convs + 1)
}


def observed_names(network):
    observer = RangeObserver()
    with observing(network, observer):
        network((noise((32, 48))[None].astype(np.float32), np.float32([[32, 48]])))
    return set(observer.extremes)


def test_activations_after_normalisation_are_observed(detector):
    assert observed_names(detector.detector) == {f"{name}_relu" for name in CONVS} | HEADS


def test_layers_without_normalisation_are_observed_themselves():
    backbone = build_vgg16(width=1 / 16)
    network = keras.Sequential([backbone])
    network.backbone = backbone
    observer = RangeObserver()
    with observing(network, observer):
        network(np.ones((1, 16, 32, 3), np.float32))
    assert set(observer.extremes) == CONVS


def test_projections_of_a_head_of_low_rank_are_observed(tiny_config):
    detector = build_detector(dataclasses.replace(tiny_config.model, head_rank=5))
    assert {"fc1_projection", "fc2_projection"} < observed_names(detector.detector)


def test_the_layers_are_left_as_they_were(detector):
    network, observer = detector.detector, RangeObserver()
    with pytest.raises(KeyError), observing(network, observer):
        raise KeyError
    network.rpn_head(tf.zeros([1, 2, 3, 128]))
    assert not observer.extremes


def test_ranges_are_after_the_activation(detector):
    head, observer = detector.detector.rpn_head, RangeObserver()
    features = tf.random.stateless_normal([1, 3, 4, 128], [1, 2])
    with observing(detector.detector, observer):
        head(features)
    smallest, largest = observer.extremes["rpn_conv"].numpy()
    assert smallest == 0.0
    assert largest == pytest.approx(np.max(head.conv(features)), rel=1e-6)


def test_rounding_by_hand():
    # 255 steps from 0 to 51: multiples of 0.2. What is beyond the ends is cut off.
    rounding = RoundingObserver({"a": (0.0, 51.0)})
    rounded = rounding("a", tf.constant([-1.0, 0.0, 0.29, 0.31, 50.93, 60.0]))
    np.testing.assert_allclose(rounded, [0.0, 0.0, 0.2, 0.4, 51.0, 51.0], atol=1e-5)


@pytest.mark.parametrize("ends", [(0.0, 0.0), (2.0, 5.0), (-5.0, -2.0)])
def test_0_is_kept_whatever_the_range_is(ends):
    rounded = RoundingObserver({"a": ends})("a", tf.constant([0.0, ends[0]]))
    np.testing.assert_allclose(rounded, [0.0, ends[0]], atol=5 / 255)
