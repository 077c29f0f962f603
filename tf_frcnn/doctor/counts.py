"""How many pictures and boxes a split has, by class, by picture, by size."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_frcnn.data.example import Dataset

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_LABELS = {
    "pictures": "num_pictures",
    "empty": "num_empty_pictures",
    "left out": "num_pictures_left_out",
    "boxes": "num_boxes",
    "boxes left out": "num_boxes_left_out",
    "difficult": "num_difficult",
    "crowd": "num_crowd",
    "clipped": "num_clipped",
    "1 px": "num_one_pixel",
}
_ALWAYS_SHOWN = ("num_pictures", "num_empty_pictures", "num_boxes")


def count_split(dataset: Dataset) -> dict[str, Any]:
    """Count what a split has.

    Args:
        dataset: may be without pictures.

    Returns:
        Numbers ready for JSON, of what has no faults; what has is left out and counted as such
        (boxes: those in pictures that are kept). `num_one_pixel` counts boxes with a side of one
        pixel or less: valid, but seldom meant. Quantiles are of the smallest, 5 %, the median,
        95 % and the largest; None where there is no box.
    """
    examples = dataset.examples
    boxes_a_picture = [len(example.boxes) for example in examples]
    sides = box_sides(dataset)
    height, width = sides.T
    return {
        "num_pictures": len(examples),
        "num_boxes": sum(boxes_a_picture),
        "num_pictures_left_out": dataset.num_pictures_left_out,
        "num_boxes_left_out": dataset.num_boxes_left_out,
        "num_difficult": sum(int(example.difficult.sum()) for example in examples),
        "num_crowd": sum(int(example.crowd.sum()) for example in examples),
        "num_empty_pictures": boxes_a_picture.count(0),
        "num_clipped": dataset.num_clipped,
        "num_one_pixel": int((sides.min(axis=1) <= 1).sum()) if len(sides) else 0,
        "boxes_a_picture": {
            str(number): count for number, count in sorted(Counter(boxes_a_picture).items())
        },
        "box_height": _quantiles(height),
        "box_width": _quantiles(width),
        "box_aspect_ratio": _quantiles(height / width),
        "per_class": _count_classes(dataset),
    }


def shown_counts(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Choose the columns of a table of splits: all of them would be too wide.

    Args:
        splits: name -> what `count_split` returns.

    Returns:
        Heading -> key; without counts that are 0 in every split and seldom anything else.
    """
    return {
        label: key
        for label, key in _LABELS.items()
        if key in _ALWAYS_SHOWN or any(counts[key] for counts in splits.values())
    }


def box_sides(dataset: Dataset) -> np.ndarray:
    """Get (height, width) of all boxes of a split, [N, 2] float32, in stored pixels."""
    boxes = [np.zeros((0, 4), np.float32), *(example.boxes for example in dataset.examples)]
    stacked = np.concatenate(boxes)
    return stacked[:, 2:] - stacked[:, :2]


def _count_classes(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Count boxes, and pictures with at least one of them, for each class."""
    num_boxes: Counter[int] = Counter()
    num_pictures: Counter[int] = Counter()
    for example in dataset.examples:
        num_boxes.update(example.classes.tolist())
        num_pictures.update(set(example.classes.tolist()))
    return {
        name: {"num_boxes": num_boxes[number], "num_pictures": num_pictures[number]}
        for number, name in enumerate(dataset.class_names, start=1)
    }


def _quantiles(values: np.ndarray) -> list[float] | None:
    if not len(values):
        return None
    return [round(float(value), 4) for value in np.quantile(values, _QUANTILES)]
