"""What passes between the layers of a network: looked at for its range, or rounded to 8 bits.

For int8 the converter must know the range of every tensor that a convolution or a fully connected
layer takes or gives. It then computes these layers in 8 bits, and leaves all others as they are:
what has no range stays float. So ranges are given for exactly these tensors, which keeps boxes,
scores and NMS exact; the converter's own calibration would quantise them too.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.tflite.network import Observer

Ranges = Mapping[str, tuple[float, float]]
"""Name of an observed tensor -> its smallest and largest value."""


@contextmanager
def observing(network: keras.Model, observe: Observer) -> Iterator[None]:
    """Have an observer look at what each layer with a kernel gives, after its activation.

    Where a normalisation follows, which the converter joins with the convolution before it, what
    counts is the activation after both.

    Args:
        network: its layers call the observer with their own names while this lasts.
        observe: returns the tensor to go on with.
    """
    layers = [
        layer
        for layer in network._flatten_layers(include_self=False, recursive=True)
        if _gives_what_is_quantised(layer, network)
    ]
    for layer in layers:
        # Over the method, for this one layer: it lies in the instance, not in the class.
        vars(layer)["call"] = _observed_call(layer, observe)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["call"]


def _observed_call(layer: keras.layers.Layer, observe: Observer) -> Any:
    call = layer.call

    def observed(*args: Any, **kwargs: Any) -> tf.Tensor:
        return observe(layer.name, call(*args, **kwargs))

    return observed


def _gives_what_is_quantised(layer: keras.layers.Layer, network: keras.Model) -> bool:
    if isinstance(layer, keras.layers.ReLU):
        return True
    is_weighted = isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    names = {other.name for other in network.backbone.layers}
    return is_weighted and f"{layer.name}_bn" not in names


class RangeObserver:
    """Looks at tensors and passes them on.

    Attributes:
        extremes: name of a tensor -> [2] float32, its smallest and largest value.
    """

    def __init__(self) -> None:
        self.extremes: dict[str, tf.Tensor] = {}

    def __call__(self, name: str, tensor: tf.Tensor) -> tf.Tensor:
        """See `Observer`."""
        self.extremes[name] = tf.stack([tf.reduce_min(tensor), tf.reduce_max(tensor)])
        return tensor


class RoundingObserver:
    """Rounds tensors to the 256 values of 8 bits between the ends of their ranges.

    Args of `__init__`: `ranges` of all tensors that it will be given; 0 counts as inside.
    """

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges

    def __call__(self, name: str, tensor: tf.Tensor) -> tf.Tensor:
        """See `Observer`."""
        smallest, largest = self.ranges[name]
        return tf.quantization.fake_quant_with_min_max_args(
            tensor, min(smallest, 0.0), max(largest, 0.0, smallest + _LEAST_RANGE)
        )


# A tensor that is 0 in all calibration pictures would have no scale.
_LEAST_RANGE = 1e-3
