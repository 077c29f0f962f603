"""From a detector and a data set to the figures of `metrics.json`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.image import read_image
from tf_frcnn.evaluation.coco import HIGHER_LIMITS, LIMIT, coco_figures, most_boxes
from tf_frcnn.evaluation.confusion import confusion_cells, confusion_matrix
from tf_frcnn.evaluation.detections import Detections, align_detections, look_like_corners
from tf_frcnn.evaluation.error_breakdown import ImageJudgement, count_outcomes, judge_image
from tf_frcnn.evaluation.voc import (
    PrecisionRecall,
    average_precision_11_point,
    average_precision_area,
    best_operating_point,
    ignored_boxes,
    mean_average_precision,
    precision_recall,
)
from tf_frcnn.progress import track

# Of the confusion matrix that is written whole: a million numbers.
_MOST_ROWS = 1000

# Images of one batch that are read at a time; a GPU would wait for fewer.
_READERS = 4

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""yxyx boxes [D, 4] in pixels of an image, scores [D] and class ids [D] from 1."""

Detect = Callable[[np.ndarray], Found]
"""Takes an image, uint8 [H, W, 3] RGB, and finds objects in it."""


@dataclass(frozen=True)
class DetectInBatches:
    """Finds objects in several images at a time, as `Detector.in_batches` gives it.

    Attributes:
        plan: takes the (height, width) of all images; gives their positions, each once, batch by
            batch. A batch is to be small enough for twice as many images to be in memory.
        prepare: takes an image, uint8 [H, W, 3] RGB, and gives what `detect` takes of it; called
            from several threads.
        detect: takes the prepared images of a batch, and gives what was found in each.
    """

    plan: Callable[[Sequence[tuple[int, int]]], Iterable[Sequence[int]]]
    prepare: Callable[[np.ndarray], Any]
    detect: Callable[[Sequence[Any]], Sequence[Found]]


def one_by_one(detect: Detect) -> DetectInBatches:
    """Make batches of one image each, in their order."""
    return DetectInBatches(
        plan=lambda sizes: [(position,) for position in range(len(sizes))],
        prepare=lambda image: image,
        detect=lambda images: [detect(image) for image in images],
    )


def select_classes(
    detect: DetectInBatches, class_names: Sequence[str], wanted: Sequence[str]
) -> DetectInBatches:
    """Leave out what is of no wanted class, and number the others as they are wanted.

    Args:
        detect: finds objects of classes 1..N.
        class_names: of these classes.
        wanted: some of them, of classes 1, 2, ... of the answer.
    """
    if tuple(class_names) == tuple(wanted):
        return detect
    numbers = {name: number for number, name in enumerate(wanted, start=1)}
    table = np.array([0, *(numbers.get(name, 0) for name in class_names)], np.int32)

    def keep_wanted(found: Found) -> Found:
        boxes, scores, classes = found
        classes = table[classes]
        return boxes[classes > 0], scores[classes > 0], classes[classes > 0]

    return replace(detect, detect=lambda images: list(map(keep_wanted, detect.detect(images))))


def detect_dataset(dataset: Dataset, detect: Detect | DetectInBatches) -> list[Detections]:
    """Run a detector over a data set, with a progress bar.

    While it looks at one batch, the images of the next one are read: no others are in memory,
    however many there are.

    Args:
        dataset: the images.
        detect: finds objects in one image, or in several at a time.

    Returns:
        One record an image, in the order of the data set.

    Raises:
        DataError: an image cannot be read, or the detector gives numbers that are not finite.
    """
    batched = detect if isinstance(detect, DetectInBatches) else one_by_one(detect)
    examples = dataset.examples
    batches = list(batched.plan([example.image_size for example in examples]))
    detections: dict[int, Detections] = {}
    for position, found in track(
        _detect_batches(examples, batched, batches), "evaluating", len(examples)
    ):
        boxes, scores, classes = found
        detections[position] = Detections(
            image_id=examples[position].image_id,
            boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
            scores=np.asarray(scores, np.float32),
            classes=np.asarray(classes, np.int32),
        )
    return [detections[position] for position in range(len(examples))]


def _detect_batches(
    examples: Sequence[Example], batched: DetectInBatches, batches: Sequence[Sequence[int]]
) -> Iterator[tuple[int, Found]]:
    """Give positions with what was found there, batch by batch, reading one batch ahead."""

    def load(position: int) -> Any:
        example = examples[position]
        return batched.prepare(read_image(example.image_path, example.orientation))

    with ThreadPoolExecutor(_READERS) as pool:

        def read(batch: Sequence[int]) -> list[Future[Any]]:
            return [pool.submit(load, position) for position in batch]

        pending = read(batches[0]) if batches else []
        for number, batch in enumerate(batches, start=1):
            images = [future.result() for future in pending]
            # Not earlier: images of three batches would be in memory.
            pending = read(batches[number]) if number < len(batches) else []
            yield from zip(batch, batched.detect(images), strict=True)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of one set of detections, and what they were computed from.

    Attributes:
        metrics: the figures, ready for JSON: see `compute_metrics`.
        detections: one record per image, in the order of the data set.
        curves: the precision-recall curve of each class name, at IoU 0.5.
        judgements: one per image, at `metrics["score_threshold"]`.
    """

    metrics: dict[str, Any]
    detections: list[Detections]
    curves: dict[str, PrecisionRecall]
    judgements: list[ImageJudgement]


def compute_metrics(dataset: Dataset, detections: Sequence[Detections]) -> dict[str, Any]:
    """Compute every figure of `metrics.json` from one set of detections.

    Args:
        dataset: the images with their ground truth.
        detections: at most one record per image, in any order; an image without one counts as an
            image in which nothing was found.

    Returns:
        Plain numbers, ready for JSON, under the keys of docs/metrics.md. Figures are fractions
        from 0 to 1, None where a class (or the whole split) has no boxes to find.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    return evaluate(dataset, detections).metrics


