"""Precision and recall as COCO's evaluation has them: pycocotools' numbers to the last bit.

The rules, the order of every sum and the IoU are pycocotools' (`COCOeval.evaluate`, `accumulate`),
from which the published figures come. Its loops in Python over images, classes, sizes, thresholds,
detections and boxes are not: here detections that overlap a box are matched one after the other,
for all sizes and thresholds together. Its C++ rewrite, faster-coco-eval, has another rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_masks
from pycocotools.cocoeval import Params

from tf_frcnn.data.example import Dataset
from tf_frcnn.evaluation.detections import Detections


@dataclass(frozen=True)
class CocoCurves:
    """Precision and recall of classes, -1 where there is nothing to find.

    Letters: T IoU thresholds from 0.5 to 0.95, R recall levels from 0 to 1, K classes, S ranges of
    areas (all, small, medium, large), M limits.

    Attributes:
        class_ids: [K] of which there is a box or a detection, rising.
        precision: [T, R, K, S, M] the highest at this recall or a higher one.
        recall: [T, K, S, M] with all detections.
    """

    class_ids: list[int]
    precision: np.ndarray
    recall: np.ndarray


def coco_curves(
    dataset: Dataset, detections: Sequence[Detections], limits: Sequence[int], sizes: int = 4
) -> CocoCurves:
    """Compare detections with the boxes of a data set.

    Args:
        dataset: the images with their ground truth.
        detections: one record per image, in their order.
        limits: of detections of a class in an image, rising.
        sizes: how many of COCO's ranges of areas: all, small, medium, large.
    """
    params = Params("bbox")
    areas = np.array(params.areaRng[:sizes], np.float64)  # [S, 2]
    boxes, found = _boxes_of(dataset), _boxes_found(detections, limits[-1])
    is_ignored = boxes.crowd | _is_outside(boxes.areas, areas)  # [S, N]
    matched, ignored = _match_all(boxes, found, is_ignored, params.iouThrs)
    ignored |= ~matched & _is_outside(found.areas, areas)[:, None]
    class_ids = np.union1d(boxes.classes, found.classes)
    shape = (len(params.recThrs), len(class_ids), sizes, len(limits))
    precision = np.full((len(params.iouThrs), *shape), -1.0)
    recall = np.full((len(params.iouThrs), *shape[1:]), -1.0)
    for column, class_id in enumerate(class_ids):
        to_find = (~is_ignored[:, _range_of(class_id, boxes.classes)]).sum(axis=1)  # [S]
        own = _range_of(class_id, found.classes)
        for last, limit in enumerate(limits):
            counted = own.start + np.flatnonzero(found.places[own] < limit)
            order = counted[np.argsort(-found.scores[counted], kind="stable")]
            for size in np.flatnonzero(to_find):
                is_counted = ~ignored[size][:, order]  # [T, D]
                is_hit = matched[size][:, order]
                levels, reached = _curve(
                    is_hit & is_counted, ~is_hit & is_counted, to_find[size], params.recThrs
                )
                precision[:, :, column, size, last] = levels
                recall[:, column, size, last] = reached
    return CocoCurves(class_ids.tolist(), precision, recall)


@dataclass(frozen=True)
class _Boxes:
    """Boxes of all images by class, image and place within these; N of them.

    Attributes:
        images: [N] numbers of the images, from 0.
        classes: [N] class ids.
        xywh: [N, 4] float64 x, y, width, height.
        areas: [N] float64.
        crowd: [N] bool; of detections, not set.
        scores: [N] float64, falling within an image and class; of the ground truth 0.
        places: [N] number of the box among those of its class in its image, from 0.
    """

    images: np.ndarray
    classes: np.ndarray
    xywh: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    scores: np.ndarray
    places: np.ndarray


def _boxes_of(dataset: Dataset) -> _Boxes:
    examples = dataset.examples
    stated = [
        np.full(len(one.boxes), np.nan) if one.areas is None else one.areas for one in examples
    ]
    return _sort(
        [one.boxes for one in examples],
        [one.classes for one in examples],
        stated=np.concatenate([*stated, np.zeros(0)]),
        crowd=np.concatenate([*(one.crowd for one in examples), np.zeros(0, bool)]),
    )


def _boxes_found(detections: Sequence[Detections], limit: int) -> _Boxes:
    scores = [one.scores.astype(np.float64) for one in detections]
    return _sort(
        [one.boxes for one in detections],
        [one.classes for one in detections],
        scores=np.concatenate([*scores, np.zeros(0)]),
        limit=limit,
    )


def _sort(
    boxes: Sequence[np.ndarray],
    classes: Sequence[np.ndarray],
    stated: np.ndarray | None = None,
    crowd: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    limit: int | None = None,
) -> _Boxes:
    """Sort the boxes of all images.

    Args:
        boxes: [G, 4] yxyx of each image.
        classes: [G] of each image.
        stated: [N] areas; NaN where that of the box counts.
        crowd: [N] bool.
        scores: [N], by which boxes of a class in an image fall; equal ones stay in their order.
        limit: how many of a class are kept in an image.
    """
    images = np.repeat(np.arange(len(boxes)), [len(one) for one in boxes])
    ymin, xmin, ymax, xmax = np.concatenate([*boxes, np.zeros((0, 4))]).astype(np.float64).T
    xywh = np.stack([xmin, ymin, np.maximum(xmax - xmin, 0), np.maximum(ymax - ymin, 0)], axis=1)
    areas = xywh[:, 2] * xywh[:, 3]
    joined = np.concatenate([*classes, np.zeros(0, np.int32)])
    scores = np.zeros(len(images)) if scores is None else scores
    crowd = np.zeros(len(images), bool) if crowd is None else crowd
    if stated is not None:
        areas = np.where(np.isfinite(stated), stated, areas)
    order = np.lexsort((-scores, images, joined))
    images, joined = images[order], joined[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (images[1:] != images[:-1]) | (joined[1:] != joined[:-1])
    number = np.arange(len(order))
    places = number - np.maximum.accumulate(np.where(is_first, number, 0))
    kept = slice(None) if limit is None else places < limit
    order = order[kept]
    return _Boxes(
        images[kept],
        joined[kept],
        xywh[order],
        areas[order],
        crowd[order],
        scores[order],
        places[kept],
    )


def _is_outside(areas: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Tell which areas [N] are outside of ranges [S, 2], whose ends are inside -> [S, N]."""
    return (areas < ranges[:, :1]) | (areas > ranges[:, 1:])


