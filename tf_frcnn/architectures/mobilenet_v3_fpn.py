"""MobileNetV3-Large with a feature pyramid, as torchvision has it: for 800 pixels and for 320.

Howard et al., 2019, table 1. The pyramid stands on the outputs of the 13th and the last of the
trunk's features, both of stride 32, and RoIs are pooled from the first of them alone. Layers are
named by their number among torchvision's features, in two digits, and by what they do:
features04_expand, features04_depthwise, features04_reduce and features04_excite (of squeeze and
excitation), features04_project. The normalisation of a convolution is named bn_ and its
convolution, so that `--train.frozen-layers bn` freezes all of them.
"""

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tf_frcnn.architectures.architecture import AnchorGrid, ProposalRule
from tf_frcnn.architectures.fpn import add_fpn
from tf_frcnn.architectures.fpn_detector import (
    PYRAMID_CHANNELS,
    build_architecture,
    build_settings,
)

if TYPE_CHECKING:
    import keras


class Block(NamedTuple):
    """An inverted residual: expand, filter each channel, squeeze and excite, project.

    Attributes:
        kernel_size: of the depthwise convolution.
        expanded: channels between; where they are those that come in there is no expansion.
        channels: that it answers.
        squeezed: channels of squeeze and excitation, 0 for none.
        hard_swish: the activation, else ReLU.
        strides: of the depthwise convolution.
    """

    kernel_size: int
    expanded: int
    channels: int
    squeezed: int
    hard_swish: bool
    strides: int


FIRST_CHANNELS, LAST_CHANNELS = 16, 960
# Features 1 to 15.
BLOCKS = (
    Block(3, 16, 16, 0, False, 1),
    Block(3, 64, 24, 0, False, 2),
    Block(3, 72, 24, 0, False, 1),
    Block(5, 72, 40, 24, False, 2),
    Block(5, 120, 40, 32, False, 1),
    Block(5, 120, 40, 32, False, 1),
    Block(3, 240, 80, 0, True, 2),
    Block(3, 200, 80, 0, True, 1),
    Block(3, 184, 80, 0, True, 1),
    Block(3, 184, 80, 0, True, 1),
    Block(3, 480, 112, 120, True, 1),
    Block(3, 672, 112, 168, True, 1),
    Block(5, 672, 160, 168, True, 2),
    Block(5, 960, 160, 240, True, 1),
    Block(5, 960, 160, 240, True, 1),
)
FIRST_MAP = 13
STRIDES = (32, 32)


def build_backbone(dtype: str = "float32") -> "keras.Model":
    """Build trunk and pyramid.

    Args:
        dtype: Keras dtype policy of all layers; the maps have its compute type.

    Returns:
        A model from [B, H, W, 3] float32 normalised RGB images, H and W multiples of 32, to three
        maps of 256 channels, two of stride 32 and every second cell of the other.
    """
    import keras

    images = keras.Input((None, None, 3), name="images")
    add = _Adder(dtype)
    features = add.conv(images, "features00_conv", FIRST_CHANNELS, 3, strides=2, activation="swish")
    maps = []
    for number, block in enumerate(BLOCKS, start=1):
        features = add.block(features, f"features{number:02d}", block)
        if number == FIRST_MAP:
            maps.append(features)
    last = f"features{len(BLOCKS) + 1:02d}_conv"
    maps.append(add.conv(features, last, LAST_CHANNELS, 1, activation="swish"))
    outputs = add_fpn(maps, STRIDES, PYRAMID_CHANNELS, dtype)
    return keras.Model(images, outputs, name="backbone")


class _Adder:
    """Adds layers of one dtype policy to a functional model."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def block(self, features: Any, name: str, block: Block) -> Any:
        """Add a block, and what came in where sizes agree."""
        import keras

        came_in, activation = features, "swish" if block.hard_swish else "relu"
        if block.expanded != features.shape[-1]:
            features = self.conv(features, f"{name}_expand", block.expanded, 1, 1, activation)
        features = self.conv(
            features, f"{name}_depthwise", None, block.kernel_size, block.strides, activation
        )
        if block.squeezed:
            features = self.excite(features, name, block.squeezed)
        features = self.conv(features, f"{name}_project", block.channels, 1)
        if block.strides > 1 or came_in.shape[-1] != block.channels:
            return features
        return keras.layers.Add(name=f"{name}_add", dtype=self.dtype)([came_in, features])

    def conv(
        self,
        features: Any,
        name: str,
        filters: int | None,
        kernel_size: int,
        strides: int = 1,
        activation: str = "",
    ) -> Any:
        """Convolve without bias, each channel alone where there are no filters; normalise."""
        import keras

        from tf_frcnn.layers.activations import HardSwish
        from tf_frcnn.layers.normalization import batch_normalization

        padding = "same"
        if strides > 1:  # "same" would pad the lower and right side more than the others
            margin, padding = kernel_size // 2, "valid"
            features = keras.layers.ZeroPadding2D(margin, name=f"{name}_pad", dtype=self.dtype)(
                features
            )
        start = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        options = {"padding": padding, "use_bias": False, "name": name, "dtype": self.dtype}
        layer = (
            keras.layers.DepthwiseConv2D(
                kernel_size, strides, depthwise_initializer=start, **options
            )
            if filters is None
            else keras.layers.Conv2D(
                filters, kernel_size, strides, kernel_initializer=start, **options
            )
        )
        features = batch_normalization(f"bn_{name}", self.dtype)(layer(features))
        if not activation:
            return features
        make = HardSwish if activation == "swish" else keras.layers.ReLU
        return make(name=f"{name}_{activation}", dtype=self.dtype)(features)

    def excite(self, features: Any, name: str, squeezed: int) -> Any:
        """Scale each channel by what two small layers make of the means of all channels."""
        import keras

        from tf_frcnn.layers.activations import HardSigmoid
        from tf_frcnn.layers.means import ChannelMeans

        layers, options = keras.layers, {"dtype": self.dtype}
        means = ChannelMeans(name=f"{name}_means", **options)
        reduce = layers.Conv2D(squeezed, 1, activation="relu", name=f"{name}_reduce", **options)
        excite = layers.Conv2D(features.shape[-1], 1, name=f"{name}_excite", **options)
        gate = HardSigmoid(name=f"{name}_gate", **options)
        scales = gate(excite(reduce(means(features))))
        return layers.Multiply(name=f"{name}_scale", **options)([features, scales])


# A stage begins with the block after which the map is half as large, and the last is a stage.
_BEGINNINGS = (0, 2, 4, 7, 13, 16, 17)
STAGES = tuple(
    tuple(f"features{number:02d}" for number in range(first, end))
    for first, end in itertools.pairwise(_BEGINNINGS)
)
_architecture = partial(
    build_architecture,
    backbone=build_backbone,
    strides=STRIDES,
    anchors=AnchorGrid(offset=0.0, rounded=True, one_size_a_map=False),
    proposals=ProposalRule(sifts_first=False, min_score=0.05),
    stages=STAGES,
)
FASTERRCNN_MOBILENET_V3_LARGE_FPN = _architecture(settings=build_settings(800, 1333, 1000))
FASTERRCNN_MOBILENET_V3_LARGE_320_FPN = _architecture(settings=build_settings(320, 640, 150))
