"""The contract between data-set readers and everything that uses images with boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_frcnn.data.orientation import UPRIGHT, ExifChoice, turned_size


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """One image with its boxes, as a reader gives it.

    Attributes:
        image_id: name of the image, unique in its split.
        image_path: file of the image.
        image_size: (height, width) of the image as it is used: turned by its `orientation`.
        boxes: [G, 4] float32 yxyx boxes in pixels of that image, half-open.
        classes: [G] int32 class ids, from 1.
        difficult: [G] bool; left out of training, ignored (not removed) in VOC evaluation.
        crowd: [G] bool; COCO's crowd regions, treated as difficult outside COCO evaluation.
        source: where the boxes came from, for messages.
        areas: [G] float64 areas in pixels as the annotation states them, by which COCO's figures
            tell small from large; NaN where it states none, None where it states none of any.
        orientation: of EXIF, by which stored pixels are turned; 1 where they are taken as stored.
        coco_file: the annotation file where it is COCO's; None in other formats.
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
    orientation: int = UPRIGHT
    coco_file: Path | None = None

    @property
    def is_trained_on(self) -> np.ndarray:
        """[G] bool: the boxes that take part in training, those of no crowd and not difficult."""
        return ~(self.difficult | self.crowd)

    @property
    def stored_size(self) -> tuple[int, int]:
        """(height, width) of the stored pixels: turning back is exchanging them as well."""
        return turned_size(self.image_size, self.orientation)


@dataclass(frozen=True)
class Dataset:
    """One split of a data set.

    Attributes:
        split: name of the split.
        class_names: names of classes 1..N, in the order of their ids.
        examples: the images, in the order of the split's list.
        num_clipped: boxes that were partly outside of their image and were clipped.
        num_rotated: boxes that were drawn turned; the upright ones around them are taken.
        num_sizes_differ: images whose annotation states another size than they have.
        num_images_left_out: images of the split that have faults and were skipped.
        num_boxes_left_out: boxes with faults that were skipped, in images that were kept.
        left_out: those of them whose files can be checked all the same, as the others' are.
        division: the image ids of all splits, where they were made by a seed; None where the data
            set has splits of its own.
        exif: what was chosen for the EXIF orientations of its images.
        remarks: what is odd about the files it was read from and is in no image, a sentence each.
    """

    split: str
    class_names: tuple[str, ...]
    examples: tuple[Example, ...]
    num_clipped: int = 0
    num_rotated: int = 0
    num_sizes_differ: int = 0
    num_images_left_out: int = 0
    num_boxes_left_out: int = 0
    left_out: tuple[Example, ...] = ()
    division: Mapping[str, Sequence[str]] | None = None
    exif: ExifChoice = "apply"
    remarks: tuple[str, ...] = ()
