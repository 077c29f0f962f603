"""What a new run takes from another detector: by layer and shape, and classes by name."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.seeded import seeded_array
from tests.pretrained.torch_writer import contiguous, write
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.commands.train import parse_arguments
from tf_frcnn.config import load_config
from tf_frcnn.errors import WeightsError
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import find_start
from tf_frcnn.training.start import start_network, take_weights

FIXTURES = Path(__file__).parents[1] / "fixtures"
NONE = ("--train.start-from", "none")
NAMES, OTHER_NAMES = ("dog", "owl", "cat"), ("cat", "dog", "duck")


@pytest.fixture(scope="module")
def networks(tiny_config):
    return FasterRCNN(tiny_config.model, 3), FasterRCNN(tiny_config.model, 3)


def values(network):
    return {name: np.asarray(value).copy() for name, value in named_weights(network).items()}


def test_classes_are_taken_by_name(networks):
    network, other = networks
    before, theirs = values(network), values(other)
    left, common = take_weights(network, NAMES, other, OTHER_NAMES, "there")
    after = values(network)
    assert (left, common) == ([], ["dog", "cat"])
    for name, value in theirs.items():
        if name.split("/")[0] not in ("box_classes", "box_deltas"):
            np.testing.assert_array_equal(after[name], value, err_msg=name)
    # Columns here: background, dog, owl, cat; there: background, cat, dog, duck.
    for layer, numbers in (("box_classes", 1), ("box_deltas", 4)):
        now, old, from_there = (
            one[f"{layer}/kernel"].reshape(-1, 4, numbers) for one in (after, before, theirs)
        )
        for column, column_there in ((0, 0), (1, 2), (3, 1)):
            np.testing.assert_array_equal(now[:, column], from_there[:, column_there])
        np.testing.assert_array_equal(now[:, 2], old[:, 2])  # no owl there


def test_columns_without_a_class_are_passed_over(tiny_config):
    model = dataclasses.replace(tiny_config.model, unused_columns=(2,))
    network, other = FasterRCNN(tiny_config.model, 2), FasterRCNN(model, 2)
    take_weights(network, ("b", "a"), other, ("a", "b"), "there")
    # There: background, a, unused, b.
    ours, theirs = (values(one)["box_classes/bias"] for one in (network, other))
    kernel, their_kernel = (values(one)["box_classes/kernel"] for one in (network, other))
    np.testing.assert_array_equal(kernel, their_kernel[:, [0, 3, 1]])
    np.testing.assert_array_equal(ours, theirs[[0, 3, 1]])


def test_what_has_another_shape_starts_at_random(tiny_config, networks):
    model = dataclasses.replace(tiny_config.model, anchor_sizes=(16.0,))
    network, other = FasterRCNN(model, 3), networks[1]
    left, _ = take_weights(network, NAMES, other, OTHER_NAMES, "there")
    assert sorted(left) == ["rpn_deltas", "rpn_objectness"]


def test_another_architecture_changes_nothing(tiny_config):
    quarter = FasterRCNN(tiny_config.model, 3)
    other = FasterRCNN.from_preset("fasterrcnn_mobilenet_v3_large_320_fpn", 3)
    before = values(quarter)
    with pytest.raises(
        WeightsError,
        match=r"start-from there: is a fasterrcnn_mobilenet_v3_large_320_fpn of which nothing",
    ):
        take_weights(quarter, NAMES, other, OTHER_NAMES, "there")
    for name, value in values(quarter).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_run_starts_from_another(finished_run, tiny_config, caplog):
    source = str(finished_run.output)
    arguments = ["finetune", "--train.start-from", source, "--data.classes", "duck", "cat"]
    config = parse_arguments(arguments).config
    trained = load_config(finished_run.output / "config.json")
    # The network and the sizes of images are those of the run; the rest is the preset's.
    assert config.model == trained.model
    assert config.data.short_side == trained.data.short_side
    assert (config.train.frozen_layers, config.train.steps) == (("block1", "block2"), 2000)
    network = FasterRCNN(config.model, 2)
    with caplog.at_level(logging.INFO):
        start_network(network, config)
    assert f"Weights from {source} (vgg16_quarter)" in caplog.text
    assert "Classes taken by name: duck, cat; at random: none. Other layers at random: none." in (
        caplog.text
    )


@pytest.mark.parametrize("source", ["none", "imagenet", "vgg16.h5", "nowhere"])
def test_what_is_no_detector(source):
    assert find_start(source, "vgg16") is None


def test_a_published_detector_brings_its_network():
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    config = parse_arguments(["finetune", "--train.start-from", name]).config
    assert (config.model.architecture, config.train.start_from) == (name, name)
    assert (config.data.short_side, config.data.long_side) == (320, 640)
    train = config.train
    assert (train.frozen_layers, train.trainable_stages, train.normalization) == ((), 3, "frozen")
    assert config.model.unused_columns == ()


def test_a_file_of_torch_needs_an_architecture_that_takes_one(tmp_path):
    with pytest.raises(
        WeightsError, match=r"a.pth: is a file of torch, and vgg16 takes none. Give"
    ):
        find_start(str(tmp_path / "a.pth"), "vgg16")


LITE0, RESNET = "efficientnet_lite0_fpn", "fasterrcnn_resnet50_fpn"
# What is kept: layers by name, the number of stages that are trained, and normalisation.
NOTHING, TORCHVISIONS = ((), None, "batch"), ((), 3, "frozen")
LITE0S = (tuple(f"block{number:02d}_depthwise" for number in range(3, 16)), 3, "frozen")
OF_TRUNK = (("bn_conv1", "bn_layer"), 3, "batch")


def kept(arguments):
    train = parse_arguments(["finetune", *arguments]).config.train
    return train.start_from, (train.frozen_layers, train.trainable_stages, train.normalization)


@pytest.mark.parametrize(
    ("options", "source", "frozen"),
    [
        # By default what the architecture says: ImageNet for Lite0, nothing for torchvision's.
        (("--model.architecture", LITE0), "imagenet", LITE0S),
        (("--model.architecture", RESNET), "none", NOTHING),
        # Without weights there is nothing worth keeping.
        (("--model.architecture", LITE0, *NONE), "none", NOTHING),
        (NONE, "none", NOTHING),
        ((*NONE, "--train.frozen-layers", "block1"), "none", (("block1",), None, "batch")),
        (
            ("--model.architecture", RESNET, "--train.start-from", "imagenet"),
            "imagenet",
            TORCHVISIONS,
        ),
        # The normalisation of pyramid and head is not ImageNet's.
        (
            ("--model.architecture", f"{RESNET}_v2", "--train.start-from", "imagenet"),
            "imagenet",
            OF_TRUNK,
        ),
        (
            ("--train.start-from", "imagenet"),
            "imagenet",
            (("block1", "block2"), None, "batch"),
        ),
    ],
)
def test_what_is_frozen_goes_with_the_start(options, source, frozen):
    assert kept(options) == (source, frozen)


def test_a_file_is_told_by_its_keys(tmp_path):
    """A trunk's file and a detector's freeze what goes with each."""
    name = f"{RESNET}_v2"
    options = ["--model.architecture", name, "--train.start-from"]
    for key, frozen in (
        ("fc.weight", OF_TRUNK),
        ("roi_heads.box_predictor.cls_score.bias", ((), 3, "auto")),
    ):
        array = np.zeros(91, np.float32)
        path = write(tmp_path / f"{key}.pth", {key: contiguous("0", (91,))}, {"0": array}, False)
        assert kept([*options, str(path)]) == (str(path), frozen)
    # What is not there is told when it is looked for.
    assert kept([*options, str(tmp_path / "no.pth")])[1] == NOTHING
    with pytest.raises(WeightsError, match=r"no.pth: it cannot be read \(No such file"):
        find_start(str(tmp_path / "no.pth"), name)


def test_a_network_starts_from_a_trunk(tmp_path, caplog):
    with np.load(FIXTURES / "lite0_maps.npz") as file:
        shapes = json.loads(str(file["shapes"]))
    views, storages = {}, {}
    for number, (key, shape) in enumerate(shapes.items()):
        storages[str(number)] = np.ravel(np.asarray(seeded_array(key, shape), np.float32))
        views[key] = contiguous(str(number), shape)
    path = write(tmp_path / "lite0.pth", views, storages, legacy=True)
    options = ["--model.architecture", LITE0, "--train.start-from", str(path)]
    config = parse_arguments(["finetune", *options]).config
    network = FasterRCNN(config.model, 2)
    before = values(network)
    with caplog.at_level(logging.INFO):
        start_network(network, config)
    assert f"Weights from {path} (EfficientNet-Lite0): the whole trunk; not used" in caplog.text
    changed = {
        name.split("/")[0]
        for name, value in values(network).items()
        if not np.array_equal(value, before[name])
    }
    trunk = {
        layer.name
        for layer in network.backbone.layers
        if layer.weights and not layer.name.startswith("fpn")
    }
    assert changed == trunk


@pytest.mark.parametrize(
    "options",
    ["fasterrcnn_resnet50_fpn_v2", "vgg16_quarter", "vgg16_quarter --train.trainable-stages 5"],
)
def test_nothing_to_start_from(options, tiny_config, caplog):
    typed = ["finetune", "--model.architecture", *options.split(), *NONE]
    config = parse_arguments(typed).config
    network = FasterRCNN(config.model, 2)
    with caplog.at_level(logging.INFO):
        start_network(network, config)
    assert "No weights loaded (none)" in caplog.text
    assert "All layers are trained." in caplog.text


@pytest.mark.parametrize("kept", ["--train.frozen-layers block1", "--train.trainable-stages 3"])
def test_layers_that_are_kept_at_random_are_told(kept, tiny_config, caplog):
    config = parse_arguments(["finetune", *NONE, *kept.split()]).config
    start_network(FasterRCNN(tiny_config.model, 2), config)
    assert (
        "--train.start-from none: layers that are not trained keep random weights"
    ) in caplog.text and "All layers" not in caplog.text
