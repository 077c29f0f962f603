"""COCO's figures, which are pycocotools' own to the last bit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tf_frcnn.data.example import Dataset
from tf_frcnn.evaluation.coco_curves import coco_curves
from tf_frcnn.evaluation.detections import Detections, align_detections

LIMIT = 100
"""Detections of a class in an image that COCO's figures look at: those with the highest scores."""
HIGHER_LIMITS = (300, 1000)
"""Where an image holds more boxes of a class, AP is computed with these limits too."""

# Rows and columns of the curves: IoU thresholds, and ranges of the boxes' areas.
_IOU_50, _IOU_75 = 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


@dataclass(frozen=True)
class CocoFigures:
    """COCO's figures for one set of detections: fractions, None where there is nothing to find.

    Attributes:
        overall: `coco_ap`, `coco_ap50`, `coco_ap75`, `coco_ap_small`, `coco_ap_medium`,
            `coco_ap_large` and `coco_ar_100`.
        per_class: for each class name `coco_ap` and `coco_ap50`.
        ap_by_limit: `coco_ap` with each of the limits that were asked for, and with COCO's own.
            Empty where none was.
    """

    overall: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]
    ap_by_limit: dict[int, float | None] = field(default_factory=dict)


def most_boxes(dataset: Dataset) -> int:
    """Count the boxes of one class in the image that has most, without crowd regions."""
    return _most_alike(example.classes[~example.crowd] for example in dataset.examples)


def coco_figures(
    dataset: Dataset, detections: Sequence[Detections], limits: Sequence[int] = ()
) -> CocoFigures:
    """Judge detections as the COCO challenge does.

    Difficult boxes count as ordinary ones, since COCO has no such mark; crowd regions count as
    COCO's own. Small, medium and large go by the area that the annotation states (COCO's is that of
    the object's mask), or else by that of the box, height * width.

    Args:
        dataset: the images with their ground truth.
        detections: at most one record per image, in any order.
        limits: of detections of a class in an image; AP is computed with each of them beside the
            figures, which have COCO's own, `LIMIT`.

    Returns:
        The figures. Without any detection they are 0, not None, where there are boxes.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    aligned = align_detections(dataset, detections)
    curves = coco_curves(dataset, aligned, (LIMIT,))
    ours, recall = curves.precision[..., 0], curves.recall[..., 0]
    columns = {class_id: column for column, class_id in enumerate(curves.class_ids)}
    ap = _mean(ours[:, :, :, _ALL])
    ap_by_limit: dict[int, float | None] = dict.fromkeys(
        sorted({LIMIT, *limits}) if limits else (), ap
    )
    if limits and _most_found(aligned) > LIMIT:
        # Apart, since time grows with the ranges of areas times the highest limit.
        precision = coco_curves(dataset, aligned, tuple(ap_by_limit), sizes=1).precision
        ap_by_limit = {
            limit: _mean(precision[:, :, :, _ALL, index]) for index, limit in enumerate(ap_by_limit)
        }
    return CocoFigures(
        overall={
            "coco_ap": ap,
            "coco_ap50": _mean(ours[_IOU_50, :, :, _ALL]),
            "coco_ap75": _mean(ours[_IOU_75, :, :, _ALL]),
            "coco_ap_small": _mean(ours[:, :, :, _SMALL]),
            "coco_ap_medium": _mean(ours[:, :, :, _MEDIUM]),
            "coco_ap_large": _mean(ours[:, :, :, _LARGE]),
            "coco_ar_100": _mean(recall[:, :, _ALL]),
        },
        per_class={
            name: {
                "coco_ap": _mean(ours[:, :, columns.get(class_id, slice(0)), _ALL]),
                "coco_ap50": _mean(ours[_IOU_50, :, columns.get(class_id, slice(0)), _ALL]),
            }
            for class_id, name in enumerate(dataset.class_names, start=1)
        },
        ap_by_limit=ap_by_limit,
    )


def _most_found(detections: Sequence[Detections]) -> int:
    return _most_alike(found.classes for found in detections)


def _most_alike(classes: Iterable[np.ndarray]) -> int:
    """Count the objects of one class in the image that has most; classes are [D] of each."""
    return max((int(np.bincount(one, minlength=1).max()) for one in classes), default=0)


def _mean(figures: np.ndarray) -> float | None:
    """Average what there is; -1 is "nothing to find"."""
    known = figures[figures > -1]
    return float(known.mean()) if known.size else None
