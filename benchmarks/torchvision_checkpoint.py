"""What a trained torchvision detector finds in the test images of a folder in Pascal VOC's layout.

    python torchvision_checkpoint.py NAME WEIGHTS VOC_ROOT SHORT_SIDE OUTPUT CLASS ...

needs torch, torchvision and Pillow. Writes a list as COCO's results are, with the names of files
and classes: what `tf-frcnn evaluate --detections` reads. The longer side is twice the shorter at
most.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.models import detection


def main() -> None:
    """Detect, and write the file."""
    name, weights, folder, side, output, *classes = sys.argv[1:]
    root = Path(folder)
    sizes = {"min_size": int(side), "max_size": 2 * int(side)}
    options = {"weights": None, "weights_backbone": None, "num_classes": len(classes) + 1}
    model = getattr(detection, name)(**options, **sizes)
    model.load_state_dict(torch.load(weights))
    model.eval()
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
    Path(output).write_text(json.dumps(entries), encoding="utf-8")


if __name__ == "__main__":
    main()
