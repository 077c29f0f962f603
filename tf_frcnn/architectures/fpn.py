"""The feature pyramid: every map gets what the coarser ones saw (Lin et al., 2017, section 3)."""

from collections.abc import Sequence
from typing import Any


def add_fpn(
    maps: Sequence[Any],
    strides: Sequence[int],
    channels: int,
    dtype: str,
    normalized: bool = False,
) -> list[Any]:
    """Put a pyramid on the maps of a trunk.

    A 1 x 1 convolution brings each map to the same channels. From the coarsest on, each sum is
    enlarged to the size of the next finer map by repeating cells, and added to it. A 3 x 3
    convolution of each sum is an output; every second cell of the coarsest output is the last one.

    Args:
        maps: L Keras tensors [B, h, w, C], fine to coarse.
        strides: of the maps, in pixels of the network's input; each is as large as the one before
            or twice as large.
        channels: of all outputs.
        dtype: Keras dtype policy of all layers.
        normalized: batch normalisation after every convolution, which then has no bias.

    Returns:
        L + 1 Keras tensors, fine to coarse. Layers are counted from 0, the finest: fpn_inner0,
        fpn_layer0.
    """
    import keras

    from tf_frcnn.layers.convolution import Conv3x3
    from tf_frcnn.layers.normalization import batch_normalization

    def convolve(features: Any, name: str, kernel_size: int) -> Any:
        make = Conv3x3 if kernel_size == 3 else keras.layers.Conv2D
        convolution = make(
            channels,
            kernel_size=kernel_size,
            use_bias=not normalized,
            # torch's Kaiming rule with a slope of 1: uniform, with the variance 1 / fan-in.
            kernel_initializer=keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"),
            name=name,
            dtype=dtype,
        )
        features = convolution(features)
        return batch_normalization(f"bn_{name}", dtype)(features) if normalized else features

    sums = [convolve(one_map, f"fpn_inner{level}", 1) for level, one_map in enumerate(maps)]
    for level in reversed(range(len(maps) - 1)):
        coarser = sums[level + 1]
        if strides[level + 1] == 2 * strides[level]:
            coarser = keras.layers.UpSampling2D(2, name=f"fpn_enlarge{level}", dtype=dtype)(coarser)
        add = keras.layers.Add(name=f"fpn_add{level}", dtype=dtype)
        sums[level] = add([sums[level], coarser])
    outputs = [convolve(one_sum, f"fpn_layer{level}", 3) for level, one_sum in enumerate(sums)]
    every_second = keras.layers.MaxPooling2D(1, strides=2, name="fpn_last", dtype=dtype)
    return [*outputs, every_second(outputs[-1])]
