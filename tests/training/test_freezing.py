"""Layers that are not trained: by name, anywhere in the network."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.test_trainer import TWO_IMAGES, make_batch
from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import TrainConfig
from tf_frcnn.errors import ConfigError
from tf_frcnn.model import FasterRCNN
from tf_frcnn.training import freezing
from tf_frcnn.training.trainer import FasterRCNNTrainer


def freeze_layers(network, names=(), **options):
    freezing.freeze_layers(network, TrainConfig(frozen_layers=names, **options))


@pytest.fixture(scope="module")
def one_detector(tiny_model_config):
    return FasterRCNN(tiny_model_config, num_classes=3)


@pytest.fixture
def network(one_detector):
    """Give the one network with nothing frozen."""
    for layer in one_detector._flatten_layers():  # a stage alone would not pass it on
        layer.trainable = True
    return one_detector


def trained(network):
    """List the names of the layers with trainable variables, of convolutions without the rest."""
    layers = network._flatten_layers(include_self=False, recursive=True)
    return [
        layer.name
        for layer in layers
        if layer.trainable_variables
        and not layer.name.endswith("_bn")
        and not any(True for _ in layer._flatten_layers(include_self=False))
    ]


HEADS = ["rpn_conv", "rpn_objectness", "rpn_deltas", "fc1", "fc2", "box_classes", "box_deltas"]
CONVS = [f"block{block}_conv{conv}" for block in range(1, 6) for conv in range(1, 3 + (block > 2))]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), CONVS + HEADS),
        (("block1", "block2"), CONVS[4:] + HEADS),
        (("block5_conv3",), CONVS[:-1] + HEADS),
        (("backbone", "rpn_head"), HEADS[3:]),
        (
            ("rpn_conv", "fc"),
            CONVS + ["rpn_objectness", "rpn_deltas", "box_classes", "box_deltas"],
        ),
        (("box_head",), CONVS + HEADS[:3]),
        (
            ("box_d", "rpn_d"),
            CONVS + ["rpn_conv", "rpn_objectness", "fc1", "fc2", "box_classes"],
        ),
    ],
)
def test_names_and_beginnings_of_names(network, names, expected):
    freeze_layers(network, names)
    assert sorted(trained(network)) == sorted(expected)


# A pooling has no weights: to freeze it would be to freeze nothing.
@pytest.mark.parametrize("name", ["blok1", "block1_pool", "conv1", "proposals"])
def test_a_name_that_freezes_nothing_is_told_with_those_that_would(network, name):
    with pytest.raises(ConfigError) as caught:
        freeze_layers(network, ("block1", name))
    message = str(caught.value)
    assert message.startswith(f"--train.frozen-layers {name}: no layer's name starts so.")
    for known in ("backbone", "block5_conv3", "rpn_conv", "box_head", "fc1"):
        assert known in message


def test_something_must_be_left_to_train(network):
    with pytest.raises(ConfigError, match="backbone rpn_head box_head: no layer is left to train"):
        freeze_layers(network, ("backbone", "rpn_head", "box_head"))


@pytest.mark.parametrize(("trainable", "first"), [(5, 0), (3, 4), (0, 13)])
def test_stages_are_counted_from_the_end(network, trainable, first):
    # Blocks 1 and 2 have two convolutions each, all five have thirteen.
    freeze_layers(network, trainable_stages=trainable)
    assert sorted(trained(network)) == sorted(CONVS[first:] + HEADS)


def test_more_stages_than_there_are(network):
    with pytest.raises(ConfigError, match=r"trainable-stages 6: expected at most 5, the stages of"):
        freeze_layers(network, trainable_stages=6)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "vgg16"])
def test_every_layer_of_a_backbone_is_in_one_stage(name):
    architecture = ARCHITECTURES[name]
    beginnings = [name for stage in architecture.stages for name in stage]
    in_stages = {beginning: 0 for beginning in beginnings}
    for layer in architecture.backbone("float32").layers:
        if layer.weights and not layer.name.removeprefix("bn_").startswith("fpn"):
            [beginning] = [
                one for one in beginnings if layer.name.removeprefix("bn_").startswith(one)
            ]
            in_stages[beginning] += 1
    assert all(in_stages.values())


def test_torchvisions_stages():
    # Its trainable_layers 3 leaves conv1, bn1 and layer1 as they are, and features 0 to 6.
    resnet, mobilenet = (
        ARCHITECTURES[f"fasterrcnn_{name}_fpn"].stages
        for name in ("resnet50", "mobilenet_v3_large")
    )
    assert resnet[:-3] == (("conv1",), ("layer1",))
    assert sum(mobilenet[:-3], ()) == tuple(f"features{number:02d}" for number in range(7))


def test_statistics_of_several_replicas_are_not_compiled(network, monkeypatch):
    two = SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: two)
    with pytest.raises(ConfigError, match="jit-compile: 2 replicas .* --train.normalization froz"):
        freeze_layers(network, jit_compile=True)
    freeze_layers(network, jit_compile=True, normalization="frozen")


@pytest.mark.parametrize(
    ("normalization", "batch_size", "is_frozen"),
    [("batch", 1, False), ("frozen", 64, True), ("auto", 7, True), ("auto", 8, False)],
)
def test_normalization_goes_by_the_batch_or_is_frozen(
    network, normalization, batch_size, is_frozen
):
    freeze_layers(network, normalization=normalization, batch_size=batch_size)
    norms = [layer for layer in network.backbone.layers if layer.name.endswith("_bn")]
    assert len(norms) == 13
    assert {layer.trainable for layer in norms} == {not is_frozen}


def test_a_network_without_normalization_says_that_the_option_changes_nothing(
    tiny_model_config, caplog
):
    network = FasterRCNN(dataclasses.replace(tiny_model_config, architecture="vgg16"), 3)
    for normalization in ("batch", "frozen", "auto"):
        caplog.clear()
        freeze_layers(network, normalization=normalization)
        said = f"--train.normalization {normalization}: the network has no batch normalisation"
        assert (said in caplog.text) == (normalization != "batch")


def test_a_frozen_stage_keeps_its_numbers_and_its_statistics_follow_the_batch(
    tiny_model_config, tiny_train_config
):
    network = FasterRCNN(tiny_model_config, num_classes=3)
    config = dataclasses.replace(tiny_train_config, frozen_layers=(), trainable_stages=4)
    trainer = FasterRCNNTrainer(network, config)
    weights = {
        name: value for name, value in named_weights(network).items() if name.startswith("block1_")
    }
    before = {name: value.numpy() for name, value in weights.items()}
    trainer.train_step(make_batch(TWO_IMAGES))
    moved = {name for name, value in weights.items() if np.any(value.numpy() != before[name])}
    assert moved == {
        f"block1_conv{conv}_bn/moving_{which}" for conv in (1, 2) for which in ("mean", "variance")
    }
