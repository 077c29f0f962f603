"""Train torchvision's Faster R-CNN with VGG16 and detect with it: a process of `bccd_peer.py`.

Needs torch, torchvision and Pillow alone, so that it can run in an environment of its own.

    python torchvision_vgg16_training.py JOB.json OUTPUT.json

JOB names `trunk`, npz of VGG16's convolutions; `class_names`; `train` and `test`, images with their
`path` and those of `train` with `boxes` (xyxy pixels) and `labels` from 1; and the budget and the
settings of `bccd_peer.py` with a `seed`. One image a step, mirrored half of the time. OUTPUT holds
what is found in `test`, in the form of COCO's results with names of files and classes, and the mean
seconds of a step.
"""

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision_detector import RATIOS, build

FROZEN_LAYERS = 10  # of VGG16's list, the first two blocks
BGR_MEAN = (103.939, 116.779, 123.68)


def build_network(job: dict[str, Any]) -> Any:
    """Build the network: its trunk from ImageNet, its head as Caffe's recipe draws it."""
    network = build(
        len(job["class_names"]),
        *(job["short_side"], job["long_side"]),
        rpn_anchor_generator=AnchorGenerator((tuple(job["anchor_sizes"]),), (RATIOS,)),
        rpn_pre_nms_top_n_train=12000,
        box_batch_size_per_image=128,
        box_nms_thresh=0.5,
        image_mean=[value / 255 for value in BGR_MEAN],
        image_std=[1 / 255] * 3,
    )
    convolutions = [one for one in network.backbone if isinstance(one, torch.nn.Conv2d)]
    with np.load(job["trunk"]) as file:
        for number, convolution in enumerate(convolutions):
            kernel = file[f"kernel{number}"].transpose(3, 2, 0, 1)
            convolution.weight.data = torch.from_numpy(kernel.copy())
            convolution.bias.data = torch.from_numpy(file[f"bias{number}"])
    network.backbone[:FROZEN_LAYERS].requires_grad_(False)
    for layer in network.roi_heads.box_head:
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.005)
            torch.nn.init.constant_(layer.bias, 0.1)
    return network


def read(path: str) -> torch.Tensor:
    """Read an image as [3, H, W] BGR, 0-1."""
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)[:, :, ::-1] / 255
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def rate_at(step: int, job: dict[str, Any]) -> float:
    """Compute the learning rate: a linear warm-up, then a tenth from `decay_step` on."""
    if step < job["warmup_steps"]:
        return job["learning_rate"] * (step + 1) / job["warmup_steps"]
    return job["learning_rate"] * (0.1 if step >= job["decay_step"] else 1.0)


def train(network: Any, job: dict[str, Any]) -> float:
    """Train, and give the mean seconds of a step."""
    trained = [one for one in network.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(trained, job["learning_rate"], momentum=0.9, weight_decay=5e-4)
    network.train()
    order: list[int] = []
    began = time.perf_counter()
    for step in range(job["steps"]):
        order = order or random.sample(range(len(job["train"])), len(job["train"]))
        example = job["train"][order.pop()]
        image, boxes = read(example["path"]), torch.tensor(example["boxes"]).reshape(-1, 4)
        if random.random() < 0.5:
            image = image.flip(-1)
            boxes[:, [0, 2]] = image.shape[2] - boxes[:, [2, 0]]
        target = {"boxes": boxes, "labels": torch.tensor(example["labels"], dtype=torch.int64)}
        loss = sum(network([image], [target]).values())
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, job)
        optimizer.zero_grad()
        loss.backward()
        if job["clip_norm"]:
            torch.nn.utils.clip_grad_norm_(trained, job["clip_norm"])
        optimizer.step()
        if step % 25 == 0:
            print(f"step {step} loss {loss.item():.3f}", flush=True)
    return (time.perf_counter() - began) / job["steps"]


def detect(network: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Detect in the test images."""
    network.eval()
    entries = []
    for example in job["test"]:
        with torch.inference_mode():
            found = network([read(example["path"])])[0]
        rows = zip(*(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
        entries += [
            {
                "file_name": Path(example["path"]).name,
                "category_name": job["class_names"][label - 1],
                "score": score,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
            for (x1, y1, x2, y2), label, score in rows
        ]
    return entries


def main() -> None:
    """Train, detect, write."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.manual_seed(job["seed"])
    random.seed(job["seed"])
    network = build_network(job)
    seconds = train(network, job)
    results = {"detections": detect(network, job), "seconds_per_step": seconds}
    Path(sys.argv[2]).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
