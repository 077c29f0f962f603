"""The innermost layers of a model, and what is done around their calls for a while."""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

Call = Callable[..., Any]


def innermost_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """List what a layer or a model consists of: the layers that have no layers in them."""
    return [
        one
        for one in layer._flatten_layers(include_self=True, recursive=True)
        if not any(True for _ in one._flatten_layers(include_self=False, recursive=True))
    ]


@contextmanager
def wrapped_calls(
    layers: Iterable[keras.layers.Layer], wrap: Callable[[keras.layers.Layer, Call], Call]
) -> Iterator[None]:
    """Put something around the `call` of layers while the block runs.

    Args:
        layers: each at most once.
        wrap: is given a layer and its `call`, and gives what is called in its place.
    """
    layers = list(layers)
    # Into the instance's dict, past Keras' own __setattr__, which keeps books of attributes.
    for layer in layers:
        vars(layer)["call"] = functools.wraps(layer.call)(wrap(layer, layer.call))
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["call"]
