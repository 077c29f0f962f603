"""What the detectors with a feature pyramid have in common: heads, anchors, settings.

They are torchvision's: its detectors differ in the trunk, and in the few numbers that their own
files give here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tf_frcnn.architectures.architecture import IMAGENET_PIXELS, Architecture

if TYPE_CHECKING:
    import keras

PYRAMID_CHANNELS = 256
FROM_WEIGHTS: Mapping[str, Any] = {"trainable_stages": 3, "normalization": "frozen"}
"""What torchvision keeps of a trained trunk, by `Architecture.from_weights`."""


def build_rpn_head(
    num_anchors: int, dtype: str, channels: int = PYRAMID_CHANNELS, num_convs: int = 1
) -> "keras.layers.Layer":
    """Build the RPN's head, with one logit an anchor."""
    from tf_frcnn.layers.heads.rpn import RPNHead

    return RPNHead(channels, num_anchors, num_convs=num_convs, name="rpn_head", dtype=dtype)


def build_box_head(
    num_classes: int, dtype: str, units: int = 1024, **options: Any
) -> "keras.layers.Layer":
    """Build the box head; its FC layers start as He's rule has it, options are `BoxHead`'s."""
    from tf_frcnn.layers.heads.box_head import BoxHead

    return BoxHead(
        units, num_classes, fc_stddev=0.0, fc_bias=0.0, name="box_head", dtype=dtype, **options
    )


def build_settings(
    short_side: int, long_side: int, proposals: int
) -> Mapping[str, Mapping[str, Any]]:
    """Give what torchvision's detectors are built with, and its reference recipe.

    Args:
        short_side: as in the configuration.
        long_side: as in the configuration.
        proposals: in inference, before and after NMS.

    Returns:
        As in `Architecture.settings`.
    """
    return {
        "data": {"short_side": short_side, "long_side": long_side, "resize_rounding": "floor"},
        "model": {
            "anchor_sizes": (32.0, 64.0, 128.0, 256.0, 512.0),
            "roi_op": "roi_align",
            "rpn_pre_nms_top_k": proposals,
            "rpn_post_nms_top_k": proposals,
            "rpn_min_size": 1e-3,
            "nms_iou": 0.5,
            "soft_nms_sigma": 0.0,
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


def build_architecture(strides: Sequence[int], **fields: Any) -> Architecture:
    """Make an `Architecture` with the parts of this file, any of which can be given anew.

    Args:
        strides: of the maps that RoIs are pooled from; the pyramid has one more.
        **fields: of `Architecture`.
    """
    common: dict[str, Any] = {
        "pixels": IMAGENET_PIXELS,
        "rpn_head": build_rpn_head,
        "box_head": build_box_head,
        "num_maps": len(strides) + 1,
        "min_detection_side": 1e-2,
        "from_weights": FROM_WEIGHTS,
    }
    return Architecture(strides=tuple(strides), **{**common, **fields})
