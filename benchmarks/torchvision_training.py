"""A training step of torchvision's Faster R-CNN, timed on request: a process of the comparison.

    python torchvision_training.py NETWORK HEIGHT WIDTH BATCH LAYOUT all|frozen [FILE]

answers each line on its input with the seconds that one step took and the peak memory so far, MiB.
LAYOUT is `default` or `channels-last`. NETWORK is a number of classes, for VGG16, where `frozen`
keeps the first two blocks of convolutions as they are; or `fasterrcnn_resnet50_fpn`, trained as
torchvision does from a trained trunk: stem, first stage and all normalisation frozen. Its weights
are seeded; with `write` for LAYOUT they go into FILE, and nothing is timed.
"""

import sys

import torch
import torchvision
from on_request import answer
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision_detector import build, build_named

# Of VGG16's list of layers, those of the first two blocks.
FROZEN_LAYERS = 10


def build_resnet50_fpn(height: int, width: int) -> FasterRCNN:
    """Build it as for training from a trained trunk, with seeded weights.

    torchvision's own function freezes nothing where no weights are downloaded.
    """
    seeded = build_named("fasterrcnn_resnet50_fpn").state_dict()
    from seeded import calm  # `build_named` finds its folder

    calm(seeded)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    network = FasterRCNN(
        backbone,
        len(seeded["roi_heads.box_predictor.cls_score.bias"]),
        min_size=min(height, width),
        max_size=max(height, width),
    )
    # Frozen normalisation counts no batches.
    network.load_state_dict({key: seeded[key] for key in network.state_dict()})
    return network


def main() -> None:
    """Load, then answer requests until the input ends."""
    name, layout, layers = sys.argv[1], sys.argv[5], sys.argv[6]
    height, width, batch = map(int, sys.argv[2:5])
    torch.manual_seed(0)
    if name.isdecimal():
        network = build(int(name), height, width)
        if layers == "frozen":
            network.backbone[:FROZEN_LAYERS].requires_grad_(False)
    else:
        network = build_resnet50_fpn(height, width)
    if layout == "write":
        torch.save(network.state_dict(), sys.argv[7])
        return
    network = network.train()
    if layout == "channels-last":
        network = network.to(memory_format=torch.channels_last)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, 1e-4, momentum=0.9, weight_decay=5e-4)
    images = [torch.rand(3, height, width) for _ in range(batch)]
    boxes = torch.tensor([[50.0, 60.0, 300.0, 400.0], [400.0, 100.0, 700.0, 500.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 2])} for _ in range(batch)]

    def step() -> None:
        loss = sum(network(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    description = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    answer(description, step)


if __name__ == "__main__":
    main()
