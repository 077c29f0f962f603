"""The whole network: any size, any batch, any weights, padded images, saved configuration."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.model import FasterRCNN, as_maps
from tf_frcnn.ops.roi_pool import ROI_OPS


@pytest.fixture(scope="module")
def network(tiny_model_config):
    keras.utils.set_random_seed(0)
    return FasterRCNN(tiny_model_config, num_classes=3)


def random_images(num_images, height, width, seed=0):
    values = np.random.default_rng(seed).uniform(0, 255, (num_images, height, width, 3))
    return tf.constant(values, tf.float32)


def scale_weights(layer, factor):
    for variable in layer.trainable_variables:
        variable.assign(variable * factor)


def assert_detections_are_sound(detections, image_sizes, num_classes=3):
    """Check finiteness, order, padding and that boxes lie in their images."""
    boxes, scores, classes, counts = (
        detections[name].numpy()
        for name in (
            "detection_boxes",
            "detection_scores",
            "detection_classes",
            "num_detections",
        )
    )
    for image, (height, width) in enumerate(np.asarray(image_sizes)):
        count = counts[image]
        kept = boxes[image, :count]
        assert np.isfinite(boxes).all() and np.isfinite(scores).all()
        assert (kept >= 0).all() and (kept <= [height, width, height, width]).all()
        assert (kept[:, 2:] > kept[:, :2]).all()
        assert (np.diff(scores[image]) <= 0).all() and (scores[image, :count] > 0).all()
        assert set(classes[image, :count]) <= set(range(1, num_classes + 1))
        for padding in (boxes, scores, classes):
            assert not padding[image, count:].any()


def test_configuration_survives_json(network, tiny_model_config):
    text = json.dumps(keras.saving.serialize_keras_object(network))
    restored = keras.saving.deserialize_keras_object(json.loads(text))
    assert isinstance(restored, FasterRCNN)
    assert restored.config == tiny_model_config and restored.num_classes == 3
    assert restored.precision == network.precision == "float32"
    assert restored.name == network.name
    shapes = [
        [tuple(variable.shape) for variable in model.weights] for model in (restored, network)
    ]
    assert shapes[0] == shapes[1]


def test_a_restored_detector_with_the_same_weights_detects_the_same(network):
    restored = FasterRCNN.from_config(network.get_config())
    restored.set_weights(network.get_weights())
    inputs = (random_images(1, 40, 70), tf.constant([[40.0, 70.0]]))
    for name, value in network(inputs).items():
        np.testing.assert_allclose(restored(inputs)[name], value, atol=1e-5)


def test_a_detector_saved_under_the_old_names_is_restored(network):
    config = network.get_config()
    fields = json.loads(json.dumps(config["config"]))  # lists instead of tuples
    del fields["format"]
    fields |= {"backbone": fields.pop("architecture"), "backbone_weights": "none"}
    assert FasterRCNN.from_config({**config, "config": fields}).config == network.config


@pytest.mark.parametrize("num_images", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 48), (600, 1)])
def test_any_size_and_batch(network, num_images, size):
    sizes = [size] * num_images
    detections = network((random_images(num_images, *size), tf.constant(sizes, tf.float32)))
    assert detections["detection_boxes"].shape == (num_images, 30, 4)
    assert_detections_are_sound(detections, sizes)
    if min(size) >= 17:  # one pixel is less than the smallest proposal
        assert (detections["num_detections"].numpy() > 0).all()


def test_padded_images_have_no_boxes_in_the_padding(network):
    sizes = [(64, 96), (33, 50), (64, 17)]
    detections = network((random_images(3, 64, 96), tf.constant(sizes, tf.float32)))
    assert_detections_are_sound(detections, sizes)
    assert (detections["num_detections"].numpy() > 0).all()


def test_what_stands_in_the_padding_does_not_matter(network):
    images = random_images(1, 64, 96).numpy()
    sizes = tf.constant([[33.0, 50.0]])
    black = images.copy()
    black[:, 33:], black[:, :, 50:] = 0, 0
    for name, value in network((tf.constant(images), sizes)).items():
        np.testing.assert_array_equal(network((tf.constant(black), sizes))[name], value)


@pytest.mark.parametrize("factor", [1e3, 1e8])
def test_extreme_outputs_of_the_heads_stay_finite(tiny_model_config, factor):
    # Random weights times a thousand or more: logits far beyond what exp() can take.
    network = FasterRCNN(tiny_model_config, num_classes=3)
    scale_weights(network.rpn_head.objectness, factor)
    scale_weights(network.rpn_head.deltas, factor)
    scale_weights(network.box_head.classes, factor)
    scale_weights(network.box_head.deltas, factor)
    sizes = [(64, 96), (40, 60)]
    detections = network((random_images(2, 64, 96), tf.constant(sizes, tf.float32)))
    assert_detections_are_sound(detections, sizes)


@pytest.mark.parametrize("name", sorted(ROI_OPS))
def test_every_roi_operator_can_be_chosen(tiny_model_config, name):
    network = FasterRCNN(dataclasses.replace(tiny_model_config, roi_op=name), num_classes=3)
    detections = network((random_images(1, 40, 70), tf.constant([[40.0, 70.0]])))
    assert_detections_are_sound(detections, [(40, 70)])
    assert detections["num_detections"][0] > 0


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_mixed_precision_keeps_weights_and_boxes_in_float32(compute, tiny_model_config):
    network = FasterRCNN(tiny_model_config, num_classes=3, precision=f"mixed_{compute}")
    assert all(weight.dtype == "float32" for weight in network.weights)
    for layer in (
        network.backbone.get_layer("block3_conv1"),
        network.rpn_head.conv,
        network.box_head.fc1,
    ):
        assert layer.compute_dtype == compute
    sizes = tf.constant([(64.0, 96.0), (40.0, 61.0)])
    images = random_images(2, 64, 96)
    pixels = network.preprocessing((images, sizes))
    maps = as_maps(network.backbone(pixels))
    assert maps[0].dtype == compute
    # Cell (5, 7) is the last; its first anchor, 16 * sqrt(0.5) = 11.314 high, begins at
    # 5.5 * 16 - 5.657 = 82.343. bfloat16 has 82.0 and 82.5.
    (anchors,) = network.anchor_generator(
        (tf.zeros([1, 96, 128, 3]), (tf.zeros([1, 6, 8, 4], compute),))
    )
    np.testing.assert_allclose(anchors[-9, 0], 82.343, atol=1e-3)

    logits, deltas = network.rpn_head(maps)
    anchors = network.anchor_generator((pixels, maps))
    proposals = network.proposal_layer((logits, deltas, anchors, sizes))
    roi_features = network.roi_pooling((maps, proposals))
    class_logits, box_deltas = network.box_head(roi_features)
    assert roi_features.dtype == compute
    for value in (*anchors, *logits, *deltas, proposals, class_logits, box_deltas):
        assert value.dtype == tf.float32
    detections = network((images, sizes))
    assert detections["detection_boxes"].dtype == tf.float32
    assert detections["detection_scores"].dtype == tf.float32
    assert_detections_are_sound(detections, sizes)


def test_the_precision_is_the_models_own(tiny_model_config):
    policy = keras.mixed_precision.global_policy()
    FasterRCNN(tiny_model_config, num_classes=3, precision="mixed_bfloat16")
    assert keras.mixed_precision.global_policy().name == policy.name == "float32"
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = FasterRCNN(tiny_model_config, num_classes=3)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    assert network.backbone.get_layer("block3_conv1").compute_dtype == "float32"
    assert network.box_head.fc1.compute_dtype == "float32"
