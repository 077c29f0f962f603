"""The fingerprint of the data that a model was trained on: what they were, in a few lines.

Two trainings had the same images and boxes if their fingerprints are equal; the pixels are not
looked at. No TensorFlow here.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_frcnn.data.example import Dataset, Example


def fingerprint(root: str, data_format: str, datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    """Describe the splits of a data set.

    Args:
        root: of the data set, as its configuration has it.
        data_format: a key of `DATASETS`.
        datasets: role (train, val, test) -> split.

    Returns:
        `root`, the folder's own name (of `tfds` the whole name of the set); `format`; and `splits`:
        role -> `split` (its name), `num_pictures`, `num_boxes` and `sha256`, the digest of a line
        an image, sorted. A line is a JSON array in ASCII without spaces, and a newline:
        [file name, [height, width], [[ymin, xmin, ymax, xmax, class name], ...]], the boxes in
        their file's order.
    """
    return {
        "root": root if data_format == "tfds" else Path(root).expanduser().resolve().name,
        "format": data_format,
        "splits": {role: _describe(dataset) for role, dataset in datasets.items()},
    }


def _describe(dataset: Dataset) -> dict[str, Any]:
    lines = sorted(_as_line(example, dataset.class_names) for example in dataset.examples)
    return {
        "split": dataset.split,
        "num_pictures": len(dataset.examples),
        "num_boxes": sum(len(example.boxes) for example in dataset.examples),
        "sha256": hashlib.sha256("".join(lines).encode("ascii")).hexdigest(),
    }


def _as_line(example: Example, class_names: tuple[str, ...]) -> str:
    boxes = [
        [*box, class_names[class_id - 1]]
        for box, class_id in zip(example.boxes.tolist(), example.classes.tolist(), strict=True)
    ]
    image = [example.image_path.name, list(example.image_size), boxes]
    return json.dumps(image, separators=(",", ":")) + "\n"
