"""Layers that are not trained: by name, anywhere in the network."""

import pytest

from tf_frcnn.errors import ConfigError
from tf_frcnn.model import FasterRCNN
from tf_frcnn.training.freezing import freeze_layers


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
