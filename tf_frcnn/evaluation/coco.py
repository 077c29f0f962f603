"""COCO's figures, computed by pycocotools, from which the published figures come.

There are faster rewrites; but nearly all the time of an evaluation goes into the detector.
"""

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tf_frcnn.data.example import Dataset
from tf_frcnn.evaluation.detections import Detections, align_detections, coco_box

LIMIT = 100
"""Detections of a class in an image that COCO's figures look at: those with the highest scores."""
HIGHER_LIMITS = (300, 1000)
"""Where an image holds more boxes of a class, AP is computed with these limits too."""

# Rows and columns of pycocotools' arrays: IoU thresholds, and ranges of the boxes' areas.
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
    # [IoU threshold, recall level, class, size range], and the same without recall levels.
    class_ids, *arrays = _judge(dataset, aligned, (LIMIT,))
    ours, recall = (array[..., 0] for array in arrays)
    columns = {class_id: column for column, class_id in enumerate(class_ids)}
    ap = _mean(ours[:, :, :, _ALL])
    ap_by_limit: dict[int, float | None] = dict.fromkeys(
        sorted({LIMIT, *limits}) if limits else (), ap
    )
    if limits and _most_found(aligned) > LIMIT:
        # Apart, since time grows with the ranges of areas times the highest limit.
        precision = _judge(dataset, aligned, tuple(ap_by_limit), sizes=1)[1]
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


def _judge(
    dataset: Dataset, detections: Sequence[Detections], limits: Sequence[int], sizes: int = 4
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Run pycocotools.

    Not its `summarize`, which looks for limits of 1, 10 and 100.

    Args:
        dataset: the images with their ground truth.
        detections: one record per image, in their order.
        limits: of detections of a class in an image, rising.
        sizes: how many of COCO's ranges of areas: all, small, medium, large.

    Returns:
        The ids of the classes of which there is a box or a detection, rising, as of very many it
        takes long to look at each in every image; precision [IoU threshold, recall level, class,
        size range, limit], and recall without the second axis; -1 where there is nothing to find.
    """
    annotations, results = _annotations(dataset), _results(detections)
    class_ids = sorted({item["category_id"] for item in (*annotations, *results)})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        evaluation = COCOeval(_index(dataset, annotations), _index(dataset, results), "bbox")
        evaluation.params.catIds = class_ids
        evaluation.params.maxDets = list(limits)
        evaluation.params.areaRng = evaluation.params.areaRng[:sizes]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:sizes]
        evaluation.evaluate()
        evaluation.accumulate()
    return class_ids, evaluation.eval["precision"], evaluation.eval["recall"]


def _annotations(dataset: Dataset) -> list[dict[str, Any]]:
    """List the ground truth as COCO's annotations; images are numbered from 1."""
    annotations = []
    for image_number, example in enumerate(dataset.examples, start=1):
        columns = (example.classes, example.boxes, example.crowd)
        for index, (class_id, box, crowd) in enumerate(zip(*columns, strict=True)):
            annotation = {"iscrowd": int(crowd), **_object(image_number, class_id, box)}
            if example.areas is not None and np.isfinite(example.areas[index]):
                annotation["area"] = float(example.areas[index])
            annotations.append(annotation)
    return annotations


def _results(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    """List detections as COCO's results; images are numbered from 1."""
    return [
        {"score": float(score), "iscrowd": 0, **_object(image_number, class_id, box)}
        for image_number, found in enumerate(detections, start=1)
        for class_id, box, score in zip(found.classes, found.boxes, found.scores, strict=True)
    ]


def _object(image_number: int, class_id: int, box: np.ndarray) -> dict[str, Any]:
    bbox = coco_box(box)
    return {
        "image_id": image_number,
        "category_id": int(class_id),
        "bbox": bbox,
        "area": bbox[2] * bbox[3],
    }


def _index(dataset: Dataset, objects: list[dict[str, Any]]) -> COCO:
    """Make pycocotools' index of ground truth or detections.

    `COCO.loadRes` is not used: it cannot take an empty list of detections.
    """
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(1, len(dataset.examples) + 1)],
        "categories": [
            {"id": class_id, "name": name}
            for class_id, name in enumerate(dataset.class_names, start=1)
        ],
        # From 1: pycocotools marks a match by the other's id and reads 0 as "no match".
        "annotations": [{"id": number, **item} for number, item in enumerate(objects, start=1)],
    }
    coco.createIndex()
    return coco


def _mean(figures: np.ndarray) -> float | None:
    """Average what there is; pycocotools' -1 is "nothing to find"."""
    known = figures[figures > -1]
    return float(known.mean()) if known.size else None
