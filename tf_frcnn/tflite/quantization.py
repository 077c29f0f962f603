"""What passes between the layers of a network: looked at for its range, or rounded to 8 bits.

For int8 the converter must know the range of every tensor that a convolution or a fully connected
layer takes or gives. It then computes these layers in 8 bits, and leaves all others as they are:
what has no range stays float. So ranges are given for exactly these tensors, which keeps boxes,
scores and NMS exact; the converter's own calibration would quantise them too.

Which tensors these are, the flow from layer to layer tells. The converter joins a normalisation
with the convolution before it, and then a ReLU or ReLU6, so what such a layer gives is what comes
out at the end of that chain. What it takes may come from any layer, such as a sum or a hard swish;
poolings pass the values on that they are given.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.layer_calls import Call, innermost_layers, wrapped_calls

Ranges = Mapping[str, tuple[float, float]]
"""Name of an observed tensor -> its smallest and largest value."""

WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
"""What is computed in 8 bits."""
# These give values that they were given, or means of some: TFLite has one scale before and after.
_PASSING_ON = (
    *(keras.layers.MaxPooling2D, keras.layers.AveragePooling2D, keras.layers.ZeroPadding2D),
    *(keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout),
)


@contextmanager
def observing(network: keras.Model, observer: "RangeObserver | RoundingObserver") -> Iterator[None]:
    """Have an observer look at the calls of all layers of backbone and heads.

    Args:
        network: its stages with weights are those; the names of the layers in them are unique.
        observer: is there while this lasts.
    """
    layers = [
        layer for stage in network.layers if stage.weights for layer in innermost_layers(stage)
    ]
    with wrapped_calls(layers, observer.wrap):
        yield


@dataclass(frozen=True, eq=False)
class _Passage:
    """A tensor on its way: what a layer made of others, or one that was given by name."""

    name: str
    layer: keras.layers.Layer | None
    inputs: list[tf.Tensor]
    output: tf.Tensor


class RangeObserver:
    """Looks at the tensors of one pass through a network, and passes them on."""

    def __init__(self) -> None:
        self._passages: list[_Passage] = []

    def __call__(self, name: str, tensor: tf.Tensor) -> tf.Tensor:
        """See `Observer`."""
        self._passages.append(_Passage(name, None, [], tensor))
        return tensor

    def wrap(self, layer: keras.layers.Layer, call: Call) -> Call:
        """See `wrapped_calls`."""

        def observed(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            inputs = [one for one in tf.nest.flatten((args, kwargs)) if tf.is_tensor(one)]
            self._passages.append(_Passage(layer.name, layer, inputs, output))
            return output

        return observed

    def extremes(self) -> dict[str, tf.Tensor]:
        """Give the ranges of the pass.

        Returns:
            Name of a tensor that int8 rounds -> [2] float32, its smallest and largest value; of a
            layer that is called several times, over all of its calls.
        """
        names = _rounded_names(self._passages)
        outputs: dict[str, list[tf.Tensor]] = {}
        for one in self._passages:
            if one.name in names:
                outputs.setdefault(one.name, []).append(one.output)
        return {
            name: tf.stack(
                [
                    tf.reduce_min([tf.reduce_min(tensor) for tensor in tensors]),
                    tf.reduce_max([tf.reduce_max(tensor) for tensor in tensors]),
                ]
            )
            for name, tensors in outputs.items()
        }


def _rounded_names(passages: list[_Passage]) -> set[str]:
    """Name the tensors that a layer with a kernel takes or gives, and those given by name."""
    giver = {id(one.output): one for one in passages}
    takers: dict[int, list[_Passage]] = {}
    for one in passages:
        for tensor in one.inputs:
            takers.setdefault(id(tensor), []).append(one)

    def is_joined(one: _Passage) -> bool:
        """Tell whether the converter joins a layer with the one before it."""
        before = giver.get(id(one.inputs[0])) if one.inputs else None
        if before is None or len(takers[id(before.output)]) > 1:
            return False
        is_bare = (
            isinstance(before.layer, WEIGHTED)
            and before.layer.activation is keras.activations.linear
        )
        if isinstance(one.layer, keras.layers.BatchNormalization):
            return is_bare
        is_normalised = isinstance(before.layer, keras.layers.BatchNormalization)
        return _cuts_off(one.layer) and (is_bare or (is_normalised and is_joined(before)))

    names = set()
    for one in passages:
        is_given = isinstance(one.layer, WEIGHTED) or is_joined(one)
        if one.layer is None or (
            is_given and not any(map(is_joined, takers.get(id(one.output), [])))
        ):
            names.add(one.name)
        if isinstance(one.layer, WEIGHTED):
            source = giver.get(id(one.inputs[0]))
            while source is not None and isinstance(source.layer, _PASSING_ON):
                source = giver.get(id(source.inputs[0]))
            if source is not None:
                names.add(source.name)
    return names


def _cuts_off(layer: keras.layers.Layer | None) -> bool:
    """Tell whether a layer is a ReLU or ReLU6, which TFLite has inside of a convolution."""
    if isinstance(layer, keras.layers.ReLU):
        options = layer.get_config()
        return options["max_value"] in (None, 6.0) and not (
            options["negative_slope"] or options["threshold"]
        )
    return isinstance(layer, keras.layers.Activation) and (
        layer.activation.__name__ in ("relu", "relu6")
    )


class RoundingObserver:
    """Rounds tensors to the 256 values of 8 bits between the ends of their ranges.

    Args of `__init__`: `ranges` of the tensors that are to be rounded; 0 counts as inside. Layers
    without a range are left as they are.
    """

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges

    def __call__(self, name: str, tensor: tf.Tensor) -> tf.Tensor:
        """See `Observer`."""
        smallest, largest = self.ranges[name]
        return tf.quantization.fake_quant_with_min_max_args(
            tensor, min(smallest, 0.0), max(largest, 0.0, smallest + _LEAST_RANGE)
        )

    def wrap(self, layer: keras.layers.Layer, call: Call) -> Call:
        """See `wrapped_calls`."""

        def rounded(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            return self(layer.name, output) if layer.name in self.ranges else output

        return rounded


# A tensor that is 0 in all calibration images would have no scale.
_LEAST_RANGE = 1e-3
