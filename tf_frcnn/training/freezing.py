"""Layers that are not trained, by the beginnings of their names."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_frcnn.errors import ConfigError

_OPTION = "--train.frozen-layers"


def freeze_layers(network: keras.Model, names: Sequence[str]) -> None:
    """Freeze the layers with weights, of backbone and heads, whose name starts with one of `names`.

    Frozen batch normalisation uses its moving statistics and leaves them as they are.

    Args:
        network: built; its layers' `trainable` is set, and never set back.
        names: beginnings of names: `block1` freezes block1_conv1 and block1_conv2, `backbone`,
            `rpn_head` and `box_head` a whole stage.

    Raises:
        ConfigError: a name is no layer's beginning, or nothing is left to train.
    """
    check_trainable(network)
    layers = _layers_with_weights(network)
    for name in names:
        matching = [layer for layer in layers if layer.name.startswith(name)]
        if not matching:
            known = ", ".join(layer.name for layer in layers)
            raise ConfigError(
                f"{_OPTION} {name}: no layer's name starts so. Expected beginnings of: {known}."
            )
        for layer in matching:
            layer.trainable = False
    if not network.trainable_variables:
        raise ConfigError(
            f"{_OPTION} {' '.join(names)}: no layer is left to train. Name fewer layers."
        )


def check_trainable(network: keras.Model) -> None:
    """See that there is something to train.

    Raises:
        ConfigError: no variable of the network is trainable.
    """
    if not network.trainable_variables:
        raise ConfigError(
            "network: nothing of it is trainable. Expected some layers whose trainable is True: "
            "set network.trainable = True, or that of the layers to train."
        )


def _layers_with_weights(network: keras.Model) -> list[Any]:
    """List stages and the layers in them, leaving out those in which nothing can be frozen."""
    layers = network._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in layers if layer.weights]
