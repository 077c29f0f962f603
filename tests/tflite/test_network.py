"""The network for one image of one size, before it is converted: what the Keras model finds."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tflite.conftest import build_inference_model, noise
from tf_frcnn.tflite.network import build_detect


def assert_same(inference_model, size):
    images = tf.constant(noise(size)[None])
    expected = inference_model.detect(images)
    found = build_detect(inference_model, size)(images)
    assert set(found) == set(expected) - {"detection_names"}
    assert int(expected["num_detections"][0]) > 0, "the comparison needs detections"
    for name, value in found.items():
        assert value.dtype == expected[name].dtype and value.shape == expected[name].shape
        # Both compute in float32, in another order: 1e-2 px of 100, 1e-4 of 1.
        atol = {"detection_boxes": 1e-2, "detection_scores": 1e-4}.get(name, 0)
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=atol, err_msg=name)


# As they are, resized, less than a cell high, and with sides that are no whole cells.
@pytest.mark.parametrize("size", [(64, 96), (50, 70), (8, 93), (131, 64)])
def test_the_same_as_the_keras_model(inference_model, size):
    assert_same(inference_model, size)


@pytest.mark.parametrize("op", ["roi_align", "roi_align_aligned"])
def test_other_roi_operators(tiny_config, op):
    assert_same(build_inference_model(dataclasses.replace(tiny_config.model, roi_op=op)), (40, 61))


def test_a_head_of_low_rank(tiny_config):
    assert_same(
        build_inference_model(dataclasses.replace(tiny_config.model, head_rank=5)), (40, 61)
    )


def test_thresholds_are_those_of_the_layers(tiny_config):
    strict = dataclasses.replace(tiny_config.model, score_threshold=0.25, max_detections=4)
    assert_same(build_inference_model(strict), (50, 70))