def evaluate(
    dataset: Dataset, detections: Sequence[Detections], limits: Sequence[int] = ()
) -> Evaluation:
    """Compute all figures as `compute_metrics` does, and keep what a report shows beside them.

    Args:
        dataset: the images with their ground truth.
        detections: as in `compute_metrics`.
        limits: of detections, as in `coco_figures`; those of `HIGHER_LIMITS` where there are none
            and an image holds more boxes than COCO's figures look at.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    aligned = align_detections(dataset, detections)
    curves = _class_curves(dataset, aligned)
    overall = best_operating_point(list(curves.values()))
    # There is no threshold where there are no boxes or no detections: keep all detections then.
    min_score = -np.inf if overall.score_threshold is None else overall.score_threshold
    judgements = [
        judge_image(example, found, min_score)
        for example, found in zip(dataset.examples, aligned, strict=True)
    ]
    num_boxes = most_boxes(dataset)
    coco = coco_figures(dataset, aligned, limits or (HIGHER_LIMITS if num_boxes > LIMIT else ()))
    outcomes = count_outcomes(dataset, aligned, judgements)
    ignored = [example.classes[ignored_boxes(example)] for example in dataset.examples]
    num_ignored = Counter(np.concatenate([np.zeros(0, int), *ignored]).tolist())
    per_class = {
        name: {
            "voc_ap50_11pt": average_precision_11_point(curves[name]),
            "voc_ap50_area": average_precision_area(curves[name]),
            **coco.per_class[name],
            **asdict(best_operating_point([curves[name]])),
            "num_boxes": curves[name].num_boxes,
            "num_difficult": num_ignored[class_id],
            "outcomes": outcomes[name],
        }
        for class_id, name in enumerate(dataset.class_names, start=1)
    }
    metrics = {
        "split": dataset.split,
        "num_pictures": len(dataset.examples),
        "num_pictures_left_out": dataset.num_images_left_out,
        "num_boxes_left_out": dataset.num_boxes_left_out,
        **_sums(per_class.values(), ("num_boxes", "num_difficult")),
        **{
            name: mean_average_precision(figures[name] for figures in per_class.values())
            for name in ("voc_ap50_11pt", "voc_ap50_area")
        },
        **coco.overall,
        **(
            {
                "most_boxes": num_boxes,
                "coco_ap_by_limit": {str(limit): ap for limit, ap in coco.ap_by_limit.items()},
            }
            if coco.ap_by_limit
            else {}
        ),
        **({"look_like_corners": True} if look_like_corners(dataset, aligned) else {}),
        **asdict(overall),
        "outcomes": _sums(outcomes.values(), next(iter(outcomes.values()), {})),
        "per_class": per_class,
        "confusion": {
            "labels": [*dataset.class_names, "background"],
            **_confusion(dataset, aligned, min_score),
        },
    }
    return Evaluation(metrics, aligned, curves, judgements)


def _class_curves(dataset: Dataset, detections: Sequence[Detections]) -> dict[str, PrecisionRecall]:
    """Compute the curve of each class from the images that have to do with it, of few of many."""
    images: dict[int, list[int]] = {}
    for index, (example, found) in enumerate(zip(dataset.examples, detections, strict=True)):
        for class_id in np.union1d(example.classes, found.classes).tolist():
            images.setdefault(class_id, []).append(index)
    curves = {}
    for class_id, name in enumerate(dataset.class_names, start=1):
        indices = images.get(class_id, [])
        examples = tuple(dataset.examples[index] for index in indices)
        part = replace(dataset, examples=examples)
        curves[name] = precision_recall(part, [detections[index] for index in indices], class_id)
    return curves


def _confusion(
    dataset: Dataset, detections: Sequence[Detections], min_score: float
) -> dict[str, Any]:
    """Give the confusion matrix whole, or with very many classes the cells that are not 0."""
    if len(dataset.class_names) > _MOST_ROWS:
        cells = confusion_cells(dataset, detections, min_score)
        return {"counts": None, "cells": cells.tolist()}
    return {"counts": confusion_matrix(dataset, detections, min_score).tolist()}


def _sums(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, int]:
    """Add up counts over all classes."""
    rows = list(rows)
    return {name: sum(row[name] for row in rows) for name in names}
