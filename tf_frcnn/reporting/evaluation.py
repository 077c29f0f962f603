"""Evaluate a detector on a split and write the figures and some images."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import counted
from tf_frcnn.evaluation.detections import Detections, merge_detections
from tf_frcnn.evaluation.evaluator import Detect, DetectInBatches, detect_dataset, evaluate
from tf_frcnn.evaluation.results_file import write_results
from tf_frcnn.files import whole_file
from tf_frcnn.reporting.report import draw_example, write_report
from tf_frcnn.training.distribution import ALONE, Distribution
from tf_frcnn.visualization import detection_sheet

logger = logging.getLogger(__name__)

SHEET_IMAGES = 12
SHEET_COLUMNS = 3
SHEET_CELL = 480
# Far above the threshold of the figures: the sheet shows what a user would act on.
SHEET_SCORE = 0.5


def evaluate_detector(
    detect: Detect | DetectInBatches,
    dataset: Dataset,
    output: Path,
    title: str,
    metrics_log: Path | None = None,
    distribution: Distribution = ALONE,
    limits: Sequence[int] = (),
) -> dict[str, Any]:
    """Run a detector over a split and write detections.json; then do as `evaluate_detections`.

    Args:
        detect: as in `detect_dataset`.
        dataset: the split.
        output: the folder to write into.
        title: what is evaluated, for the report.
        metrics_log: metrics.jsonl of its training, if it is to be in the report.
        distribution: workers that each detect on their share of the images.
        limits: as in `evaluate`.

    Returns:
        The figures of `compute_metrics`; nothing on workers other than the chief, which alone
        judges.
    """
    count = counted(len(dataset.examples), "image")
    logger.info("evaluating on %s of split %s", count, dataset.split)
    own = dataset.examples[distribution.worker :: distribution.num_workers]
    detections = detect_dataset(dataclasses.replace(dataset, examples=own), detect)
    if distribution.num_workers > 1:
        detections = merge_detections(dataset, detections, distribution.merge)
    if not distribution.is_chief:
        return {}
    write_results(output / "detections.json", dataset, detections)
    return evaluate_detections(detections, dataset, output, title, metrics_log, limits)


def evaluate_detections(
    detections: Sequence[Detections],
    dataset: Dataset,
    output: Path,
    title: str,
    metrics_log: Path | None = None,
    limits: Sequence[int] = (),
) -> dict[str, Any]:
    """Compute all figures of detections, whatever made them; draw detections.png and report.html.

    Args:
        detections: at most one record per image.
        dataset: the split.
        output: the folder to write into.
        title: what is evaluated, for the report.
        metrics_log: metrics.jsonl of the training, if it is to be in the report.
        limits: as in `evaluate`.

    Returns:
        The figures of `compute_metrics`.
    """
    evaluation = evaluate(dataset, detections, limits)
    draw_sheet(dataset, evaluation.detections, output / "detections.png")
    write_report(output / "report.html", dataset, evaluation, title, metrics_log)
    return evaluation.metrics


def draw_sheet(dataset: Dataset, detections: Sequence[Detections], path: Path) -> None:
    """Draw images from all over a split with what was found in them.

    Args:
        dataset: the split.
        detections: one record per image, in its order.
        path: the PNG file to write, under a temporary name first.
    """
    count = len(dataset.examples)
    drawings = []
    for index in sorted({index * count // SHEET_IMAGES for index in range(SHEET_IMAGES)}):
        example, found = dataset.examples[index], detections[index]
        shown = found.scores >= SHEET_SCORE
        drawings.append(draw_example(example, dataset, found, shown, SHEET_CELL))
    with whole_file(path) as partial:
        detection_sheet(drawings, SHEET_COLUMNS, SHEET_CELL).save(partial, format="PNG")
