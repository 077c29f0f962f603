"""Evaluate a detector on a split and keep the figures and some pictures."""

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from tf_frcnn.data.example import Dataset
from tf_frcnn.data.image import read_image
from tf_frcnn.drawing import detection_sheet, draw_detections
from tf_frcnn.evaluation.detections import Detections
from tf_frcnn.evaluation.evaluator import Detect, detect_dataset, evaluate
from tf_frcnn.evaluation.merging import merge_detections
from tf_frcnn.evaluation.results_file import write_results
from tf_frcnn.files import whole_file
from tf_frcnn.reporting.report import write_report
from tf_frcnn.training.distribution import ALONE, Distribution

logger = logging.getLogger(__name__)

# Pictures on the sheet of detections, and the score from which their boxes are drawn: far above
# the threshold of the figures, or the sheet would be full of what no user would act on.
SHEET_PICTURES = 12
SHEET_COLUMNS = 3
SHEET_CELL = 480
SHEET_SCORE = 0.5


def evaluate_detector(
    detect: Detect,
    dataset: Dataset,
    output: Path,
    title: str,
    metrics_log: Path | None = None,
    distribution: Distribution = ALONE,
) -> dict[str, Any]:
    """Run a detector over a split, and write and draw what `evaluate_detections` does.

    Args:
        detect: finds objects in one picture.
        dataset: the split.
        output: the folder to write into.
        title: what is evaluated, for the report.
        metrics_log: metrics.jsonl of its training, if it is to be in the report.
        distribution: workers of which each detects on its share of the pictures.

    Returns:
        The figures of `compute_metrics`; none on a worker that is not the chief, who alone judges.
    """
    logger.info("evaluating on %d pictures of split %s", len(dataset.examples), dataset.split)
    own = dataset.examples[distribution.worker :: distribution.num_workers]
    share = dataclasses.replace(dataset, examples=own)
    detections = detect_dataset(share, detect, read_image, _progress)
    if distribution.num_workers > 1:
        detections = merge_detections(dataset, detections, distribution.merge)
    if not distribution.is_chief:
        return {}
    write_results(output / "detections.json", dataset, detections)
    return evaluate_detections(detections, dataset, output, title, metrics_log)


def evaluate_detections(
    detections: Sequence[Detections],
    dataset: Dataset,
    output: Path,
    title: str,
    metrics_log: Path | None = None,
) -> dict[str, Any]:
    """Compute all figures of detections; draw detections.png and report.html.

    Args:
        detections: at most one record a picture, whoever made them.
        dataset: the split.
        output: the folder to write into.
        title: what is evaluated, for the report.
        metrics_log: metrics.jsonl of the training, if it is to be in the report.

    Returns:
        The figures of `compute_metrics`.
    """
    evaluation = evaluate(dataset, detections)
    draw_sheet(dataset, evaluation.detections, output / "detections.png")
    write_report(output / "report.html", dataset, evaluation, title, metrics_log)
    return evaluation.metrics


def draw_sheet(dataset: Dataset, detections: Sequence[Detections], path: Path) -> None:
    """Draw pictures from all over a split with what was found in them.

    Args:
        dataset: the split.
        detections: one record a picture, in its order.
        path: the PNG file to write, under a temporary name first.
    """
    count = len(dataset.examples)
    chosen = sorted({index * count // SHEET_PICTURES for index in range(SHEET_PICTURES)})
    drawings = []
    for index in chosen:
        found = detections[index]
        shown = found.scores >= SHEET_SCORE
        classes = found.classes[shown]
        drawings.append(
            draw_detections(
                read_image(dataset.examples[index].image_path),
                found.boxes[shown],
                [dataset.class_names[class_id - 1] for class_id in classes],
                found.scores[shown],
                classes,
                fit_size=(SHEET_CELL, SHEET_CELL),
            )
        )
    with whole_file(path) as partial:
        detection_sheet(drawings, SHEET_COLUMNS, SHEET_CELL).save(partial, format="PNG")


def _progress(examples: Iterable[Any]) -> Iterable[Any]:
    console = Console(stderr=True)
    return track(examples, "evaluating", console=console, disable=not console.is_terminal)
