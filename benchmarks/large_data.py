"""Make a data set of COCO's size and layout, or read one and tell time and peak memory.

    python large_data.py make DIR [IMAGES [POINTS]]
    python large_data.py read DIR [annotations|checked]

`make` writes 50 pictures of 480 x 640 and as many hard links to them as there are images, 118,000
if nothing is said; the last 1,000 (of fewer than 10,000, a tenth) are `val2017`. Each has seven
boxes, and each box a polygon of POINTS corners where that is not 0; 36 make the file as large as
COCO's.

`read` reads annotations and headers, and decodes all images unless told `annotations`. Seconds are
those of the process, and of the wall. The cache of checked images is the user's: name another
folder in XDG_CACHE_HOME, and read twice, to have it empty, then full.
"""

import json
import logging
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import load_datasets, read_datasets

NUM_PICTURES, HEIGHT, WIDTH = 50, 480, 640
NUM_CLASSES, BOXES = 80, 7


def make(root: Path, num_images: int, num_points: int) -> None:
    """Write the data set."""
    random = np.random.default_rng(0)
    pictures = root / "pictures"
    for folder in (pictures, root / "annotations"):
        folder.mkdir(parents=True)
    for number in range(NUM_PICTURES):
        cells = random.integers(0, 256, (HEIGHT // 32, WIDTH // 32, 3), np.uint8)
        image = Image.fromarray(cells).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        image.save(pictures / f"{number}.jpg", quality=90)
    num_val = min(1000, num_images // 10)
    for split, start, end in (
        ("train2017", 0, num_images - num_val),
        ("val2017", num_images - num_val, num_images),
    ):
        (root / split).mkdir()
        content = _annotate(range(start, end), num_points, random)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        for number, image in enumerate(content["images"]):
            picture = pictures / f"{number % NUM_PICTURES}.jpg"
            os.link(picture, root / split / str(image["file_name"]))


def _annotate(numbers: range, num_points: int, random: np.random.Generator) -> dict[str, list]:
    """Draw the content of a file, with the fields that COCO's have."""
    images, annotations = [], []
    for number in numbers:
        name = f"{number:012}.jpg"
        images.append(
            {
                "license": 1 + number % 8,
                "file_name": name,
                "coco_url": f"http://images.cocodataset.org/train2017/{name}",
                "height": HEIGHT,
                "width": WIDTH,
                "date_captured": "2013-11-14 16:28:13",
                "flickr_url": f"http://farm4.staticflickr.com/3153/{number:010}_c2f41.jpg",
                "id": number,
            }
        )
        for box in range(BOXES):
            x, y = random.uniform(0, WIDTH - 80), random.uniform(0, HEIGHT - 80)
            width, height = random.uniform(8, 80, 2)
            corners = random.uniform([x, y], [x + width, y + height], (num_points, 2))
            annotations.append(
                {
                    "segmentation": [corners.round(2).ravel().tolist()] if num_points else [],
                    "area": round(width * height, 4),
                    "iscrowd": 0,
                    "image_id": number,
                    "bbox": [round(float(side), 2) for side in (x, y, width, height)],
                    "category_id": int(random.integers(1, NUM_CLASSES + 1)),
                    "id": 100_000 + number * BOXES + box,
                }
            )
    categories = [
        {"supercategory": "thing", "id": number, "name": f"class {number}"}
        for number in range(1, NUM_CLASSES + 1)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def read(root: Path, how: str) -> None:
    """Read the data set and print what it took."""
    config = DataConfig(
        root=str(root), train_split="train2017", val_split="val2017", test_split="none"
    )
    before, start, wall = _peak(), time.process_time(), time.perf_counter()
    datasets = (read_datasets if how == "annotations" else load_datasets)(config, seed=0)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    num_images = sum(len(dataset.examples) for dataset in datasets.values())
    print(
        f"{num_images} images: {seconds:.1f} s of the process, {wall:.1f} s of the wall, peak "
        f"memory {_peak():.0f} MiB, of which {before:.0f} MiB before"
    )


def _peak() -> float:
    """Tell the process's peak memory in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Do what the command line says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    action, root, *rest = sys.argv[1:]
    if action == "make":
        num_images, num_points = *map(int, rest), *(118_000, 0)[len(rest) :]
        make(Path(root), num_images, num_points)
    else:
        read(Path(root), rest[0] if rest else "checked")


if __name__ == "__main__":
    main()
