"""The score threshold at which a detector is used best, and what it is worth there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.evaluation.voc import PrecisionRecall


@dataclass(frozen=True)
class OperatingPoint:
    """Precision, recall and F1 of the detections from a score threshold on.

    Attributes:
        score_threshold: detections with this score or a higher one are kept; None where there is
            no detection, or no box to find.
        precision: share of the kept detections that are right; None as the threshold is.
        recall: share of the boxes that they find; None where there is no box.
        f1: harmonic mean of the two; None where there is no box.
    """

    score_threshold: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def best_operating_point(curves: Sequence[PrecisionRecall]) -> OperatingPoint:
    """Find the threshold with the largest F1 for one class, or one threshold for several.

    Several classes are pooled: all detections count, and all boxes, so that a class with many
    boxes weighs more than one with few.

    Args:
        curves: the curve of one class, or those of several.

    Returns:
        The point; of equal F1 the one with the highest threshold. Equal scores can't be told
        apart by a threshold and are kept or dropped together.
    """
    num_boxes = sum(curve.num_boxes for curve in curves)
    if num_boxes == 0:
        return OperatingPoint(None, None, None, None)
    scores = np.concatenate([curve.scores for curve in curves])
    if not len(scores):
        return OperatingPoint(None, None, recall=0.0, f1=0.0)
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    num_hits = np.cumsum(np.concatenate([_hits(curve) for curve in curves])[order])
    num_kept = np.arange(1, len(scores) + 1)
    # 2 P R / (P + R) with P = hits / kept and R = hits / boxes; never divides by zero.
    f1 = 2.0 * num_hits / (num_kept + num_boxes)
    is_last_of_equal = np.append(scores[1:] != scores[:-1], True)
    best = int(np.argmax(np.where(is_last_of_equal, f1, -1.0)))
    return OperatingPoint(
        score_threshold=float(scores[best]),
        precision=float(num_hits[best] / num_kept[best]),
        recall=float(num_hits[best] / num_boxes),
        f1=float(f1[best]),
    )


def _hits(curve: PrecisionRecall) -> np.ndarray:
    """Tell [P] which detections of a curve raised its recall, as 0 and 1."""
    return (np.diff(curve.recall, prepend=0.0) > 0.0).astype(np.int64)
