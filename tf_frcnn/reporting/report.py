"""One self-contained HTML page with all figures of an evaluation: report.html."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tf_frcnn.data.example import Dataset
from tf_frcnn.evaluation.error_breakdown import CORRECT, MISSED, MISTAKES
from tf_frcnn.evaluation.evaluator import Evaluation
from tf_frcnn.evaluation.operating_point import OperatingPoint
from tf_frcnn.files import whole_file
from tf_frcnn.reporting.galleries import ranked_galleries, wrong_gallery
from tf_frcnn.reporting.plots import outcomes_svg, precision_recall_svg, training_svg

# Column -> key of a class's figures in metrics.json.
_CLASS_COLUMNS = {
    "VOC AP area": "voc_ap50_area",
    "VOC AP 11 points": "voc_ap50_11pt",
    "COCO AP": "coco_ap",
    "COCO AP50": "coco_ap50",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "from score": "score_threshold",
    "boxes": "num_boxes",
    "difficult": "num_difficult",
}
# Title -> key, in metrics.json itself.
_OVERALL_FIGURES = {
    "VOC mAP@0.5 (area)": "voc_ap50_area",
    "VOC mAP@0.5 (11 points)": "voc_ap50_11pt",
    "COCO AP": "coco_ap",
    "COCO AP50": "coco_ap50",
    "COCO AP75": "coco_ap75",
    "COCO AP small": "coco_ap_small",
    "COCO AP medium": "coco_ap_medium",
    "COCO AP large": "coco_ap_large",
    "COCO AR (100 detections)": "coco_ar_100",
    "best F1": "f1",
}


def write_report(
    path: Path,
    dataset: Dataset,
    evaluation: Evaluation,
    title: str,
    metrics_log: Path | None = None,
) -> None:
    """Write the page, under a temporary name first.

    It loads nothing from anywhere: styles, plots and pictures are inside of it.

    Args:
        path: the HTML file.
        dataset: the split that was evaluated; some of its pictures are read again.
        evaluation: of detections in it.
        title: what was evaluated.
        metrics_log: metrics.jsonl of the training run, for its losses; None where there is none.

    Raises:
        DataError: a picture or the log cannot be read.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tf_frcnn.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = format_figure
    best, worst = ranked_galleries(dataset, evaluation)
    page = environment.get_template("report.html").render(
        title=title,
        metrics=evaluation.metrics,
        overall=_OVERALL_FIGURES,
        columns=_CLASS_COLUMNS,
        kinds=(CORRECT, *MISTAKES, MISSED),
        curves=_curve_plots(evaluation),
        outcomes_plot=Markup(outcomes_svg(_outcomes(evaluation.metrics))),
        confusion=confusion_rows(evaluation.metrics["confusion"]),
        best=best,
        worst=worst,
        wrong=wrong_gallery(dataset, evaluation),
        training_plot=Markup(training_svg(metrics_log)) if metrics_log else None,
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def format_figure(value: float | int | None) -> str:
    """Write a fraction with three decimals, a count as it is, and a dash for None."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def confusion_rows(confusion: Mapping[str, Any]) -> list[tuple[str, list[tuple[int, float]]]]:
    """Prepare the confusion matrix for the page.

    Args:
        confusion: as in metrics.json.

    Returns:
        For each true class its name and the cells: the count, and its share of the row.
    """
    rows = []
    for label, counts in zip(confusion["labels"], confusion["counts"], strict=True):
        total = max(sum(counts), 1)
        rows.append((label, [(count, count / total) for count in counts]))
    return rows


def _curve_plots(evaluation: Evaluation) -> list[tuple[str, float | None, Markup]]:
    """Draw the curve of each class that has boxes: its name, its AP (area) and the plot."""
    plots = []
    for name, curve in evaluation.curves.items():
        figures = evaluation.metrics["per_class"][name]
        if curve.num_boxes:
            point = OperatingPoint(
                *(figures[key] for key in ("score_threshold", "precision", "recall", "f1"))
            )
            svg = Markup(precision_recall_svg(curve, point))
            plots.append((name, figures["voc_ap50_area"], svg))
    return plots


def _outcomes(metrics: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {name: figures["outcomes"] for name, figures in metrics["per_class"].items()}
