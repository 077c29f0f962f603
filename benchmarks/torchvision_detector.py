"""torchvision's Faster R-CNN, timed on request: a process of `compare_torchvision.py`.

Needs torch and torchvision alone, so that it can run in an environment of its own.

    python torchvision_detector.py NETWORK HEIGHT WIDTH BATCH default|channels-last [FOLDER]

answers each line on its input with the seconds that one call took and the peak memory, MiB.
NETWORK is a number of classes, for VGG16 as this project's `vgg16` is: anchors, RoI pooling,
layers, numbers of proposals, thresholds. Or it is the name of one of torchvision's own detectors:
its weights are seeded and its image is `FOLDER/image.npy`; BATCH is 1. With `write` for the layout
it leaves `weights.pth` and `counts.json`, the numbers of proposals and detections, in the folder.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from on_request import answer
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

STRIDE, POOLED, FC_UNITS = 16, 7, 4096
RATIOS = (0.5, 1.0, 2.0)


class RoIPool(torchvision.ops.MultiScaleRoIAlign):
    """Quantised max pooling in the place of RoIAlign, whose interface it keeps."""

    def __init__(self) -> None:
        super().__init__(["0"], POOLED, 2)

    def forward(self, x, boxes, image_shapes):  # type: ignore[no-untyped-def]
        """Pool the features inside of each box."""
        return torchvision.ops.roi_pool(x["0"], boxes, POOLED, 1 / STRIDE)


def build(num_classes: int, height: int, width: int, **settings: Any) -> FasterRCNN:
    """Build the network with random weights; it works on images as large as they are given.

    Args:
        num_classes: without the background.
        height: of the images, pixels.
        width: likewise.
        **settings: of torchvision's network, in the place of those of `vgg16` here.
    """
    backbone = torchvision.models.vgg16(weights=None).features[:-1]
    backbone.out_channels = 512
    head = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(512 * POOLED * POOLED, FC_UNITS),
        torch.nn.ReLU(),
        torch.nn.Linear(FC_UNITS, FC_UNITS),
        torch.nn.ReLU(),
    )
    of_vgg16 = {
        "rpn_anchor_generator": AnchorGenerator(((128, 256, 512),), (RATIOS,)),
        "rpn_pre_nms_top_n_test": 6000,
        "rpn_post_nms_top_n_test": 300,
        "box_score_thresh": 0.05,
        "box_nms_thresh": 0.3,
    }
    return FasterRCNN(
        backbone,
        box_roi_pool=RoIPool(),
        box_head=head,
        box_predictor=FastRCNNPredictor(FC_UNITS, num_classes + 1),
        min_size=min(height, width),
        max_size=max(height, width),
        **{**of_vgg16, **settings},
    )


def build_named(name: str) -> FasterRCNN:
    """Build one of torchvision's own detectors with seeded weights."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "fixtures"))
    from torchvision_stages import build as build_seeded

    return build_seeded(name, epsilon=1e-5, small=False)


def write(network: FasterRCNN, images: list[torch.Tensor], folder: Path) -> None:
    """Write the weights, and how many proposals and detections there are."""
    torch.save(network.state_dict(), folder / "weights.pth")
    counts: dict[str, int] = {}
    network.rpn.register_forward_hook(
        lambda _, __, out: counts.update(proposals=len(out[0][0]))  # of the only image
    )
    counts["detections"] = len(network(images)[0]["boxes"])
    (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")


def main() -> None:
    """Load, then answer requests until the input ends."""
    name, layout = sys.argv[1], sys.argv[5]
    height, width, batch = map(int, sys.argv[2:5])
    torch.manual_seed(0)
    if name.isdecimal():
        network = build(int(name), height, width).eval()
        images = [torch.rand(3, height, width) for _ in range(batch)]
    else:
        folder = Path(sys.argv[6])
        network = build_named(name)
        image = np.load(folder / "image.npy")
        images = [torch.from_numpy(image).permute(2, 0, 1).float() / 255]
    with torch.inference_mode():
        if layout == "write":
            write(network, images, folder)
            return
        if layout == "channels-last":
            network = network.to(memory_format=torch.channels_last)
        answer(
            f"torch {torch.__version__}, torchvision {torchvision.__version__}",
            lambda: network(images),
        )


if __name__ == "__main__":
    main()
