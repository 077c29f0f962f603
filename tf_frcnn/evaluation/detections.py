"""Detections as every figure of this package takes them: one record per image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.errors import DataError

Merge = Callable[[np.ndarray], np.ndarray]
"""Adds up an array of float64 over all workers, each of which calls it and gets the sum."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image, in any order.

    Attributes:
        image_id: name of the image, as in its `Example`.
        boxes: [D, 4] float32 yxyx boxes in pixels of the image as it is read, half-open.
        scores: [D] float32; only their order matters to AP.
        classes: [D] int32 class ids, from 1.

    Raises:
        DataError: the shapes do not fit together, or a box or score is not finite.
    """

    image_id: str
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __post_init__(self) -> None:
        num_detections = len(self.boxes)
        shapes = (self.boxes.shape, self.scores.shape, self.classes.shape)
        expected = ((num_detections, 4), (num_detections,), (num_detections,))
        if shapes != expected:
            raise DataError(
                f"detections of image {self.image_id!r}: shapes of boxes, scores and classes "
                f"are {shapes}: expected [D, 4], [D] and [D] for one number of detections D."
            )
        finite = np.isfinite(self.boxes).all(axis=1) & np.isfinite(self.scores)
        if not finite.all():
            first = int(np.flatnonzero(~finite)[0])
            raise DataError(
                f"detections of image {self.image_id!r}: number {first} has box "
                f"{self.boxes[first].tolist()} and score {self.scores[first]}: expected finite "
                "numbers. A model that gives others has diverged: train it with a lower rate."
            )


def align_detections(dataset: Dataset, detections: Sequence[Detections]) -> list[Detections]:
    """Bring detections into the order of a data set's images.

    Args:
        dataset: the images that were to be judged.
        detections: at most one record per image, in any order.

    Returns:
        One record for each of `dataset.examples`, in their order; an image without a record
        counts as one in which nothing was found.

    Raises:
        DataError: a record names an image or a class that the data set does not have, or two
            records name the same image.
    """
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    aligned: dict[str, Detections | None] = {example.image_id: None for example in dataset.examples}
    num_classes = len(dataset.class_names)
    for found in detections:
        place = f"detections of image {found.image_id!r}"
        if found.image_id not in aligned:
            raise DataError(
                f"{place}: the split {dataset.split!r} has no such image. Judge detections on "
                "the split that they were made from."
            )
        if aligned[found.image_id] is not None:
            raise DataError(
                f"{place} are given twice: expected one record per image, with all of its boxes."
            )
        unknown = (found.classes < 1) | (found.classes > num_classes)
        if unknown.any():
            raise DataError(
                f"{place}: class {found.classes[unknown][0]}: expected 1 to {num_classes} "
                f"({enumerate_names(dataset.class_names)}). Judge a model on the classes that it "
                "was trained for."
            )
        aligned[found.image_id] = found
    return [found or Detections(name, *nothing) for name, found in aligned.items()]


def look_like_corners(dataset: Dataset, detections: Sequence[Detections]) -> bool:
    """Tell whether boxes were probably meant to be corners, and not a corner and a size.

    Args:
        dataset: the images.
        detections: one record per image, in their order.

    Returns:
        Whether most boxes end outside of their image by more than rounding, while few begin there.
    """
    ends, begins = [], []
    for example, found in zip(dataset.examples, detections, strict=True):
        height, width = example.image_size
        ends.append((found.boxes[:, 2:] > np.array([height, width]) + 1.0).any(axis=1))
        begins.append((found.boxes[:, :2] < -1.0).any(axis=1))
    outside, before = (np.concatenate(flags) if flags else np.zeros(0) for flags in (ends, begins))
    return bool(outside.size and outside.mean() > 0.5 > before.mean())


def merge_detections(dataset: Dataset, own: Sequence[Detections], merge: Merge) -> list[Detections]:
    """Exchange detections with all other workers.

    Args:
        dataset: all images.
        own: one record for each image of this worker's share; no two workers share an image.
        merge: called twice by every worker.

    Returns:
        One record for each of `dataset.examples`, in their order, equal to the last bit to those of
        the worker that made them.
    """
    positions = {example.image_id: index for index, example in enumerate(dataset.examples)}
    counts = np.zeros(len(positions))
    for found in own:
        counts[positions[found.image_id]] = len(found.scores)
    counts = merge(counts).astype(int)
    # One row per detection: its box, score and class, which float64 holds exactly.
    rows = np.zeros((len(positions), int(counts.max(initial=0)), 6))
    for found in own:
        row = np.column_stack([found.boxes, found.scores, found.classes])
        rows[positions[found.image_id], : len(row)] = row
    rows = merge(rows)
    return [
        Detections(
            image_id=example.image_id,
            boxes=found[:count, :4].astype(np.float32),
            scores=found[:count, 4].astype(np.float32),
            classes=found[:count, 5].astype(np.int32),
        )
        for example, found, count in zip(dataset.examples, rows, counts, strict=True)
    ]


def coco_box(box: np.ndarray) -> list[float]:
    """Write one yxyx box as COCO does: [x, y, width, height] in pixels.

    In float64 the difference of two float32 is exact: x + width gives xmax back.
    """
    ymin, xmin, ymax, xmax = (float(corner) for corner in box)
    return [xmin, ymin, max(xmax - xmin, 0.0), max(ymax - ymin, 0.0)]
