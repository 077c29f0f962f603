"""ResNet-50 with a feature pyramid, as torchvision has it: both versions of its detector.

He et al., 2016, table 1, with the stride on the 3 x 3 convolution of a block ("v1.5"), where
`keras.applications.ResNet50` has it on the first. The trunk's four maps have strides 4 to 32.
Layers are named as in torchvision's files, with _ for the dots: layer2.0.conv1 is layer2_0_conv1.
The normalisation of a convolution is named bn_ and its convolution, so that
`--train.frozen-layers bn` freezes all of them.

Version 2 (Li et al., 2021, appendix A.2) normalises in the pyramid and the box head too, and has
two convolutions in the RPN's head and four in the box head.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from tf_frcnn.architectures.architecture import AnchorGrid, ProposalRule
from tf_frcnn.architectures.fpn import add_fpn
from tf_frcnn.architectures.fpn_detector import (
    FROM_WEIGHTS,
    PYRAMID_CHANNELS,
    build_architecture,
    build_box_head,
    build_rpn_head,
    build_settings,
)

if TYPE_CHECKING:
    import keras

STRIDES = (4, 8, 16, 32)
# Blocks and channels of each layer; a block answers four times as many.
LAYERS = ((3, 64), (4, 128), (6, 256), (3, 512))
EXPANSION = 4


def build_backbone(dtype: str = "float32", normalized_pyramid: bool = False) -> "keras.Model":
    """Build trunk and pyramid.

    Args:
        dtype: Keras dtype policy of all layers; the maps have its compute type.
        normalized_pyramid: batch normalisation in the pyramid, as in version 2.

    Returns:
        A model from [B, H, W, 3] float32 normalised RGB images, H and W multiples of 32, to five
        maps of 256 channels, of strides 4, 8, 16, 32 and every second cell of that.
    """
    import keras

    images = keras.Input((None, None, 3), name="images")
    features = _convolve(images, 64, 7, "conv1", dtype, strides=2)
    # The zeros of the padding are never above what a ReLU answers.
    features = keras.layers.ZeroPadding2D(1, name="pool1_pad", dtype=dtype)(features)
    features = keras.layers.MaxPooling2D(3, strides=2, name="pool1", dtype=dtype)(features)
    maps = []
    for number, (num_blocks, channels) in enumerate(LAYERS, start=1):
        for block in range(num_blocks):
            strides = 2 if block == 0 and number > 1 else 1
            features = _add_block(features, channels, strides, f"layer{number}_{block}", dtype)
        maps.append(features)
    outputs = add_fpn(maps, STRIDES, PYRAMID_CHANNELS, dtype, normalized_pyramid)
    return keras.Model(images, outputs, name="backbone")


def _add_block(features: Any, channels: int, strides: int, name: str, dtype: str) -> Any:
    """Add 1 x 1, 3 x 3 and 1 x 1 convolutions, and what came in, if need be brought to size."""
    import keras

    convolve = partial(_convolve, dtype=dtype)
    shortcut, answered = features, channels * EXPANSION
    if strides > 1 or features.shape[-1] != answered:
        shortcut = convolve(
            features, answered, 1, f"{name}_downsample", strides=strides, activate=False
        )
    features = convolve(features, channels, 1, f"{name}_conv1")
    features = convolve(features, channels, 3, f"{name}_conv2", strides=strides)
    features = convolve(features, answered, 1, f"{name}_conv3", activate=False)
    total = keras.layers.Add(name=f"{name}_add", dtype=dtype)([features, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(total)


def _convolve(
    features: Any,
    filters: int,
    kernel_size: int,
    name: str,
    dtype: str,
    strides: int = 1,
    activate: bool = True,
) -> Any:
    """Convolve without bias, padded alike on all sides, normalise, and activate."""
    import keras

    from tf_frcnn.layers.convolution import Conv3x3
    from tf_frcnn.layers.normalization import batch_normalization

    options = {
        "use_bias": False,
        "kernel_initializer": keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        ),
        "name": name,
        "dtype": dtype,
    }
    if kernel_size == 3 and strides == 1:
        features = Conv3x3(filters, **options)(features)
    else:
        # Keras' "same" would pad the lower and right side alone where the stride is 2.
        margin = kernel_size // 2
        if margin:
            features = keras.layers.ZeroPadding2D(margin, name=f"{name}_pad", dtype=dtype)(features)
        features = keras.layers.Conv2D(filters, kernel_size, strides, **options)(features)
    features = batch_normalization(f"bn_{name}", dtype)(features)
    return keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(features) if activate else features


STAGES = (("conv1",), *((f"layer{number}",) for number in range(1, len(LAYERS) + 1)))
_architecture = partial(
    build_architecture,
    strides=STRIDES,
    anchors=AnchorGrid(offset=0.0, rounded=True, one_size_a_map=True),
    proposals=ProposalRule(sifts_first=False),
    stages=STAGES,
    settings=build_settings(800, 1333, 1000),
)
FASTERRCNN_RESNET50_FPN = _architecture(backbone=build_backbone)
FASTERRCNN_RESNET50_FPN_V2 = _architecture(
    backbone=partial(build_backbone, normalized_pyramid=True),
    rpn_head=partial(build_rpn_head, num_convs=2),
    box_head=partial(build_box_head, num_fcs=1, conv_channels=(PYRAMID_CHANNELS,) * 4),
    # torchvision's has `batch`, for which a batch of a few images is too small.
    from_weights={**FROM_WEIGHTS, "normalization": "auto"},
    # The normalisation of pyramid and head starts anew, and must be trained.
    from_imagenet={
        **FROM_WEIGHTS,
        "normalization": "batch",
        "frozen_layers": ("bn_conv1", "bn_layer"),
    },
)
