"""`flip_at_test`: the network sees each image and its mirror image, in all that is built on it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tests.tflite.conftest import build_inference_model, noise
from tf_frcnn.benchmark.stages import time_stages
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.model import STAGES, FasterRCNN
from tf_frcnn.training.trainer import FasterRCNNTrainer

# Odd widths; in a batch, each is padded by other amounts.
SIZES = ((48, 61), (37, 81))
MOST = 300  # detections: more than there are
ADDED = ("add_mirrored", "join_mirrored")


@pytest.fixture(scope="module")
def plain(tiny_model_config):
    """Build a network whose answers tell places apart."""
    config = dataclasses.replace(tiny_model_config, max_detections=MOST, nms_iou=0.5)
    return build_inference_model(config).network


@pytest.fixture(scope="module")
def flipping(plain):
    """Build the same network, with the same weights, that sees mirror images too."""
    network = FasterRCNN(dataclasses.replace(plain.config, flip_at_test=True), plain.num_classes)
    network.set_weights(plain.get_weights())
    return network


@pytest.fixture(scope="module")
def images():
    return [noise(size, seed) for seed, size in enumerate(SIZES)]


def make_batch(images):
    """Pad images to a common size, at the bottom and the right -> what a network takes."""
    sizes = np.array([image.shape[:2] for image in images])
    batch = np.full((len(images), *sizes.max(axis=0), 3), 7.0, np.float32)
    for row, image in zip(batch, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    return tf.constant(batch), tf.constant(sizes, tf.float32)


def mirror(boxes, width):
    ymin, xmin, ymax, xmax = np.moveaxis(np.asarray(boxes, np.float64), -1, 0)
    return np.stack([ymin, width - xmax, ymax, width - xmin], axis=-1)


def detections_of(found, row):
    """List (class, score, box) of an image."""
    count = int(found["num_detections"][row])
    return [
        found[f"detection_{name}"][row, :count].numpy() for name in ("classes", "scores", "boxes")
    ]


def assert_same_detections(found, expected):
    """Compare class by class, in the order of boxes: of scores that nearly tie any comes first."""
    assert len(found[0]) == len(expected[0]) > 20
    by_place = [
        np.lexsort((*np.round(np.transpose(boxes), 1), classes))
        for classes, _, boxes in (found, expected)
    ]
    for value, wanted, atol in zip(found, expected, (0, 1e-5, 1e-2), strict=True):
        np.testing.assert_allclose(value[by_place[0]], wanted[by_place[1]], atol=atol, rtol=0)


def test_the_answer_to_a_mirror_image_is_the_mirror_image_of_the_answer(flipping, images):
    found = flipping(make_batch(images))
    of_mirrored = flipping(make_batch([image[:, ::-1] for image in images]))
    for row, (_, width) in enumerate(SIZES):
        classes, scores, boxes = detections_of(of_mirrored, row)
        assert_same_detections(detections_of(found, row), [classes, scores, mirror(boxes, width)])


def test_one_image_alone_does_not_answer_so(plain, images):
    # Else the test above could not fail.
    scores, of_mirrored = (
        plain(make_batch([one]))["detection_scores"].numpy()
        for one in (images[0], images[0][:, ::-1])
    )
    assert np.abs(scores - of_mirrored).max() > 1e-4


def look(network, image):
    """Run a network but for its last stage -> (scores [K, N], boxes [K, N, 4]) of an image."""
    inputs, sizes = make_batch([image])
    pixels = network.preprocessing((inputs, sizes))
    maps = (network.backbone(pixels),)
    anchors = network.anchor_generator((pixels, maps))
    proposals = network.proposal_layer((*network.rpn_head(maps), anchors, sizes))
    logits, deltas = network.box_head(network.roi_pooling((maps, proposals)))
    proposals = proposals[0].numpy()
    boxes = [
        [
            oracles.clip(oracles.decode(one, proposal, network.config.box_std), image.shape[:2])
            for one in of_proposal[1:]
        ]
        for of_proposal, proposal in zip(deltas[0].numpy(), proposals, strict=True)
    ]
    scores = oracles.softmax(logits[0])[:, 1:]
    return scores * (proposals[:, 2:] > proposals[:, :2]).all(axis=1)[:, None], np.array(boxes)


def test_it_is_one_nms_over_both_images(plain, flipping, images):
    for image in images:
        scores, boxes = look(plain, image)
        scores_m, boxes_m = look(plain, image[:, ::-1])
        scores = np.concatenate([scores, scores_m])
        boxes = np.concatenate([boxes, mirror(boxes_m, image.shape[1])])
        expected = []
        for one in range(plain.num_classes):
            valid = [
                index
                for index, box in enumerate(boxes[:, one])
                if oracles.area(box) > 0 and scores[index, one] > 0
            ]
            kept = oracles.greedy_nms(boxes[valid, one], scores[valid, one], plain.config.nms_iou)
            expected += [(one + 1, scores[valid[i], one], boxes[valid[i], one]) for i in kept]
        found = flipping(make_batch([image]))
        assert_same_detections(
            detections_of(found, 0), [np.array(column) for column in zip(*expected, strict=True)]
        )


def test_off_it_leaves_the_network_as_it_was(plain, flipping, images):
    assert not plain.config.flip_at_test
    assert not any(hasattr(plain, name) for name in ADDED)
    assert all(hasattr(flipping, name) for name in ADDED)
    assert list(named_weights(plain)) == list(named_weights(flipping))
    found = plain(make_batch([images[0]]))
    scores, _ = look(plain, images[0])
    of_both = flipping(make_batch([images[0]]))
    assert int(found["num_detections"][0]) < int(of_both["num_detections"][0])
    assert float(found["detection_scores"][0, 0]) == pytest.approx(scores.max(), abs=1e-5)


def test_training_sees_images_once(plain, flipping, images, tiny_train_config):
    inputs, sizes = make_batch(images)
    batch = {
        "images": inputs,
        "image_sizes": sizes,
        "gt_boxes": tf.constant([[[8, 10, 40, 60]], [[5, 6, 30, 40]]], tf.float32),
        "gt_classes": tf.constant([[1], [2]]),
        "seeds": tf.constant([[0, 1], [0, 2]]),
    }
    losses = [
        FasterRCNNTrainer(network, tiny_train_config).compute_losses(batch, False)
        for network in (plain, flipping)
    ]
    assert losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        np.testing.assert_array_equal(value, losses[1][name])


def test_a_network_is_built_again_from_its_configuration(flipping):
    again = FasterRCNN.from_config(flipping.get_config())
    assert again.config == flipping.config and again.config.flip_at_test


def test_a_keras_file_keeps_both_options(flipping, images, tmp_path):
    config = dataclasses.replace(flipping.config, soft_nms_sigma=0.5)
    network = FasterRCNN(config, flipping.num_classes)
    network.set_weights(flipping.get_weights())
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert again.config == config and again.detection_layer.soft_nms_sigma == 0.5
    found, expected = again(make_batch(images)), network(make_batch(images))
    np.testing.assert_array_equal(found["detection_scores"], expected["detection_scores"])
    # Nothing is dropped for its overlap, and D are answered of each image.
    assert np.all(found["num_detections"] > flipping(make_batch(images))["num_detections"])


def test_stages_are_timed(plain, flipping):
    model = build_inference_model(plain.config)
    model.network = flipping
    timings = time_stages(model, tf.constant(noise(SIZES[0])[None]), 0, 1)
    assert list(timings) == ["resizing", ADDED[0], *STAGES[:-1], ADDED[1], STAGES[-1]]
