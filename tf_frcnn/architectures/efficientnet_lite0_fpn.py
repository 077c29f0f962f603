"""EfficientNet-Lite0 with a feature pyramid: small and fast on processors and phones.

Tan and Le, 2019, table 1, without squeeze and excitation and with ReLU6 for swish, as Google's
"Lite" variants have it: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
It was trained in TensorFlow: strided convolutions are padded as Keras' "same" does, more at the
lower and right side, and normalisation has an epsilon of 1e-3.

The pyramid stands on the outputs of blocks 4, 10 and 15, of strides 8, 16 and 32. Layers are named
by their block, counted from 0 in two digits, and by what they do: block01_expand,
block01_depthwise, block01_project. The normalisation of a convolution is named bn_ and its
convolution, so that `--train.frozen-layers bn` freezes all of them.
"""

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tf_frcnn.architectures.architecture import AnchorGrid, ProposalRule
from tf_frcnn.architectures.fpn import add_fpn
from tf_frcnn.architectures.fpn_detector import (
    FROM_WEIGHTS,
    build_architecture,
    build_box_head,
    build_rpn_head,
    build_settings,
)

if TYPE_CHECKING:
    import keras


class Stage(NamedTuple):
    """Inverted residuals in a row: expand, filter each channel, project.

    Attributes:
        kernel_size: of the depthwise convolutions.
        strides: of the first of them; the others have 1.
        expansion: channels between, in those that come in.
        channels: that each answers.
        num_blocks: how many there are.
    """

    kernel_size: int
    strides: int
    expansion: int
    channels: int
    num_blocks: int


STEM_CHANNELS = 32
STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
EPSILON = 1e-3
# Blocks whose outputs the pyramid stands on, and their strides.
MAPS = {4: 8, 10: 16, 15: 32}
PYRAMID_CHANNELS = 96
FC_UNITS = 512


def build_backbone(dtype: str = "float32") -> "keras.Model":
    """Build trunk and pyramid.

    Args:
        dtype: Keras dtype policy of all layers; the maps have its compute type.

    Returns:
        A model from [B, H, W, 3] float32 normalised RGB images, H and W multiples of 32, to four
        maps of 96 channels, of strides 8, 16, 32 and every second cell of that.
    """
    import keras

    images = keras.Input((None, None, 3), name="images")
    maps = [outputs for number, outputs in enumerate(add_blocks(images, dtype)) if number in MAPS]
    outputs = add_fpn(maps, tuple(MAPS.values()), PYRAMID_CHANNELS, dtype)
    return keras.Model(images, outputs, name="backbone")


def add_blocks(images: Any, dtype: str) -> list[Any]:
    """Put the trunk on images -> the outputs of its blocks, in order."""
    convolve = partial(_convolve, dtype=dtype)
    features = convolve(images, "stem", STEM_CHANNELS, 3, strides=2)
    outputs: list[Any] = []
    for stage in STAGES:
        for number in range(stage.num_blocks):
            strides = stage.strides if number == 0 else 1
            features = _add_block(features, f"block{len(outputs):02d}", stage, strides, dtype)
            outputs.append(features)
    return outputs


def _add_block(features: Any, name: str, stage: Stage, strides: int, dtype: str) -> Any:
    """Add a block, and what came in where sizes agree."""
    import keras

    convolve, came_in = partial(_convolve, dtype=dtype), features
    if stage.expansion > 1:
        expanded = stage.expansion * features.shape[-1]
        features = convolve(features, f"{name}_expand", expanded, 1)
    features = convolve(features, f"{name}_depthwise", None, stage.kernel_size, strides)
    features = convolve(features, f"{name}_project", stage.channels, 1, activate=False)
    if strides > 1 or came_in.shape[-1] != stage.channels:
        return features
    return keras.layers.Add(name=f"{name}_add", dtype=dtype)([came_in, features])


def _convolve(
    features: Any,
    name: str,
    filters: int | None,
    kernel_size: int,
    strides: int = 1,
    activate: bool = True,
    *,
    dtype: str,
) -> Any:
    """Convolve without bias, each channel alone where there are no filters; normalise, activate."""
    import keras

    from tf_frcnn.layers.normalization import batch_normalization

    start = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    options = {"padding": "same", "use_bias": False, "name": name, "dtype": dtype}
    layer = (
        keras.layers.DepthwiseConv2D(kernel_size, strides, depthwise_initializer=start, **options)
        if filters is None
        else keras.layers.Conv2D(filters, kernel_size, strides, kernel_initializer=start, **options)
    )
    features = batch_normalization(f"bn_{name}", dtype, epsilon=EPSILON)(layer(features))
    if not activate:
        return features
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu6", dtype=dtype)(features)


# A stage begins with the block after which the map is half as large.
_BEGINNINGS = (1, 3, 5, 11, 16)
TRAINING_STAGES = (
    ("stem", "block00"),
    *(
        tuple(f"block{number:02d}" for number in range(first, end))
        for first, end in itertools.pairwise(_BEGINNINGS)
    ),
)
# What costs more time than it brings where training is short: the gradients of the first layers, on
# the largest maps, and of the depthwise kernels. Normalisation needs larger batches.
KEPT = {
    **FROM_WEIGHTS,
    "frozen_layers": tuple(f"block{number:02d}_depthwise" for number in range(3, 16)),
}
_settings = build_settings(400, 667, 300)
EFFICIENTNET_LITE0_FPN = build_architecture(
    backbone=build_backbone,
    strides=tuple(MAPS.values()),
    anchors=AnchorGrid(offset=0.5, rounded=False, one_size_a_map=True),
    proposals=ProposalRule(sifts_first=False),
    rpn_head=partial(build_rpn_head, channels=PYRAMID_CHANNELS),
    box_head=partial(build_box_head, units=FC_UNITS, num_fcs=1),
    stages=TRAINING_STAGES,
    from_weights=KEPT,
    # How they were chosen: results/bccd_lite0_settings.md.
    settings={
        **_settings,
        "model": {
            **_settings["model"],
            "anchor_sizes": (32.0, 64.0, 128.0, 256.0),
            "roi_op": "roi_align_aligned",
            "rpn_post_nms_top_k": 150,
        },
        "train": {
            **_settings["train"],
            "start_from": "imagenet",
            **KEPT,
            "batch_size": 4,
            "optimizer": "adamw",
            "learning_rate": 5e-4,
            "schedule": "cosine",
            "clip_norm": 10.0,
            "ignore_padding_anchors": True,
            "loss_mean": "images",
            "rpn_post_nms_top_k": 500,
            "roi_batch_size": 128,
        },
    },
)
