"""Each operator of a training step and of a served model has a GPU kernel; few edges lead back.

`tests/placement.py` says what is counted. A network may not get more such edges than it has here:
on a GPU each is a moment when everything waits.
"""

import dataclasses
from functools import partial

import keras
import pytest
import tensorflow as tf

from tests.placement import read_placement
from tf_frcnn.architectures import ARCHITECTURES, resnet50_fpn, vgg16
from tf_frcnn.config import ModelConfig, TrainConfig
from tf_frcnn.export.signatures import make_signatures
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import FasterRCNN
from tf_frcnn.ops.boxes import pairwise_ioa
from tf_frcnn.ops.matching import ignore_inside
from tf_frcnn.ops.roi_pool import ROIS_AT_ONCE
from tf_frcnn.training.trainer import FasterRCNNTrainer

MOBILENET = "fasterrcnn_mobilenet_v3_large_fpn"
# Whether the update of a step is made.
UPDATE = 1
# Of each map, image by image: whether there is one more; how many boxes NMS has kept, and which
# (their padding is arithmetic of int32).
NMS = 3
IS_KERAS_2 = keras.__version__.startswith("2.")
# Keras 3 enlarges the pyramid by `tf.repeat`, which makes and takes back int32: twice a map, by
# height and by width; as often in its gradient.
ENLARGING = 0 if IS_KERAS_2 else 2
# RoIAlign of several maps: `tf.dynamic_stitch` wants the places of each map's RoIs on the host.
# There are as many RoIs here as are pooled at a time; twice as many would be twice as many edges.
STITCHING = 1
# Of a served model: the size that the picture is resized to, what the last NMS takes (boxes and
# scores), and the classes, whose names are strings and which are answered as they are.
SERVING = 1 + 2 + 2

# NETWORK -> edges of a training step, of the served function.
EDGES = {
    "vgg16": (UPDATE + NMS, SERVING + NMS),
    "vgg16_quarter": (UPDATE + NMS, SERVING + NMS),
    "fasterrcnn_resnet50_fpn": (
        UPDATE + 5 * NMS + 3 * 2 * ENLARGING + 4 * STITCHING,
        SERVING + 5 * NMS + 3 * ENLARGING + 4 * STITCHING,
    ),
    "fasterrcnn_resnet50_fpn_v2": (
        UPDATE + 5 * NMS + 3 * 2 * ENLARGING + 4 * STITCHING,
        SERVING + 5 * NMS + 3 * ENLARGING + 4 * STITCHING,
    ),
    # Its two maps are of one size, and RoIs are pooled from the first.
    MOBILENET: (UPDATE + 3 * NMS, SERVING + 3 * NMS),
    "efficientnet_lite0_fpn": (
        UPDATE + 4 * NMS + 2 * 2 * ENLARGING + 3 * STITCHING,
        SERVING + 4 * NMS + 2 * ENLARGING + 3 * STITCHING,
    ),
}
# Whether the loss scale is doubled or halved is decided on the host as well.
LOSS_SCALE = 4 if IS_KERAS_2 else 2
# TensorFlow has no kernel for GPUs of its NMS by classes, and none of anything with strings.
ON_PROCESSOR = {
    "CombinedNonMaxSuppression()",
    "Const(string)",
    "GatherV2(string, int32, int32)",
}


@pytest.fixture
def make_network(monkeypatch):
    """Make networks with the operators of the published ones, but fewer layers and channels."""
    small_vgg16 = dataclasses.replace(
        vgg16.VGG16,
        backbone=partial(vgg16.build_vgg16, width=1 / 16),
        box_head=partial(vgg16.build_box_head, units=32),
    )
    monkeypatch.setitem(ARCHITECTURES, "vgg16", small_vgg16)
    monkeypatch.setattr(resnet50_fpn, "LAYERS", ((2, 16), (1, 16), (1, 16), (1, 16)))

    def make(name, precision):
        settings = dict(ARCHITECTURES[name].settings.get("model", {}))
        settings |= {"architecture": name, "rpn_post_nms_top_k": ROIS_AT_ONCE}
        return FasterRCNN(ModelConfig(**settings), 3, precision)

    return make


