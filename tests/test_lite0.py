"""`efficientnet_lite0_fpn`, from random weights: its settings, a training step, its 8-bit ranges.

That its trunk is the published one is in `pretrained/test_trunks.py`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.commands.train import parse_arguments
from tf_frcnn.model import FasterRCNN, as_maps
from tf_frcnn.tflite.quantization import WEIGHTED, RangeObserver, observing
from tf_frcnn.training.trainer import FasterRCNNTrainer

NAME = "efficientnet_lite0_fpn"
SIZE = (60, 90)


@pytest.fixture(scope="module")
def config():
    return parse_arguments(["finetune", "--model.architecture", NAME]).config


@pytest.fixture
def network(config):
    keras.utils.set_random_seed(0)
    return FasterRCNN(config.model, 3)


def make_batch():
    images = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3))
    return {
        "images": tf.constant(images, tf.float32),
        "image_sizes": tf.constant([SIZE], tf.float32),
        "gt_boxes": tf.constant([[[8, 10, 40, 60], [30, 50, 60, 90]]], tf.float32),
        "gt_classes": tf.constant([[1, 2]]),
        "seeds": tf.constant([[0, 0]]),
    }


def test_four_maps_of_which_three_are_pooled_from(network):
    # 60 x 90 px are padded to 64 x 96; the last map is every second cell of the one before.
    batch = make_batch()
    pixels = network.preprocessing((batch["images"], batch["image_sizes"]))
    maps = as_maps(network.backbone(pixels))
    assert [one.shape[1:] for one in maps] == [(8, 12, 96), (4, 6, 96), (2, 3, 96), (1, 2, 96)]
    assert network.roi_pooling.strides == (8, 16, 32)


def test_a_step_trains_all_but_what_is_frozen(network, config):
    trainer = FasterRCNNTrainer(network, config.train)
    before = {id(one): one.numpy() for one in network.weights}
    losses = tf.function(trainer.train_step)(make_batch())
    assert all(np.isfinite(value) for value in losses.values())
    # Kept: stem and blocks 0 to 2 (8 kernels, of which block 0 has no expansion), the depthwise
    # kernels of the 13 other blocks, and all 48 normalisations with two variables and two
    # statistics each.
    kept = [one for one in network.weights if np.array_equal(one.numpy(), before[id(one)])]
    assert len(kept) == 1 + 2 + 3 + 3 + 13 + 48 * 4
    assert len(network.trainable_variables) == len(network.weights) - len(kept)


def test_int8_knows_the_range_of_what_every_convolution_gives(network):
    """Normalisation and ReLU6 are joined with the convolution before; sums stand by themselves."""
    batch = make_batch()
    observer = RangeObserver()
    with observing(network, observer):
        network.backbone(network.preprocessing((batch["images"], batch["image_sizes"])))
    names = set(observer.extremes())
    trunk = [
        layer.name
        for layer in network.backbone.layers
        if isinstance(layer, WEIGHTED) and not layer.name.startswith("fpn")
    ]
    assert len(trunk) == 48
    expected = {f"bn_{name}" if name.endswith("_project") else f"{name}_relu6" for name in trunk}
    sums = {f"block{number:02d}_add" for number in (2, 4, 6, 7, 9, 10, 12, 13, 14)}
    assert {name for name in names if not name.startswith("fpn")} == expected | sums
