"""A training step of torchvision's Faster R-CNN, timed on request: a process of the comparison.

    python torchvision_training.py CLASSES HEIGHT WIDTH BATCH default|channels-last all|frozen

answers each line on its input with the seconds that one step took and the peak memory so far, MiB.
`frozen` keeps the first two blocks of convolutions as they are.
"""

import sys

import torch
import torchvision
from on_request import answer
from torchvision_detector import build

# Of VGG16's list of layers, those of the first two blocks.
FROZEN_LAYERS = 10


def main() -> None:
    """Load, then answer requests until the input ends."""
    num_classes, height, width, batch = map(int, sys.argv[1:5])
    torch.manual_seed(0)
    network = build(num_classes, height, width).train()
    if sys.argv[5] == "channels-last":
        network = network.to(memory_format=torch.channels_last)
    if sys.argv[6] == "frozen":
        network.backbone[:FROZEN_LAYERS].requires_grad_(False)
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
    answer(description, step, tell_memory=True)


if __name__ == "__main__":
    main()
