"""COCO's figures, computed by pycocotools, from which the published figures come.

There are faster rewrites; but nearly all the time of an evaluation goes into the detector.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tf_frcnn.data.example import Dataset
from tf_frcnn.evaluation.detections import Detections, align_detections, coco_box

# Where `COCOeval.summarize` leaves each of our figures in its `stats`.
_STATS = {
    "coco_ap": 0,
    "coco_ap50": 1,
    "coco_ap75": 2,
    "coco_ap_small": 3,
    "coco_ap_medium": 4,
    "coco_ap_large": 5,
    "coco_ar_100": 8,
}


@dataclass(frozen=True)
class CocoFigures:
    """COCO's figures for one set of detections: fractions, None where there is nothing to find.

    Attributes:
        overall: `coco_ap`, `coco_ap50`, `coco_ap75`, `coco_ap_small`, `coco_ap_medium`,
            `coco_ap_large` and `coco_ar_100`.
        per_class: for each class name `coco_ap` and `coco_ap50`.
    """

    overall: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]


def coco_figures(dataset: Dataset, detections: Sequence[Detections]) -> CocoFigures:
    """Judge detections as the COCO challenge does.

    Difficult boxes count as ordinary ones, since COCO has no such mark; crowd regions count as
    COCO's own. Small, medium and large go by the area of the box, height * width.

    Args:
        dataset: the images with their ground truth.
        detections: at most one record per image, in any order.

    Returns:
        The figures. Without any detection they are 0, not None, where there are boxes.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    annotations = _annotations(dataset)
    results = _results(align_detections(dataset, detections))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        evaluation = COCOeval(_index(dataset, annotations), _index(dataset, results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # [IoU threshold, recall level, class, size range, limit of detections]: all sizes, 100.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return CocoFigures(
        overall={name: _known(evaluation.stats[index]) for name, index in _STATS.items()},
        per_class={
            name: {
                "coco_ap": _known(precision[:, :, index].mean()),
                "coco_ap50": _known(precision[0, :, index].mean()),
            }
            for index, name in enumerate(dataset.class_names)
        },
    )


def _annotations(dataset: Dataset) -> list[dict[str, Any]]:
    """List the ground truth as COCO's annotations; images are numbered from 1."""
    return [
        {"iscrowd": int(crowd), **_object(image_number, class_id, box)}
        for image_number, example in enumerate(dataset.examples, start=1)
        for class_id, box, crowd in zip(example.classes, example.boxes, example.crowd, strict=True)
    ]


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


def _known(figure: float) -> float | None:
    """Turn pycocotools' -1, "nothing to find", into None."""
    return None if figure < 0 else float(figure)
