"""The contract between data-set readers and everything that uses images with boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Example:
    """One image with its boxes, as a reader gives it.

    Attributes:
        image_id: name of the image, unique in its split.
        image_path: file of the image.
        image_size: (height, width) of the stored pixels.
        boxes: [G, 4] float32 yxyx boxes in pixels of the stored image, half-open.
        classes: [G] int32 class ids, from 1.
        difficult: [G] bool; left out of training, ignored (not removed) in VOC evaluation.
        crowd: [G] bool; COCO's crowd regions, treated as difficult outside COCO evaluation.
        source: where the boxes came from, for messages: the annotation file.
        areas: [G] float64 areas in pixels of the stored image as the annotation states them, by
            which COCO's figures tell small from large; NaN where it states none, None where it
            states none of any.
    """

    image_id: str
    image_path: Path
    image_size: tuple[int, int]
    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    source: str
    areas: np.ndarray | None = None


@dataclass(frozen=True)
class Dataset:
    """One split of a data set.

    Attributes:
        split: name of the split.
        class_names: names of classes 1..N, in the order of their ids.
        examples: the images, in the order of the split's list.
        num_clipped: boxes that were partly outside of their image and were clipped.
        num_images_left_out: images of the split that have faults and were skipped.
        num_boxes_left_out: boxes with faults that were skipped, in images that were kept.
        division: the image ids of all splits, where they were made by a seed; None where the data
            set has splits of its own.
    """

    split: str
    class_names: tuple[str, ...]
    examples: tuple[Example, ...]
    num_clipped: int = 0
    num_images_left_out: int = 0
    num_boxes_left_out: int = 0
    division: Mapping[str, Sequence[str]] | None = None
