"""ResNet-50 with a feature pyramid, as torchvision has it: both versions of its detector.

He et al., 2016, table 1, with the stride on the 3 x 3 convolution of a block ("v1.5"), where
`keras.applications.ResNet50` has it on the first. The trunk's four maps have strides 4 to 32.
Layers are named as in torchvision's files, with _ for the dots: layer2.0.conv1 is layer2_0_conv1.
The normalisation of a convolution is named bn_ and its convolution, so that
`--train.frozen-layers bn` freezes all of them.

Version 2 (Li et al., 2021, appendix A.2) normalises in the pyramid and the box head too, and has
two convolutions in the RPN's head and four in the box head.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tf_frcnn.architectures.architecture import (
    IMAGENET_PIXELS,
    AnchorGrid,
    Architecture,
    ProposalRule,
)
from tf_frcnn.architectures.fpn import add_fpn

if TYPE_CHECKING:
    import keras

STRIDES = (4, 8, 16, 32)
# Blocks and channels of each layer; a block answers four times as many.
LAYERS = ((3, 64), (4, 128), (6, 256), (3, 512))
EXPANSION = 4
PYRAMID_CHANNELS = 256


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


def build_rpn_head(num_anchors: int, dtype: str, num_convs: int) -> "keras.layers.Layer":
    """Build the RPN's head, with one logit an anchor."""
    from tf_frcnn.layers.heads.rpn import RPNHead

    return RPNHead(PYRAMID_CHANNELS, num_anchors, num_convs=num_convs, name="rpn_head", dtype=dtype)


def build_box_head(num_classes: int, dtype: str, **options: Any) -> "keras.layers.Layer":
    """Build the box head; options are `BoxHead`'s."""
    from tf_frcnn.layers.heads.box_head import BoxHead

    return BoxHead(
        1024, num_classes, fc_stddev=0.0, fc_bias=0.0, name="box_head", dtype=dtype, **options
    )


# As torchvision does with version 1. Of version 2 it trains the normalisation, for which a batch of
# a few images is too small.
FROZEN = ("conv1", "layer1", "bn")
# torchvision's reference recipe, and what its detectors are built with.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "data": {"short_side": 800, "long_side": 1333, "resize_rounding": "floor"},
    "model": {
        "anchor_sizes": (32.0, 64.0, 128.0, 256.0, 512.0),
        "roi_op": "roi_align",
        "rpn_pre_nms_top_k": 1000,
        "rpn_post_nms_top_k": 1000,
        "rpn_min_size": 1e-3,
        "nms_iou": 0.5,
    },
    "train": {
        "start_from": "none",
        "frozen_layers": (),
        "weight_decay": 1e-4,
        "ignore_border_anchors": False,
        "ignore_padding_anchors": False,
        "loss_mean": "batch",
        "rpn_pre_nms_top_k": 2000,
        "rpn_post_nms_top_k": 2000,
        "roi_batch_size": 512,
        "roi_box_sigma": 3.0,
    },
}
FASTERRCNN_RESNET50_FPN = Architecture(
    backbone=build_backbone,
    strides=STRIDES,
    pixels=IMAGENET_PIXELS,
    anchors=AnchorGrid(offset=0.0, rounded=True, one_size_a_map=True),
    proposals=ProposalRule(sifts_first=False),
    rpn_head=partial(build_rpn_head, num_convs=1),
    box_head=build_box_head,
    min_detection_side=1e-2,
    frozen_from_weights=FROZEN,
    settings=SETTINGS,
)
FASTERRCNN_RESNET50_FPN_V2 = Architecture(
    backbone=partial(build_backbone, normalized_pyramid=True),
    strides=STRIDES,
    pixels=IMAGENET_PIXELS,
    anchors=FASTERRCNN_RESNET50_FPN.anchors,
    proposals=FASTERRCNN_RESNET50_FPN.proposals,
    rpn_head=partial(build_rpn_head, num_convs=2),
    box_head=partial(build_box_head, num_fcs=1, conv_channels=(PYRAMID_CHANNELS,) * 4),
    min_detection_side=1e-2,
    frozen_from_weights=FROZEN,
    settings=SETTINGS,
)
