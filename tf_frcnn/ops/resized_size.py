"""The size at which an image enters a network: the rule in plain numbers and in the graph.

The shorter side becomes `short_side`, unless the longer one would then exceed `long_side`. The two
functions agree to the pixel, so that a size can be told before TensorFlow is loaded. How sides are
rounded is part of the rule, for weights were trained with it:

- "nearest": to the nearest whole number, halves to even, all in float32;
- "floor": down, all in float64, as the detectors of torchvision do.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Rounding = Literal["nearest", "floor"]


def resized_size(
    image_size: tuple[int, int], short_side: int, long_side: int, rounding: Rounding = "nearest"
) -> tuple[int, int]:
    """Compute the size at which an image enters the network.

    Args:
        image_size: (height, width) of the image in pixels.
        short_side: pixels.
        long_side: pixels, at least `short_side`.
        rounding: of the sides; see the module.

    Returns:
        (height, width) in pixels, each at least 1.
    """
    number, whole = (np.float32, np.round) if rounding == "nearest" else (np.float64, np.floor)
    sides = np.asarray(image_size, number)
    scale = min(number(short_side) / sides.min(), number(long_side) / sides.max())
    height, width = (max(int(side), 1) for side in whole(sides * scale))
    return height, width


def resized_size_in_graph(
    image_size: "tf.Tensor",
    short_side: int,
    long_side: int,
    factor: "float | tf.Tensor" = 1.0,
    rounding: Rounding = "nearest",
) -> "tf.Tensor":
    """Compute what `resized_size` does, of a size that is only known when the graph runs.

    Args:
        image_size: [2] int32 (height, width) of the image.
        short_side: pixels.
        long_side: pixels, at least `short_side`.
        factor: scalar float32 above 0 that both are multiplied by.
        rounding: of the sides; see the module.

    Returns:
        [2] int32 (height, width), each at least 1.
    """
    import tensorflow as tf  # by those alone who have a graph: checks of data load none

    number, whole = (tf.float32, tf.round) if rounding == "nearest" else (tf.float64, tf.floor)
    sides = tf.cast(image_size, number)
    scale = tf.minimum(short_side / tf.reduce_min(sides), long_side / tf.reduce_max(sides))
    scale *= tf.cast(factor, number)
    return tf.maximum(tf.cast(whole(sides * scale), tf.int32), 1)
