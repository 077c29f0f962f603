"""How large the numbers of each layer are: outputs, weights, gradients."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_frcnn.layer_calls import Call, innermost_layers, wrapped_calls


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
    """What a layer answered, in all of its calls.

    Attributes:
        dtype: of the output.
        magnitude: of its numbers.
        count: of its numbers.
    """

    dtype: str
    magnitude: Magnitude
    count: int


@contextmanager
def recorded_outputs(model: keras.Model) -> Iterator[dict[str, LayerOutput]]:
    """Measure what each innermost layer of a model answers while the block runs it eagerly.

    Args:
        model: its layers' names are unique.

    Yields:
        Layer -> output, in the order of the first calls. A layer that is called on several maps, as
        a head that they share, is measured over all of them.
    """
    outputs: dict[str, LayerOutput] = {}
    with wrapped_calls(innermost_layers(model), functools.partial(_recording, outputs)):
        yield outputs


def _recording(outputs: dict[str, LayerOutput], layer: keras.layers.Layer, call: Call) -> Call:
    def call_and_record(*args: Any, **kwargs: Any) -> Any:
        answer = call(*args, **kwargs)
        numbers = [value for value in tf.nest.flatten(answer) if value.dtype.is_floating]
        if numbers:
            count = sum(int(tf.size(value)) for value in numbers)
            output = LayerOutput(numbers[0].dtype.name, measure(numbers), count)
            known = outputs.get(layer.name)
            outputs[layer.name] = output if known is None else _join(known, output)
        return answer

    return call_and_record


def _join(one: LayerOutput, other: LayerOutput) -> LayerOutput:
    """Measure two outputs of a layer together; its policy gives both the same dtype."""
    count = one.count + other.count
    num_bad = sum(part.magnitude.not_finite * part.count for part in (one, other))
    largest = max(one.magnitude.largest, other.magnitude.largest)
    return LayerOutput(one.dtype, Magnitude(largest, num_bad / max(count, 1)), count)
