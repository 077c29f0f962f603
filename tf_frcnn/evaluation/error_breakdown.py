"""What kind of mistakes a detector makes, by the definitions of TIDE.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section
2.2, with its thresholds: IoU 0.5 for "found" and 0.1 for "touched". TIDE weighs an error by the AP
that it costs; here errors are counted among the detections at or above one score threshold, which
is what a user of the detector sees.

The rules of VOC judge a detection as correct, ignored (it lies on a difficult box or a crowd region
of its class) or wrong. A wrong detection is the first of these that applies:

- duplicate: IoU >= 0.5 with a box of its class, which a more confident detection has claimed;
- classification: IoU >= 0.5 with a box of another class;
- localisation: IoU >= 0.1 with a box of its class;
- both: IoU >= 0.1 with a box of another class;
- background: it touches nothing.

A box is missed if it was not found and no classification or localisation error has its largest IoU
with it. Difficult boxes and crowd regions are never missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.evaluation.detections import Detections
from tf_frcnn.evaluation.voc import (
    IGNORED,
    MIN_IOU,
    TRUE_POSITIVE,
    ignored_boxes,
    match_image,
)
from tf_frcnn.iou import pairwise_iou

TOUCH_IOU = 0.1

CORRECT, MISSED = "correct", "missed"
MISTAKES = ("localisation", "classification", "both", "duplicate", "background")
"""What a wrong detection can be."""
_IGNORED_KIND = "ignored"


@dataclass(frozen=True, eq=False)
class ImageJudgement:
    """The outcomes of the detections and boxes of one image at a score threshold.

    Attributes:
        kinds: for each detection `CORRECT`, one of `MISTAKES` or "ignored"; None below the
            threshold.
        missed: [G] bool, boxes that are missed, see above.
    """

    kinds: tuple[str | None, ...]
    missed: np.ndarray

    def count(self, *kinds: str) -> int:
        """Count the detections of these kinds."""
        return sum(kind in kinds for kind in self.kinds)


def judge_image(example: Example, detections: Detections, min_score: float) -> ImageJudgement:
    """Judge the detections of one image.

    Args:
        example: the image with its ground truth.
        detections: what was detected in it.
        min_score: detections with lower scores are disregarded.
    """
    kept = np.flatnonzero(detections.scores >= min_score)
    kinds: list[str | None] = [None] * len(detections.scores)
    found = np.zeros(len(example.boxes), bool)
    covered = ignored_boxes(example)
    iou = pairwise_iou(detections.boxes, example.boxes)  # [D, G]
    for class_id in np.unique(detections.classes[kept]):
        match = match_image(example, detections, class_id)
        for index, outcome in zip(match.order, match.outcomes, strict=True):
            if detections.scores[index] < min_score:
                break  # they come by falling score
            of_class = example.classes == class_id
            if outcome == TRUE_POSITIVE:
                kinds[index] = CORRECT
                found[_best_box(iou[index], of_class)] = True
            elif outcome == IGNORED:
                kinds[index] = _IGNORED_KIND
            else:
                kinds[index] = _explain_mistake(iou[index], of_class, covered)
    return ImageJudgement(tuple(kinds), missed=~found & ~covered)


def _explain_mistake(iou: np.ndarray, of_class: np.ndarray, covered: np.ndarray) -> str:
    """Name the kind of a wrong detection.

    Args:
        iou: [G] of the detection with the image's boxes.
        of_class: [G] bool, boxes of the detection's class.
        covered: [G] bool; set for the box that the mistake accounts for, so that it is not missed.
    """
    own = np.max(iou, initial=0.0, where=of_class)
    other = np.max(iou, initial=0.0, where=~of_class)
    if own >= MIN_IOU:
        return "duplicate"
    if other >= MIN_IOU:
        covered[_best_box(iou, ~of_class)] = True
        return "classification"
    if own >= TOUCH_IOU:
        covered[_best_box(iou, of_class)] = True
        return "localisation"
    return "both" if other >= TOUCH_IOU else "background"


def _best_box(iou: np.ndarray, allowed: np.ndarray) -> int:
    """Find the allowed box with the largest IoU: the one that VOC's matching chooses."""
    return int(np.argmax(np.where(allowed, iou, -1.0)))


def count_outcomes(
    dataset: Dataset, detections: Sequence[Detections], judgements: Sequence[ImageJudgement]
) -> dict[str, dict[str, int]]:
    """Count correct detections, mistakes and missed boxes for each class.

    Args:
        dataset: the images with their ground truth.
        detections: one record per image, in its order.
        judgements: one per image, in its order.

    Returns:
        For each class name the counts of `CORRECT`, each of `MISTAKES` and `MISSED`. A wrong
        detection counts for the class that it claims, a missed box for its own.
    """
    counts = {name: dict.fromkeys((CORRECT, *MISTAKES, MISSED), 0) for name in dataset.class_names}
    for example, found, judgement in zip(dataset.examples, detections, judgements, strict=True):
        for class_id, kind in zip(found.classes, judgement.kinds, strict=True):
            if kind is not None and kind != _IGNORED_KIND:
                counts[dataset.class_names[class_id - 1]][kind] += 1
        for class_id in example.classes[judgement.missed]:
            counts[dataset.class_names[class_id - 1]][MISSED] += 1
    return counts
