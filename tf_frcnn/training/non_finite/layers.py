"""How large the numbers of each layer are: outputs, weights, gradients."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Magnitude:
    """What is said of an array, or of several together.

    Attributes:
        largest: absolute value, of the finite ones; 0 where there are none.
        not_finite: share of the values that are NaN or infinite, from 0 to 1.
    """

    largest: float
    not_finite: float

    @property
    def is_finite(self) -> bool:
        """Whether no value is NaN or infinite."""
        return self.not_finite == 0.0


def measure(arrays: list[Any]) -> Magnitude:
    """Measure arrays together.

    Args:
        arrays: of any shape, of float32 or less, or tensors; may be none, and may be empty.
    """
    largest, num_bad, num_all = 0.0, 0, 0
    for array in arrays:
        values = np.asarray(array).astype(np.float32, copy=False)
        finite = np.isfinite(values)
        num_bad += int(values.size - np.count_nonzero(finite))
        num_all += values.size
        # Both ends, because np.abs would copy the 103 million weights of the first FC layer.
        high = float(np.max(values, where=finite, initial=0.0))
        largest = max(largest, high, -float(np.min(values, where=finite, initial=0.0)))
    return Magnitude(largest, num_bad / max(num_all, 1))


@dataclass(frozen=True)
class LayerOutput:
    """What a layer answered.

    Attributes:
        dtype: of the output.
        magnitude: of its numbers.
    """

    dtype: str
    magnitude: Magnitude


@contextmanager
def recorded_outputs(model: keras.Model) -> Iterator[dict[str, LayerOutput]]:
    """Measure what each innermost layer of a model answers while the block runs it eagerly.

    Args:
        model: its layers' names are unique.

    Yields:
        Layer -> output, in the order of the calls; a layer that is called twice has its last.
    """
    outputs: dict[str, LayerOutput] = {}
    layers = [
        layer
        for layer in model._flatten_layers(include_self=False, recursive=True)
        if not any(True for _ in layer._flatten_layers(include_self=False, recursive=True))
    ]
    # Into the instance's dict, past Keras' own __setattr__, which keeps books of attributes.
    for layer in layers:
        layer.__dict__["call"] = _recording(layer.call, layer.name, outputs)
    try:
        yield outputs
    finally:
        for layer in layers:
            del layer.__dict__["call"]


def _recording(
    call: Callable[..., Any], name: str, outputs: dict[str, LayerOutput]
) -> Callable[..., Any]:
    @functools.wraps(call)
    def call_and_record(*args: Any, **kwargs: Any) -> Any:
        answer = call(*args, **kwargs)
        numbers = [value for value in tf.nest.flatten(answer) if value.dtype.is_floating]
        if numbers:
            outputs[name] = LayerOutput(numbers[0].dtype.name, measure(numbers))
        return answer

    return call_and_record