def _range_of(class_id: int, classes: np.ndarray) -> slice:
    """Find the rows of a class among classes that rise."""
    return slice(*np.searchsorted(classes, (class_id, class_id + 1)).tolist())


def _match_all(
    boxes: _Boxes, found: _Boxes, is_ignored: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match the detections of each class in each image.

    Args:
        boxes: the ground truth.
        found: the detections.
        is_ignored: [S, N] boxes that are neither to be found nor wrong to be found.
        thresholds: [T] of IoU.

    Returns:
        [S, T, D] bools: whether a detection has a box, and whether this is one of the ignored.
    """
    matched, ignored = np.zeros((2, len(is_ignored), len(thresholds), len(found.scores)), bool)
    num_images = 1 + max(boxes.images.max(initial=0), found.images.max(initial=0))
    keys = [one.classes.astype(np.int64) * num_images + one.images for one in (boxes, found)]
    both = np.intersect1d(*keys)
    ends = [np.searchsorted(one, both, side) for one in keys for side in ("left", "right")]
    for first, last, start, end in np.stack(ends, axis=1).tolist():
        crowd = boxes.crowd[first:last]
        iou = coco_masks.iou(found.xywh[start:end], boxes.xywh[first:last], crowd)  # [D, G]
        _match(
            *(iou, thresholds, is_ignored[:, first:last], crowd),
            *(matched[:, :, start:end], ignored[:, :, start:end]),
        )
    return matched, ignored


def _match(
    iou: np.ndarray,
    thresholds: np.ndarray,
    is_ignored: np.ndarray,
    crowd: np.ndarray,
    matched: np.ndarray,
    ignored: np.ndarray,
) -> None:
    """Let detections claim boxes, the best scores first.

    A detection takes the free box with the highest IoU, the last of equal ones, and one that is to
    be found before one that is ignored. A crowd is never taken from others.

    Args:
        iou: [D, G], by falling scores.
        thresholds: [T] rising.
        is_ignored: [S, G].
        crowd: [G].
        matched: [S, T, D] is set where there is such a box.
        ignored: [S, T, D] is set where it is one of the ignored.
    """
    taken = np.zeros((*matched.shape[:2], iou.shape[1]), bool)
    for number in np.flatnonzero((iou >= thresholds[0]).any(axis=1)):
        near = np.flatnonzero(iou[number] >= thresholds[0])
        near = near[np.argsort(iou[number, near], kind="stable")]  # [C], the best last
        is_free = crowd[near] | ~taken[:, :, near]  # [S, T, C]
        is_candidate = is_free & (iou[number, near] >= thresholds[:, None])
        to_find = ~is_ignored[:, None, near]
        merit = is_candidate * (1 + np.arange(len(near)) + len(near) * to_find)
        best = merit.argmax(axis=2)  # [S, T]
        size, threshold = np.nonzero(merit.any(axis=2))
        box = near[best[size, threshold]]
        taken[size, threshold, box] = True
        matched[size, threshold, number] = True
        ignored[size, threshold, number] = is_ignored[size, box]


def _curve(
    hits: np.ndarray, misses: np.ndarray, num_to_find: int, levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute precision at each level of recall, and the recall that is reached.

    Args:
        hits: [T, D] bool, by falling scores.
        misses: [T, D] bool; what is neither plays no part.
        num_to_find: boxes.
        levels: [R] of recall.

    Returns:
        [T, R], 0 at levels that are not reached, and [T].
    """
    num_thresholds, count = hits.shape
    precision = np.zeros((num_thresholds, len(levels)))
    if not count:
        return precision, np.zeros(num_thresholds)
    num_hits, num_misses = hits.cumsum(axis=1).astype(float), misses.cumsum(axis=1).astype(float)
    recall = num_hits / num_to_find
    exact = num_hits / (num_misses + num_hits + np.spacing(1))
    highest = np.maximum.accumulate(exact[:, ::-1], axis=1)[:, ::-1]
    for row in range(num_thresholds):
        places = np.searchsorted(recall[row], levels, side="left")
        is_reached = places < count
        precision[row, is_reached] = highest[row, places[is_reached]]
    return precision, recall[:, -1]
