"""A network with several maps, through all that is built on one: model, training, exports, stages.

A toy of three maps, of which the last is not pooled from, with everything that VGG16 is not: RGB in
0 to 1, anchors at the corners of cells and rounded, one size a map, one logit an anchor, sifting
after the top N with a floor on the score, floored sizes. It is a file and a line, as any network.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.architectures.architecture import AnchorGrid, Architecture, Pixels, ProposalRule
from tf_frcnn.config import ModelConfig, TrainConfig
from tf_frcnn.inference import InferenceModel
from tf_frcnn.layers.heads.box_head import BoxHead
from tf_frcnn.layers.heads.rpn import RPNHead
from tf_frcnn.model import FasterRCNN, as_maps
from tf_frcnn.training.trainer import FasterRCNNTrainer

SIZE = (64, 96)


def build_pyramid(dtype):
    """Build three maps of strides 8, 16 and 32 with 16 channels; normalised and frozen in part."""
    images = keras.Input((None, None, 3), name="images")
    features, maps = images, []
    for number in range(5):
        features = keras.layers.Conv2D(
            16, 3, strides=2, padding="same", use_bias=False, name=f"conv{number}", dtype=dtype
        )(features)
        features = keras.layers.BatchNormalization(name=f"norm{number}", dtype=dtype)(features)
        features = keras.layers.ReLU(max_value=6.0, name=f"relu{number}", dtype=dtype)(features)
        if number >= 2:
            maps.append(features)
    return keras.Model(images, maps, name="backbone")


TOY = Architecture(
    backbone=build_pyramid,
    strides=(8, 16),
    num_maps=3,
    pixels=Pixels("rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), multiple=32),
    anchors=AnchorGrid(offset=0.0, rounded=True, one_size_a_map=True),
    proposals=ProposalRule(sifts_first=False, min_score=0.05),
    rpn_head=lambda num_anchors, dtype: RPNHead(16, num_anchors, name="rpn_head", dtype=dtype),
    box_head=lambda num_classes, dtype, dropout, rank: BoxHead(
        32, num_classes, dropout, 0.0, 0.0, rank, name="box_head", dtype=dtype
    ),
)


@pytest.fixture(scope="module")
def toy_config():
    ARCHITECTURES["toy"] = TOY
    yield ModelConfig(
        architecture="toy",
        anchor_sizes=(12.0, 24.0, 48.0),
        roi_op="roi_align",
        rpn_pre_nms_top_k=40,
        rpn_post_nms_top_k=15,
        rpn_min_size=1e-3,
        score_threshold=0.05,
        max_detections=12,
    )
    del ARCHITECTURES["toy"]


@pytest.fixture
def network(toy_config):
    keras.utils.set_random_seed(0)
    return FasterRCNN(toy_config, 3)


def noise(num_images=1, size=SIZE):
    return np.random.default_rng(0).integers(0, 256, (num_images, *size, 3), dtype=np.uint8)


def make_batch(num_images=2):
    boxes = [[[8, 10, 40, 60], [30, 50, 60, 90]], [[5, 6, 20, 30], [0, 0, 0, 0]]]
    return {
        "images": tf.constant(noise(num_images), tf.float32),
        "image_sizes": tf.constant([SIZE] * num_images, tf.float32),
        "gt_boxes": tf.constant(boxes[:num_images], tf.float32),
        "gt_classes": tf.constant([[1, 2], [3, 0]][:num_images]),
        "seeds": tf.constant([[0, index] for index in range(num_images)]),
    }


def test_every_stage_sees_all_maps(network):
    pixels = network.preprocessing((tf.constant(noise(), tf.float32), tf.constant([SIZE])))
    assert float(tf.reduce_max(tf.abs(pixels))) <= 1.0
    maps = as_maps(network.backbone(pixels))
    assert [one.shape[1:3] for one in maps] == [(8, 12), (4, 6), (2, 3)]
    anchors = network.anchor_generator((pixels, maps))
    assert [len(one) for one in anchors] == [8 * 12 * 3, 4 * 6 * 3, 2 * 3 * 3]
    # Ratio 0.5, size 24, on the second map: 16.97 x 33.94, halves 8.49 and 16.97 round to 8 and 17;
    # cell (1, 2) of stride 16 has its corner at (16, 32).
    np.testing.assert_array_equal(anchors[1][(1 * 6 + 2) * 3], [16 - 8, 32 - 17, 16 + 8, 32 + 17])
    objectness, deltas = network.rpn_head(maps)
    assert [one.shape[1] for one in objectness] == [len(one) for one in anchors]
    assert [one.shape[1:] for one in deltas] == [(len(one), 4) for one in anchors]


def test_proposals_are_those_of_each_map_sifted_after_the_top_n(network):
    random = np.random.default_rng(1)
    counts = (90, 40, 10)
    logits = [random.normal(-2, 2, (1, count)).astype(np.float32) for count in counts]
    deltas = [random.normal(0, 0.4, (1, count, 4)).astype(np.float32) for count in counts]
    corner = [random.uniform(-10, 60, (count, 2)) for count in counts]
    anchors = [np.concatenate([c, c + random.uniform(8, 40, c.shape)], 1) for c in corner]
    found = network.proposal_layer(
        (
            tuple(map(tf.constant, logits)),
            tuple(map(tf.constant, deltas)),
            tuple(tf.constant(one, tf.float32) for one in anchors),
            tf.constant([SIZE], tf.float32),
        )
    )[0].numpy()
    candidates = []
    for scores, offsets, boxes in zip(logits, deltas, anchors, strict=True):
        top = np.argsort(-scores[0])[:40]
        decoded = [
            oracles.clip(oracles.decode(offsets[0, index], boxes[index]), SIZE) for index in top
        ]
        kept = [
            (scores[0, index], box)
            for index, box in zip(top, decoded, strict=True)
            if min(box[2] - box[0], box[3] - box[1]) >= 1e-3
            and 1 / (1 + np.exp(-scores[0, index])) >= 0.05
        ]
        survivors = oracles.greedy_nms([box for _, box in kept], [s for s, _ in kept], 0.7)[:15]
        candidates += [kept[index] for index in survivors]
    candidates.sort(key=lambda pair: -pair[0])
    expected = np.zeros((15, 4))
    expected[: len(candidates)] = [box for _, box in candidates[:15]]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_training_lowers_the_loss_and_reaches_every_layer(network):
    trainer = FasterRCNNTrainer(
        network,
        TrainConfig(learning_rate=0.01, frozen_layers=(), rpn_batch_size=32, roi_batch_size=16),
    )
    before = {id(one): one.numpy() for one in network.trainable_variables}
    step = tf.function(trainer.train_step)
    losses = [float(step(make_batch())["loss"]) for _ in range(6)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    for variable in network.trainable_variables:
        assert np.any(variable.numpy() != before[id(variable)]), variable.path


def test_mixed_precision_keeps_boxes_in_float32(toy_config):
    network = FasterRCNN(toy_config, 3, "mixed_bfloat16")
    trainer = FasterRCNNTrainer(network, TrainConfig(frozen_layers=(), rpn_batch_size=32))
    assert all(
        value.dtype == tf.float32 for value in trainer.compute_losses(make_batch(), True).values()
    )


def test_a_saved_model_answers_as_the_network(network, toy_config, tmp_path):
    from tf_frcnn.config import Config, DataConfig
    from tf_frcnn.export.saved_model import export_saved_model

    network = InferenceModel(network, ("cat", "dog", "duck"), 64, 96)
    config = Config(data=DataConfig(classes=network.class_names), model=toy_config)
    for frozen in (False, True):
        folder = export_saved_model(network, config, tmp_path / f"{frozen}", frozen=frozen)
        served = tf.saved_model.load(str(folder)).signatures["serving_default"]
        for size in (SIZE, (50, 40)):
            images = tf.constant(noise(2, size))
            expected = network.detect(images)
            assert int(expected["num_detections"][0]) > 0
            for name, value in served(images=images).items():
                if value.dtype != tf.string:
                    np.testing.assert_allclose(value, expected[name], atol=1e-3, err_msg=name)


@pytest.mark.parametrize("form", ["none", "int8"])
def test_a_tflite_file_answers_as_the_network(network, form):
    from tf_frcnn.tflite.conversion import Converter
    from tf_frcnn.tflite.interpreter import FileRunner

    network = InferenceModel(network, ("cat", "dog", "duck"), 64, 96)
    converter = Converter(network, SIZE)
    ranges = converter.find_ranges(noise(3)) if form == "int8" else None
    boxes, scores, classes = FileRunner(converter.convert(form, ranges)).detect(noise()[0])
    expected = network(noise()[0])
    assert len(expected[1]) > 0
    if form == "none":
        np.testing.assert_array_equal(classes, expected[2])
        np.testing.assert_allclose(boxes, expected[0], atol=1e-2)
        np.testing.assert_allclose(scores, expected[1], atol=1e-4)
    else:  # an untrained head has scores that nearly tie: how many there are tells enough
        assert abs(len(scores) - len(expected[1])) <= 6


def test_stages_are_timed(network):
    from tf_frcnn.benchmark.stages import time_stages

    network = InferenceModel(network, ("cat", "dog", "duck"), 64, 96)
    timings = time_stages(network, tf.constant(noise()), 0, 1)
    assert all(timing.median > 0 for timing in timings.values())