def trace_step(network, name):
    """Trace a training step of two images."""
    architecture = ARCHITECTURES[name]
    options = {**architecture.settings.get("train", {}), **architecture.from_weights}
    options |= {"roi_batch_size": ROIS_AT_ONCE, "frozen_layers": (), "precision": network.precision}
    trainer = FasterRCNNTrainer(network, TrainConfig(**options))
    batch = {
        "images": tf.TensorSpec([2, None, None, 3], tf.float32),
        "image_sizes": tf.TensorSpec([2, 2], tf.float32),
        "gt_boxes": tf.TensorSpec([2, None, 4], tf.float32),
        "gt_classes": tf.TensorSpec([2, None], tf.int32),
        "seeds": tf.TensorSpec([2, 2], tf.int32),
    }
    return tf.function(trainer.train_step, input_signature=[batch]).get_concrete_function()


def trace_served(network):
    model = InferenceModel(network, ["cat", "dog", "duck"], 64, 96)
    return make_signatures(model)["serving_default"].get_concrete_function()


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("vgg16", "float32"),
        ("vgg16", "mixed_float16"),
        ("vgg16", "mixed_bfloat16"),
        ("vgg16_quarter", "float32"),
        ("fasterrcnn_resnet50_fpn_v2", "float32"),
        pytest.param(MOBILENET, "float32", marks=pytest.mark.slow),
        pytest.param("efficientnet_lite0_fpn", "float32", marks=pytest.mark.slow),
        pytest.param("fasterrcnn_resnet50_fpn", "float32", marks=pytest.mark.release),
        *(
            pytest.param(name, precision, marks=pytest.mark.release)
            for name in (MOBILENET, "fasterrcnn_resnet50_fpn_v2", "efficientnet_lite0_fpn")
            for precision in ("mixed_float16", "mixed_bfloat16")
        ),
    ],
)
def test_a_step_and_the_served_model_run_on_a_gpu(name, precision, make_network):
    network = make_network(name, precision)
    of_step, of_served = EDGES[name]
    if precision == "mixed_float16":
        of_step += LOSS_SCALE
    step = read_placement(trace_step(network, name))
    assert dict(step.without_kernel) == {}
    assert len(step.edges) == of_step, step.edges
    served = read_placement(trace_served(network))
    assert set(served.without_kernel) == ON_PROCESSOR
    assert len(served.edges) == of_served, served.edges


# === The counting itself ===


def count(function, *specs):
    return read_placement(tf.function(function).get_concrete_function(*specs))


FLOATS, INTS = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32)


def test_int32_made_on_the_device_and_added_on_the_host_is_an_edge():
    placement = count(lambda x: tf.cast(x, tf.int32) + 1, FLOATS)
    assert [edge.producer.split()[0] for edge in placement.edges] == ["Cast"]
    assert [edge.consumer.split()[0] for edge in placement.edges] == ["AddV2"]


def test_shapes_constants_and_int64_are_none():
    placement = count(lambda x: tf.zeros(tf.shape(x) * 2) + x[0] + tf.reduce_sum(x, axis=0), FLOATS)
    assert placement.edges == []
    assert count(lambda x: tf.cast(x, tf.int64) + 1, FLOATS).edges == []
    assert count(lambda x: x + 1, INTS).edges == []  # int32 arguments are on the host


def test_functions_within_are_gone_through_once_and_their_conditions_count():
    # Of the loop: whether it goes on, since a limit of iterations makes it a conjunction.
    def loop(x):
        return tf.map_fn(lambda one: one * 2.0, x)

    assert len(count(loop, FLOATS).edges) == 1

    @tf.function
    def inner(x):
        return tf.cast(x, tf.int32) + 1

    # The sum is on the host, where the function takes it and gives it back: no more edges.
    assert len(count(lambda x: inner(x) + inner(x), FLOATS).edges) == 1


def test_background_in_crowds_is_ignored_on_the_device():
    boxes, labels = tf.TensorSpec([2, None, 4]), tf.TensorSpec([2, None], tf.int8)
    placement = count(
        lambda labels, boxes: ignore_inside(labels, pairwise_ioa(boxes, boxes), 0.5), labels, boxes
    )
    assert dict(placement.without_kernel) == {} and placement.edges == []


def test_what_has_no_kernel_is_named_with_its_types():
    placement = count(tf.strings.as_string, FLOATS)
    assert dict(placement.without_kernel) == {"AsString(float32)": 1}
    # It takes its input from the host.
    assert [edge.consumer.split()[0] for edge in placement.edges] == ["AsString"]
