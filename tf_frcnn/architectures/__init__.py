"""The networks, by name. A new one is a file here, and a line in `ARCHITECTURES`.

Plain values can be read without Keras (check-data does); builders import it when they are called.
"""

from tf_frcnn.architectures.architecture import Architecture
from tf_frcnn.architectures.efficientnet_lite0_fpn import EFFICIENTNET_LITE0_FPN
from tf_frcnn.architectures.mobilenet_v3_fpn import (
    FASTERRCNN_MOBILENET_V3_LARGE_320_FPN,
    FASTERRCNN_MOBILENET_V3_LARGE_FPN,
)
from tf_frcnn.architectures.resnet50_fpn import (
    FASTERRCNN_RESNET50_FPN,
    FASTERRCNN_RESNET50_FPN_V2,
)
from tf_frcnn.architectures.vgg16 import VGG16, VGG16_QUARTER

ARCHITECTURES: dict[str, Architecture] = {
    "vgg16": VGG16,
    "vgg16_quarter": VGG16_QUARTER,
    "fasterrcnn_resnet50_fpn": FASTERRCNN_RESNET50_FPN,
    "fasterrcnn_resnet50_fpn_v2": FASTERRCNN_RESNET50_FPN_V2,
    "fasterrcnn_mobilenet_v3_large_fpn": FASTERRCNN_MOBILENET_V3_LARGE_FPN,
    "fasterrcnn_mobilenet_v3_large_320_fpn": FASTERRCNN_MOBILENET_V3_LARGE_320_FPN,
    "efficientnet_lite0_fpn": EFFICIENTNET_LITE0_FPN,
}
