"""torchvision's Faster R-CNN on VGG16, timed on request: a process of `compare_torchvision.py`.

Needs torch and torchvision alone, so that it can run in an environment of its own. The network is
that of this project's `vgg16`: anchors, RoI pooling, layers, numbers of proposals, thresholds.

    python torchvision_detector.py CLASSES HEIGHT WIDTH BATCH default|channels-last

answers each line on its input with the seconds that one call took.
"""

import sys

import torch
import torchvision
from on_request import answer
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

STRIDE, POOLED, FC_UNITS = 16, 7, 4096


class RoIPool(torchvision.ops.MultiScaleRoIAlign):
    """Quantised max pooling in the place of RoIAlign, whose interface it keeps."""

    def __init__(self) -> None:
        super().__init__(["0"], POOLED, 2)

    def forward(self, x, boxes, image_shapes):  # type: ignore[no-untyped-def]
        """Pool the features inside of each box."""
        return torchvision.ops.roi_pool(x["0"], boxes, POOLED, 1 / STRIDE)


def build(num_classes: int, height: int, width: int) -> FasterRCNN:
    """Build the network with random weights; it works on images as large as they are given."""
    backbone = torchvision.models.vgg16(weights=None).features[:-1]
    backbone.out_channels = 512
    head = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(512 * POOLED * POOLED, FC_UNITS),
        torch.nn.ReLU(),
        torch.nn.Linear(FC_UNITS, FC_UNITS),
        torch.nn.ReLU(),
    )
    return FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((128, 256, 512),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=RoIPool(),
        box_head=head,
        box_predictor=FastRCNNPredictor(FC_UNITS, num_classes + 1),
        min_size=min(height, width),
        max_size=max(height, width),
        rpn_pre_nms_top_n_test=6000,
        rpn_post_nms_top_n_test=300,
        box_score_thresh=0.05,
        box_nms_thresh=0.3,
    )


def main() -> None:
    """Load, then answer requests until the input ends."""
    num_classes, height, width, batch = map(int, sys.argv[1:5])
    torch.manual_seed(0)
    network = build(num_classes, height, width).eval()
    if sys.argv[5] == "channels-last":
        network = network.to(memory_format=torch.channels_last)
    images = [torch.rand(3, height, width) for _ in range(batch)]
    with torch.inference_mode():
        answer(
            f"torch {torch.__version__}, torchvision {torchvision.__version__}",
            lambda: network(images),
        )


if __name__ == "__main__":
    main()
