"""Detections as every figure of this package takes them: one record a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.data.example import Dataset
from tf_frcnn.errors import DataError


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one picture, in any order.

    Attributes:
        image_id: name of the picture, as in its `Example`.
        boxes: [D, 4] float32 yxyx boxes in pixels of the stored picture, half-open.
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
                f"detections of picture {self.image_id!r}: shapes of boxes, scores and classes "
                f"are {shapes}: expected [D, 4], [D] and [D] for one number of detections D."
            )
        finite = np.isfinite(self.boxes).all(axis=1) & np.isfinite(self.scores)
        if not finite.all():
            first = int(np.flatnonzero(~finite)[0])
            raise DataError(
                f"detections of picture {self.image_id!r}: number {first} has box "
                f"{self.boxes[first].tolist()} and score {self.scores[first]}: expected finite "
                "numbers. A model that gives others has diverged: train it with a lower rate."
            )


def align_detections(dataset: Dataset, detections: Sequence[Detections]) -> list[Detections]:
    """Order detections as the pictures of a data set, so that the order given plays no part.

    Args:
        dataset: the pictures that were to be judged.
        detections: at most one record a picture, in any order.

    Returns:
        One record for each of `dataset.examples`, in their order; a picture without a record
        counts as one in which nothing was found.

    Raises:
        DataError: a record names a picture or a class that the data set does not have, or two
            records name the same picture.
    """
    known = {example.image_id for example in dataset.examples}
    by_picture: dict[str, Detections] = {}
    for found in detections:
        _check_record(dataset, found, found.image_id in known, found.image_id in by_picture)
        by_picture[found.image_id] = found
    return [
        by_picture.get(example.image_id) or _nothing_found(example.image_id)
        for example in dataset.examples
    ]


def _check_record(dataset: Dataset, found: Detections, known: bool, repeated: bool) -> None:
    """Raise a `DataError` for a record that does not belong to the data set."""
    if not known:
        raise DataError(
            f"detections of picture {found.image_id!r}: the split {dataset.split!r} has no such "
            "picture. Judge detections on the split that they were made from."
        )
    if repeated:
        raise DataError(
            f"detections of picture {found.image_id!r} are given twice: expected one record a "
            "picture, with all of its boxes."
        )
    num_classes = len(dataset.class_names)
    unknown = (found.classes < 1) | (found.classes > num_classes)
    if unknown.any():
        raise DataError(
            f"detections of picture {found.image_id!r}: class {found.classes[unknown][0]}: "
            f"expected 1 to {num_classes} ({', '.join(dataset.class_names)}). Judge a model on "
            "the classes that it was trained for."
        )


def _nothing_found(image_id: str) -> Detections:
    """Make the record of a picture without detections."""
    return Detections(
        image_id=image_id,
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        classes=np.zeros(0, np.int32),
    )
