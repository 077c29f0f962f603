"""Which boxes take part in training, and whether there are any. No TensorFlow here."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import counted


@dataclass(frozen=True)
class BoxCounts:
    """Boxes of one kind, and why some of them take no part in training.

    Attributes:
        total: all of them.
        crowd: crowd regions.
        difficult: difficult ones that are no crowds.
    """

    total: int
    crowd: int
    difficult: int

    @property
    def trained_on(self) -> int:
        """Those that are neither."""
        return self.total - self.crowd - self.difficult

    def __str__(self) -> str:
        """Say which flags they have, and how many."""
        flags = [
            f"{number} {name}"
            for number, name in (
                (self.crowd, "crowds (iscrowd 1)"),
                (self.difficult, "difficult (difficult 1)"),
            )
            if number
        ]
        return ", ".join(flags)


def count_boxes(dataset: Dataset) -> dict[str, BoxCounts]:
    """Count the boxes of each class of a split.

    Args:
        dataset: may be without images.

    Returns:
        Name of each class, in their order -> its boxes.
    """
    size = len(dataset.class_names) + 1
    examples = dataset.examples
    classes = np.concatenate([*(one.classes for one in examples), np.zeros(0, np.int32)])
    is_crowd = np.concatenate([*(one.crowd for one in examples), np.zeros(0, bool)])
    is_difficult = np.concatenate([*(one.difficult for one in examples), np.zeros(0, bool)])
    total, crowd, difficult = (
        np.bincount(chosen, minlength=size)
        for chosen in (classes, classes[is_crowd], classes[is_difficult & ~is_crowd])
    )
    return {
        name: BoxCounts(int(total[number]), int(crowd[number]), int(difficult[number]))
        for number, name in enumerate(dataset.class_names, start=1)
    }


def add_up(counts: Mapping[str, BoxCounts]) -> BoxCounts:
    """Add up the boxes of all classes."""
    return BoxCounts(
        sum(one.total for one in counts.values()),
        sum(one.crowd for one in counts.values()),
        sum(one.difficult for one in counts.values()),
    )


def explain_nothing_to_learn(dataset: Dataset) -> str:
    """Say that no box of a split takes part in training, and why: one message, or ""."""
    counts = add_up(count_boxes(dataset))
    if counts.trained_on:
        return ""
    reasons = [str(counts)] if counts.total else []
    if dataset.num_boxes_left_out:
        reasons.append(f"{dataset.num_boxes_left_out} left out for their faults")
    there = counted(counts.total + dataset.num_boxes_left_out, "box", "boxes")
    return (
        f"split {dataset.split}: nothing to learn from in {counted(len(dataset.examples), 'image')}"
        f" with {there}{': ' * bool(reasons)}{', '.join(reasons)}. Boxes of crowds and difficult "
        "ones take no part in training. Expected at least one other: set these flags to 0 where "
        "they were not meant."
    )


def untrained_classes(counts: Mapping[str, BoxCounts]) -> list[str]:
    """List the classes that have boxes of which none takes part in training, with their flags."""
    return [f"{name}: {one}" for name, one in counts.items() if one.total and not one.trained_on]
