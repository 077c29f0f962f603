"""VGG16 as the slides have it, and its layer plan at a quarter of the width.

Simonyan and Zisserman, 2015, table 1, column D: thirteen 3 x 3 convolutions, conv1_1 to conv5_3,
stride 16. Layers carry the names of keras.applications (`block1_conv1` ... `block5_conv3`), whose
weights they take.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from tf_frcnn.architectures.architecture import AnchorGrid, Architecture, Pixels, ProposalRule

if TYPE_CHECKING:
    import keras

STRIDE = 16
# Convolutions and channels of each block; a 2 x 2 max pooling stands between blocks.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Means of the ImageNet training images, in BGR, as the Caffe weights expect them subtracted.
CAFFE_PIXELS = Pixels(
    order="bgr", mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0), multiple=STRIDE
)


def build_vgg16(
    dtype: str = "float32", width: float = 1.0, normalized: bool = False
) -> "keras.Model":
    """Build the backbone.

    Args:
        dtype: Keras dtype policy of all layers; the map has its compute type.
        width: what the channels of all layers are multiplied by; 1 is VGG16.
        normalized: batch normalisation after every convolution, which then has no bias.

    Returns:
        A model from [B, H, W, 3] float32 mean-free BGR images, H and W multiples of 16, to one map,
        [B, H / 16, W / 16, 512 * width].
    """
    import keras

    from tf_frcnn.layers.convolution import Conv3x3
    from tf_frcnn.layers.normalization import batch_normalization

    images = keras.Input((None, None, 3), name="images")
    features = images
    for block, (num_convs, channels) in enumerate(BLOCKS, start=1):
        if block > 1:
            features = keras.layers.MaxPooling2D(2, name=f"block{block - 1}_pool", dtype=dtype)(
                features
            )
        for conv in range(1, num_convs + 1):
            name = f"block{block}_conv{conv}"
            features = Conv3x3(
                int(channels * width),
                activation=None if normalized else "relu",
                use_bias=not normalized,
                kernel_initializer="he_normal",
                name=name,
                dtype=dtype,
            )(features)
            if normalized:
                normalize = batch_normalization(f"{name}_bn", dtype, momentum=0.95, epsilon=1e-3)
                features = normalize(features)
                features = keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(features)
    return keras.Model(images, features, name="backbone")


def build_rpn_head(num_anchors: int, dtype: str, channels: int) -> "keras.layers.Layer":
    """Build the RPN's head with the slides' pair of logits an anchor."""
    from tf_frcnn.layers.heads.rpn import RPNHead

    return RPNHead(channels, num_anchors, paired=True, name="rpn_head", dtype=dtype)


def build_box_head(
    num_classes: int, dtype: str, units: int, **options: Any
) -> "keras.layers.Layer":
    """Build the box head: two FC layers of `units`; options are `BoxHead`'s."""
    from tf_frcnn.layers.heads.box_head import BoxHead

    return BoxHead(units, num_classes, name="box_head", dtype=dtype, **options)


STAGES = tuple((f"block{number}",) for number in range(1, len(BLOCKS) + 1))
# The paper's rule for ImageNet's weights.
FROM_WEIGHTS = {"frozen_layers": ("block1", "block2")}
# FC layers start as VGG16's own Caffe definition has them.
VGG16 = Architecture(
    backbone=build_vgg16,
    strides=(STRIDE,),
    pixels=CAFFE_PIXELS,
    anchors=AnchorGrid(offset=0.5, rounded=False, one_size_a_map=False),
    proposals=ProposalRule(sifts_first=True),
    rpn_head=partial(build_rpn_head, channels=512),
    box_head=partial(build_box_head, units=4096, fc_stddev=0.005, fc_bias=0.1),
    stages=STAGES,
    from_weights=FROM_WEIGHTS,
)
# Trainable from random weights in minutes: normalised, and FC layers start as He's rule has it.
VGG16_QUARTER = Architecture(
    backbone=partial(build_vgg16, width=0.25, normalized=True),
    strides=(STRIDE,),
    pixels=CAFFE_PIXELS,
    anchors=VGG16.anchors,
    proposals=VGG16.proposals,
    rpn_head=partial(build_rpn_head, channels=128),
    box_head=partial(build_box_head, units=512, fc_stddev=0.0, fc_bias=0.0),
    stages=STAGES,
    from_weights=FROM_WEIGHTS,
)
