"""The trunks, by name. A new one is a file here and a line in `BACKBONES`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras

from tf_frcnn.backbones.vgg import STRIDE, build_vgg16


@dataclass(frozen=True)
class Backbone:
    """A trunk and the widths of the heads that go with it.

    Attributes:
        build: makes the trunk: images [B, H, W, 3] -> features [B, H / stride, W / stride, C]. Its
            argument `dtype` is the Keras dtype policy of its layers.
        stride: pixels of the network's input a cell of the feature map.
        rpn_channels: kernels of the RPN's 3 x 3 convolution.
        fc_units: units of each of the detector's two FC layers.
        fc_stddev: standard deviation with which FC layers start that are not loaded; 0 for He's.
        fc_bias: value at which their biases start.
    """

    build: Callable[..., keras.Model]
    stride: int
    rpn_channels: int
    fc_units: int
    fc_stddev: float
    fc_bias: float


BACKBONES = {
    # The slides' network. FC layers start as VGG16's own Caffe definition has them.
    "vgg16": Backbone(
        build_vgg16,
        stride=STRIDE,
        rpn_channels=512,
        fc_units=4096,
        fc_stddev=0.005,
        fc_bias=0.1,
    ),
    # Its layer plan at a quarter of the width, trainable from random weights in minutes.
    "vgg16_quarter": Backbone(
        partial(build_vgg16, width=0.25, batch_normalization=True),
        stride=STRIDE,
        rpn_channels=128,
        fc_units=512,
        fc_stddev=0.0,
        fc_bias=0.0,
    ),
}
