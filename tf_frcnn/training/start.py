"""What the weights of a new run start from: ImageNet, or a detector of another training."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import Config
from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.errors import WeightsError
from tf_frcnn.inference import load_network
from tf_frcnn.layers.heads.box_head import CLASS_LAYERS
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import find_start
from tf_frcnn.pretrained.keras_applications import load_backbone_weights
from tf_frcnn.pretrained.trunk_weights import load_trunk
from tf_frcnn.pretrained.trunks import NO_WEIGHTS, TrunkFile

logger = logging.getLogger(__name__)


def start_network(network: FasterRCNN, config: Config) -> None:
    """Give a new network the weights that it is to start from, and log what it got.

    Args:
        network: built for the configuration.
        config: of the run, classes filled in; `train.start_from` says where weights are from.

    Raises:
        WeightsError: they cannot be found or read, or nothing of them fits the network's backbone.
            The network is unchanged.
        ConfigError: the configuration of the other training cannot be read.
    """
    source = config.train.start_from
    found = find_start(source, config.model.architecture, config.train.start_from_epsilon)
    if found is None:
        logger.info("%s", load_backbone_weights(network, source))
        if source == NO_WEIGHTS:
            _log_what_is_trained(config)
        return
    if isinstance(found, TrunkFile):
        logger.info("%s", load_trunk(network, found))
        return
    model = load_network(found)
    left, common = take_weights(
        network, config.data.classes, model.network, model.class_names, source
    )
    new = [name for name in config.data.classes if name not in common]
    logger.info(
        "Weights from %s (%s). Classes taken by name: %s; at random: %s. Other layers at random: "
        "%s.",
        *(source, model.network.config.architecture),
        *(enumerate_names(names) or "none" for names in (common, new, left)),
    )


def _log_what_is_trained(config: Config) -> None:
    """Say whether layers keep the random weights that they start with."""
    train, num_stages = config.train, len(ARCHITECTURES[config.model.architecture].stages)
    if train.frozen_layers or train.trainable_stages not in (None, num_stages):
        logger.warning(
            "--train.start-from %s: layers that are not trained keep random weights", NO_WEIGHTS
        )
    elif train.normalization == "batch":
        logger.info("All layers are trained.")


def take_weights(
    network: FasterRCNN,
    class_names: Sequence[str],
    other: FasterRCNN,
    other_names: Sequence[str],
    source: str,
) -> tuple[list[str], list[str]]:
    """Take the weights of another network, where layers have the same name and shape.

    Of the box head's last layers, which have numbers for each class, those of the background and of
    the classes that both have are taken, by the classes' names.

    Args:
        network: takes them.
        class_names: its classes 1..N.
        other: unchanged.
        other_names: its classes.
        source: where the other is from, for messages.

    Returns:
        Names of the layers that keep their random start, and the classes that were taken.

    Raises:
        WeightsError: nothing of the backbone fits. The network is unchanged.
    """
    own, theirs = named_weights(network), named_weights(other)
    common = [name for name in class_names if name in other_names]
    rows = _columns(network, class_names), _columns(other, other_names)
    pairs = [(0, 0), *((rows[0][name], rows[1][name]) for name in common)]
    values, left = {}, []
    for name, variable in own.items():
        layer = name.split("/")[0]
        found = theirs.get(name)
        if layer in CLASS_LAYERS and found is not None:
            if variable.shape[:-1] == found.shape[:-1]:
                values[name] = _take_classes(variable, found, pairs, layer == "box_deltas")
                continue
        elif found is not None and variable.shape == found.shape:
            values[name] = np.asarray(found)
            continue
        left.append(layer)
    backbone = set(named_weights(network.backbone))
    if not backbone & set(values):
        raise WeightsError(
            f"--train.start-from {source}: is a {other.config.architecture} of which nothing fits "
            f"the backbone of {network.config.architecture}. Give --model.architecture "
            f"{other.config.architecture}, or other weights."
        )
    for name, value in values.items():
        own[name].assign(value)
    return list(dict.fromkeys(left)), common


def _columns(network: FasterRCNN, class_names: Sequence[str]) -> dict[str, int]:
    """Find the box head's column of each class."""
    columns = network.config.class_columns(len(class_names))
    return dict(zip(class_names, columns, strict=True))


def _take_classes(
    variable: Any,
    found: Any,
    pairs: Sequence[tuple[int, int]],
    of_boxes: bool,
) -> np.ndarray:
    """Copy the columns of classes -> the variable's value with those of the other network."""
    value, other = np.asarray(variable).copy(), np.asarray(found)
    numbers = 4 if of_boxes else 1
    value = value.reshape(*value.shape[:-1], -1, numbers)
    other = other.reshape(*other.shape[:-1], -1, numbers)
    for own_column, other_column in pairs:
        value[..., own_column, :] = other[..., other_column, :]
    return value.reshape(variable.shape)
