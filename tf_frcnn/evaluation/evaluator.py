"""From a detector and a data set to the figures of `metrics.json`."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.data.example import Dataset
from tf_frcnn.evaluation.coco import coco_figures
from tf_frcnn.evaluation.detections import Detections, align_detections
from tf_frcnn.evaluation.voc import (
    average_precision_11_point,
    average_precision_area,
    mean_average_precision,
    precision_recall,
)

Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Takes a picture, uint8 [H, W, 3] RGB; gives yxyx boxes [D, 4] in its pixels, scores [D] and
class ids [D] from 1."""


def _as_given(items: Iterable[Any]) -> Iterable[Any]:
    """Show no progress."""
    return items


def detect_dataset(
    dataset: Dataset,
    detect: Detect,
    read_image: Callable[[Path], np.ndarray],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = _as_given,
) -> list[Detections]:
    """Run a detector over a data set, one picture in memory at a time.

    Args:
        dataset: the pictures.
        detect: finds objects in one picture.
        read_image: reads a picture's stored pixels as uint8 [H, W, 3] RGB.
        progress: is given the pictures to go through and may show how far it is.

    Returns:
        One record a picture, in the order of the data set.

    Raises:
        DataError: a picture cannot be read, or the detector gives numbers that are not finite.
    """
    detections = []
    for example in progress(dataset.examples):
        boxes, scores, classes = detect(read_image(example.image_path))
        detections.append(
            Detections(
                image_id=example.image_id,
                boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
                scores=np.asarray(scores, np.float32),
                classes=np.asarray(classes, np.int32),
            )
        )
    return detections


def compute_metrics(dataset: Dataset, detections: Sequence[Detections]) -> dict[str, Any]:
    """Compute every figure of `metrics.json` from one set of detections.

    Args:
        dataset: the pictures with their ground truth.
        detections: at most one record a picture, in any order; a picture without one counts as a
            picture in which nothing was found.

    Returns:
        Plain numbers, ready for JSON. Figures are fractions from 0 to 1, None where a class (or
        the whole split) has no boxes to find:

        - `split`, `num_pictures`;
        - `num_boxes`, ground-truth boxes that are neither difficult nor crowd; `num_difficult`,
          those that are one or the other: ignored by the VOC figures, while the COCO figures
          count difficult boxes as ordinary ones;
        - `voc_ap50_11pt`, `voc_ap50_area`, means over the classes that have boxes;
        - `coco_ap`, `coco_ap50`, `coco_ap75`, `coco_ap_small`, `coco_ap_medium`,
          `coco_ap_large`, `coco_ar_100`;
        - `per_class`: for each name `voc_ap50_11pt`, `voc_ap50_area`, `coco_ap`, `coco_ap50`,
          `num_boxes`, `num_difficult`.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    aligned = align_detections(dataset, detections)
    coco = coco_figures(dataset, aligned)
    per_class = {
        name: {
            **_voc_figures(dataset, aligned, class_id),
            **coco.per_class[name],
            **_count_boxes(dataset, class_id),
        }
        for class_id, name in enumerate(dataset.class_names, start=1)
    }
    return {
        "split": dataset.split,
        "num_pictures": len(dataset.examples),
        **{
            name: sum(figures[name] for figures in per_class.values())
            for name in ("num_boxes", "num_difficult")
        },
        **{
            name: mean_average_precision(figures[name] for figures in per_class.values())
            for name in ("voc_ap50_11pt", "voc_ap50_area")
        },
        **coco.overall,
        "per_class": per_class,
    }


def _voc_figures(
    dataset: Dataset, detections: Sequence[Detections], class_id: int
) -> dict[str, Any]:
    """Compute both VOC figures of one class."""
    curve = precision_recall(dataset, detections, class_id)
    return {
        "voc_ap50_11pt": average_precision_11_point(curve),
        "voc_ap50_area": average_precision_area(curve),
    }


def _count_boxes(dataset: Dataset, class_id: int) -> dict[str, Any]:
    """Count the boxes of one class that must be found, and those that need not."""
    num_boxes = num_difficult = 0
    for example in dataset.examples:
        of_class = example.classes == class_id
        excused = int(np.sum(of_class & (example.difficult | example.crowd)))
        num_difficult += excused
        num_boxes += int(of_class.sum()) - excused
    return {"num_boxes": num_boxes, "num_difficult": num_difficult}
