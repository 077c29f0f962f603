"""Precision, recall and AP by the rules of the Pascal VOC devkit (`VOCevaldet.m`, `VOCap.m`).

Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2.
Detections of one class claim ground-truth boxes greedily, by falling score; a second detection of
the same object is a false positive. Boxes marked difficult (and COCO's crowd regions) are ignored,
not removed: a detection of one counts neither as right nor as wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.evaluation.detections import Detections, align_detections
from tf_frcnn.iou import pairwise_iou

MIN_IOU = 0.5  # at which a detection has found a box

# Steps of 0.1 as published implementations compute them: 3 * 0.1 is a hair above 0.3, so a recall
# of exactly 3 / 10 does not reach that level. Exact steps would give other figures than theirs.
_RECALL_LEVELS = np.arange(11) * 0.1

# The outcomes of a detection.
FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """The precision-recall curve of one class: one point per detection, by falling score.

    Attributes:
        scores: [P] float64, falling; detections of ignored boxes are left out.
        precision: [P] float64, share of true positives among the detections so far.
        recall: [P] float64, share of the boxes found so far; 0 where the class has no boxes.
        num_boxes: ground-truth boxes that are neither difficult nor crowd.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    num_boxes: int


@dataclass(frozen=True, eq=False)
class ImageMatch:
    """How the detections of one class in one image match its boxes.

    Attributes:
        order: [D'] indices of the detections of the class in the image, by falling score.
        outcomes: [D'] `TRUE_POSITIVE`, `FALSE_POSITIVE` or `IGNORED`, in that order.
        found: [G] bool, which of the image's boxes (of all classes) were found.
    """

    order: np.ndarray
    outcomes: np.ndarray
    found: np.ndarray


def precision_recall(
    dataset: Dataset, detections: Sequence[Detections], class_id: int
) -> PrecisionRecall:
    """Match the detections of one class with its boxes, over all images.

    Args:
        dataset: the images with their ground truth.
        detections: at most one record per image, in any order.
        class_id: the class, from 1.

    Returns:
        The curve; without points where nothing was detected. Equal scores keep the order of the
        data set's images, and in an image that of its detections.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    num_boxes = 0
    scores, outcomes = [np.zeros(0)], [np.zeros(0, np.int64)]
    for example, found in zip(dataset.examples, align_detections(dataset, detections), strict=True):
        num_boxes += int(np.sum((example.classes == class_id) & ~ignored_boxes(example)))
        match = match_image(example, found, class_id)
        scores.append(found.scores[match.order].astype(np.float64))
        outcomes.append(match.outcomes)
    return _curve(np.concatenate(scores), np.concatenate(outcomes), num_boxes)


def ignored_boxes(example: Example) -> np.ndarray:
    """Tell which boxes of an image, [G] bool, count neither for nor against a detector."""
    return example.difficult | example.crowd


def match_image(example: Example, found: Detections, class_id: int) -> ImageMatch:
    """Let the detections of one class in one image claim its boxes, by falling score.

    Image by image the result is that of a match over all images, since a detection competes
    only with those of its own image, in the same order.

    Args:
        example: the image with its ground truth.
        found: what was detected in it.
        class_id: the class, from 1.

    Returns:
        The outcome of each detection of this class; ignored boxes are never found.
    """
    of_class = np.flatnonzero(found.classes == class_id)
    order = of_class[np.argsort(-found.scores[of_class], kind="stable")]
    outcomes = np.full(len(order), FALSE_POSITIVE)
    claimed = np.zeros(len(example.boxes), bool)
    truth = np.flatnonzero(example.classes == class_id)
    if not len(order) or not len(truth):
        return ImageMatch(order, outcomes, claimed)
    ignored = ignored_boxes(example)
    iou = pairwise_iou(found.boxes[order], example.boxes[truth])  # [D', G']
    # The devkit's only candidate is the box with the largest IoU. If that is taken, the detection
    # is a duplicate, even if another box is still free.
    for index, best in enumerate(iou.argmax(axis=1)):
        candidate = truth[best]
        if iou[index, best] < MIN_IOU:
            continue
        if ignored[candidate]:
            outcomes[index] = IGNORED
        elif not claimed[candidate]:
            outcomes[index] = TRUE_POSITIVE
            claimed[candidate] = True
    return ImageMatch(order, outcomes, claimed)


def _curve(scores: np.ndarray, outcomes: np.ndarray, num_boxes: int) -> PrecisionRecall:
    """Count hits by falling score over all images and turn them into a curve."""
    order = np.argsort(-scores, kind="stable")
    order = order[outcomes[order] != IGNORED]
    hits = np.cumsum(outcomes[order] == TRUE_POSITIVE)
    return PrecisionRecall(
        scores=scores[order],
        precision=hits / np.arange(1, len(order) + 1),
        recall=hits / max(num_boxes, 1),
        num_boxes=num_boxes,
    )


def average_precision_11_point(curve: PrecisionRecall) -> float | None:
    """Compute AP as VOC2007 did: the mean of the best precisions at recalls >= 0, 0.1, ..., 1.

    Args:
        curve: the curve of one class.

    Returns:
        A fraction, or None where the class has no boxes.
    """
    if curve.num_boxes == 0:
        return None
    best = [np.max(curve.precision, initial=0.0, where=curve.recall >= r) for r in _RECALL_LEVELS]
    return float(np.mean(best))


def average_precision_area(curve: PrecisionRecall) -> float | None:
    """Compute AP as VOC2010 and later do: the area under the monotone envelope of the curve.

    Args:
        curve: the curve of one class.

    Returns:
        A fraction, or None where the class has no boxes.
    """
    if curve.num_boxes == 0:
        return None
    # The best precision at this recall or any higher one.
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    widths = np.diff(curve.recall, prepend=0.0)
    return float(np.sum(widths * envelope))


def mean_average_precision(values: Iterable[float | None]) -> float | None:
    """Average AP over the classes that have boxes; None where none has."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class OperatingPoint:
    """Precision, recall and F1 of the detections at or above a score threshold.

    Attributes:
        score_threshold: detections with this score or a higher one are kept; None where there is
            no detection, or no box to find.
        precision: share of the kept detections that are right; None where the threshold is.
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
        The point; among equal F1 that with the highest threshold. Equal scores are kept or dropped
        together, since no threshold can separate them.
    """
    num_boxes = sum(curve.num_boxes for curve in curves)
    if num_boxes == 0:
        return OperatingPoint(None, None, None, None)
    scores = np.concatenate([curve.scores for curve in curves])
    if not len(scores):
        return OperatingPoint(None, None, recall=0.0, f1=0.0)
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    # A detection is a hit where it raises the recall.
    hits = np.concatenate([np.diff(curve.recall, prepend=0.0) > 0.0 for curve in curves])
    num_hits = np.cumsum(hits[order])
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
