"""Average precision by the rules of the Pascal VOC devkit (`VOCevaldet.m`, `VOCap.m`).

Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2.
Detections of one class claim ground-truth boxes greedily, by falling score; a second detection of
the same object is a false positive. Boxes marked difficult (and COCO's crowd regions) are ignored,
not removed: whoever finds one is neither rewarded nor punished.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.evaluation.detections import Detections, align_detections
from tf_frcnn.iou import pairwise_iou

MIN_IOU = 0.5

# Steps of 0.1 as published implementations compute them: 3 * 0.1 is a hair above 0.3, so a recall
# of exactly 3 / 10 does not reach that level. Rounded properly, our figures would not equal theirs.
_RECALL_LEVELS = np.arange(11) * 0.1

# What becomes of a detection.
FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """The precision-recall curve of one class: one point a detection, by falling score.

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
class PictureMatch:
    """How the detections of one class in one picture met its boxes.

    Attributes:
        order: [D'] indices of the detections of the class in the picture, by falling score.
        outcomes: [D'] `TRUE_POSITIVE`, `FALSE_POSITIVE` or `IGNORED`, in that order.
        found: [G] bool, which of the picture's boxes (of all classes) were found.
    """

    order: np.ndarray
    outcomes: np.ndarray
    found: np.ndarray


def precision_recall(
    dataset: Dataset, detections: Sequence[Detections], class_id: int, min_iou: float = MIN_IOU
) -> PrecisionRecall:
    """Match the detections of one class with its boxes, over all pictures.

    Args:
        dataset: the pictures with their ground truth.
        detections: at most one record a picture; the order of the records plays no part.
        class_id: the class, from 1.
        min_iou: IoU at which a detection has found a box.

    Returns:
        The curve; without points where nothing was detected. Equal scores keep the order of the
        data set's pictures, and in a picture that of its detections.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    num_boxes = 0
    scores, outcomes = [np.zeros(0)], [np.zeros(0, np.int64)]
    for example, found in zip(dataset.examples, align_detections(dataset, detections), strict=True):
        num_boxes += int(np.sum((example.classes == class_id) & ~ignored_boxes(example)))
        match = match_picture(example, found, class_id, min_iou)
        scores.append(found.scores[match.order].astype(np.float64))
        outcomes.append(match.outcomes)
    return _curve(np.concatenate(scores), np.concatenate(outcomes), num_boxes)


def ignored_boxes(example: Example) -> np.ndarray:
    """Tell which boxes [G] of a picture count neither for nor against a detector."""
    return example.difficult | example.crowd


def match_picture(
    example: Example, found: Detections, class_id: int, min_iou: float = MIN_IOU
) -> PictureMatch:
    """Let the detections of one class in one picture claim its boxes, by falling score.

    Matching picture by picture is matching over all pictures: a detection competes only with
    those of its own picture, whose order is the same in both.

    Args:
        example: the picture with its ground truth.
        found: what was detected in it.
        class_id: the class, from 1.
        min_iou: IoU at which a detection has found a box.

    Returns:
        What became of each detection of this class; ignored boxes are never found.
    """
    of_class = np.flatnonzero(found.classes == class_id)
    order = of_class[np.argsort(-found.scores[of_class], kind="stable")]
    outcomes = np.full(len(order), FALSE_POSITIVE)
    claimed = np.zeros(len(example.boxes), bool)
    truth = np.flatnonzero(example.classes == class_id)
    if not len(order) or not len(truth):
        return PictureMatch(order, outcomes, claimed)
    ignored = ignored_boxes(example)
    iou = pairwise_iou(found.boxes[order], example.boxes[truth])  # [D', G']
    # The devkit knows one candidate, the box with the largest IoU. If that is taken, the detection
    # is a duplicate, even where another box would still be free.
    for index, best in enumerate(iou.argmax(axis=1)):
        candidate = truth[best]
        if iou[index, best] < min_iou:
            continue
        if ignored[candidate]:
            outcomes[index] = IGNORED
        elif not claimed[candidate]:
            outcomes[index] = TRUE_POSITIVE
            claimed[candidate] = True
    return PictureMatch(order, outcomes, claimed)


def _curve(scores: np.ndarray, outcomes: np.ndarray, num_boxes: int) -> PrecisionRecall:
    """Count hits by falling score over all pictures and turn them into a curve."""
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
    """Compute AP as VOC2007 did: the mean of 11 precisions.

    They are the best ones reached at a recall of at least 0, 0.1, ..., 1.

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
