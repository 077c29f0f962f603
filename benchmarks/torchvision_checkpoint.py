"""What a trained torchvision detector finds in the test images of a folder in Pascal VOC's layout.

    python torchvision_checkpoint.py NAME WEIGHTS VOC_ROOT SHORT_SIDE FOLDER CLASS ...

needs torch, torchvision and Pillow. Writes two lists as COCO's results are, with the names of files
and classes, which `tf-frcnn evaluate --detections` reads: `as_is.json`, and `in_order.json`, where
of anchors with equal logits the earlier counts more. Which counts more else is up to torch's
`topk`, that does not say. The longer side is twice the shorter at most.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.models import detection


def top_in_order(self: Any, objectness: torch.Tensor, num_anchors: list[int]) -> torch.Tensor:
    """Find the best anchors of each map, of equal ones the earlier first.

    Takes the place of a method of torchvision's RPN: [B, A] logits and the numbers of anchors of
    the maps -> [B, K] int64 indices into A.
    """
    found, offset = [], 0
    for logits in objectness.split(num_anchors, 1):
        order = torch.argsort(logits, dim=1, descending=True, stable=True)
        found.append(order[:, : self.pre_nms_top_n()] + offset)
        offset += logits.shape[1]
    return torch.cat(found, dim=1)


def detect(model: Any, root: Path, classes: list[str]) -> list[dict[str, Any]]:
    """Detect in the test images -> entries of COCO's results."""
    entries = []
    for image in (root / "ImageSets" / "Main" / "test.txt").read_text().split():
        file = f"{image}.jpg"
        pixels = np.asarray(Image.open(root / "JPEGImages" / file).convert("RGB"), np.float32)
        with torch.inference_mode():
            found = model([torch.from_numpy(pixels.transpose(2, 0, 1) / 255)])[0]
        rows = zip(*(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
        entries += [
            {
                "file_name": file,
                "category_name": classes[label - 1],
                "score": score,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
            for (x1, y1, x2, y2), label, score in rows
        ]
    return entries


def main() -> None:
    """Detect, and write the files."""
    name, weights, root, side, folder, *classes = sys.argv[1:]
    sizes = {"min_size": int(side), "max_size": 2 * int(side)}
    options = {"weights": None, "weights_backbone": None, "num_classes": len(classes) + 1}
    model = getattr(detection, name)(**options, **sizes)
    model.load_state_dict(torch.load(weights))
    model.eval()
    for file in ("as_is.json", "in_order.json"):
        found = detect(model, Path(root), classes)
        Path(folder, file).write_text(json.dumps(found), encoding="utf-8")
        model.rpn._get_top_n_idx = top_in_order.__get__(model.rpn)


if __name__ == "__main__":
    main()
