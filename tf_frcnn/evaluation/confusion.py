"""The confusion matrix: which class is taken for which, and for background.

Unlike for AP, a detection may match a box of another class. In each image the detections at or
above the score threshold claim boxes by falling score, each box once:

1. each takes the free box of its own class with the largest IoU, if that is 0.5 or more;
2. each that has no box yet takes the free box of any other class with the largest IoU, if that is
   0.5 or more: a confusion;
3. each that still has no box is a detection of background, unless it lies on an ignored box
   (difficult or crowd, IoU 0.5 or more, of its own class): then it is left out;
4. boxes that were not taken are missed: taken for background. Ignored boxes are never missed.

So a more confident detection of a wrong class never takes a box from one of the right class.
"""

from collections.abc import Sequence

import numpy as np

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.evaluation.detections import Detections, align_detections
from tf_frcnn.evaluation.voc import MIN_IOU, ignored_boxes
from tf_frcnn.iou import pairwise_iou

_BACKGROUND = 0  # among class ids


def confusion_matrix(
    dataset: Dataset, detections: Sequence[Detections], min_score: float
) -> np.ndarray:
    """Count how boxes of each class were detected.

    Args:
        dataset: the images with their ground truth.
        detections: at most one record per image, in any order.
        min_score: detections with lower scores are disregarded.

    Returns:
        [N + 1, N + 1] int64; row = true class, column = detected class, both in the order of the
        class ids with background *last*. The corner background, background is 0.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    size = len(dataset.class_names) + 1
    counts = np.zeros((size, size), np.int64)
    cells = confusion_cells(dataset, detections, min_score)
    counts[cells[:, 0], cells[:, 1]] = cells[:, 2]
    return counts


def confusion_cells(
    dataset: Dataset, detections: Sequence[Detections], min_score: float
) -> np.ndarray:
    """List the cells of the confusion matrix that are not 0.

    Args:
        dataset: as in `confusion_matrix`.
        detections: likewise.
        min_score: likewise.

    Returns:
        [P, 3] int64 row, column and count, row by row.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    for example, found in zip(dataset.examples, align_detections(dataset, detections), strict=True):
        pairs.append(np.stack(_pair_image(example, found, min_score), axis=1))
    # Class ids have the background first.
    rows = (np.concatenate(pairs).astype(np.int64) - 1) % (len(dataset.class_names) + 1)
    cells, counts = np.unique(rows, axis=0, return_counts=True)
    return np.column_stack([cells, counts])


def _pair_image(
    example: Example, found: Detections, min_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """List the true and the detected class ids [P] of all pairs in one image."""
    kept = np.flatnonzero(found.scores >= min_score)
    kept = kept[np.argsort(-found.scores[kept], kind="stable")]
    ignored = ignored_boxes(example)
    iou = pairwise_iou(found.boxes[kept], example.boxes)  # [K, G]
    detected, truth = found.classes[kept], example.classes
    same_class = detected[:, None] == truth[None, :]  # [K, G]
    free = ~ignored
    partner = np.full(len(kept), -1)
    for allowed in (same_class, ~same_class):
        _claim(np.where(allowed, iou, 0.0), free, partner)
    unmatched = partner < 0
    on_ignored = (same_class & ignored & (iou >= MIN_IOU)).any(axis=1)
    background = np.flatnonzero(unmatched & ~on_ignored)
    matched = np.flatnonzero(~unmatched)
    rows = [truth[partner[matched]], np.full(len(background), _BACKGROUND), truth[free]]
    columns = [detected[matched], detected[background], np.full(int(free.sum()), _BACKGROUND)]
    return np.concatenate(rows), np.concatenate(columns)


def _claim(iou: np.ndarray, free: np.ndarray, partner: np.ndarray) -> None:
    """Give each detection without a partner the free box with the largest IoU.

    Args:
        iou: [K, G] with detections by falling score; 0 where a pair is not allowed.
        free: [G] bool, boxes that are not taken; updated.
        partner: [K] index of a detection's box, -1 for none; updated.
    """
    if not iou.shape[1]:
        return
    for index in np.flatnonzero(partner < 0):
        overlap = np.where(free, iou[index], 0.0)
        best = int(overlap.argmax())
        if overlap[best] >= MIN_IOU:
            partner[index], free[best] = best, False
