"""report.html: all figures of an evaluation on one page, with plots and images."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.image import read_image
from tf_frcnn.evaluation.detections import Detections
from tf_frcnn.evaluation.error_breakdown import CORRECT, MISSED, MISTAKES, ImageJudgement
from tf_frcnn.evaluation.evaluator import Evaluation
from tf_frcnn.evaluation.voc import OperatingPoint, ignored_boxes
from tf_frcnn.prediction import Prediction
from tf_frcnn.reporting.curves import draw_curves
from tf_frcnn.reporting.page import write_page
from tf_frcnn.reporting.plots import figure_svg, outcomes_svg, precision_recall_svg
from tf_frcnn.reporting.summary import remarks
from tf_frcnn.visualization import draw_detections

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
_MOST_CLASSES = 100
_GALLERY_IMAGES = 6
_CELL_SIZE = 400
_JPEG_QUALITY = 80


def write_report(
    path: Path,
    dataset: Dataset,
    evaluation: Evaluation,
    title: str,
    metrics_log: Path | None = None,
) -> None:
    """Write the page, under a temporary name first.

    Args:
        path: the HTML file.
        dataset: the split that was evaluated; some of its images are read again.
        evaluation: of detections in it.
        title: what was evaluated.
        metrics_log: metrics.jsonl of the training run, for its losses; None where there is none.

    Raises:
        DataError: an image or the log cannot be read.
    """
    metrics = evaluation.metrics
    best, worst = ranked_galleries(dataset, evaluation)
    outcomes = {name: figures["outcomes"] for name, figures in metrics["per_class"].items()}
    shown = _classes_to_show(outcomes)
    write_page(
        path,
        "report.html",
        title=title,
        metrics=metrics,
        remarks=remarks(metrics),
        overall=_OVERALL_FIGURES,
        columns=_CLASS_COLUMNS,
        kinds=(CORRECT, *MISTAKES, MISSED),
        curves=_curve_plots(evaluation, shown),
        outcomes_plot=outcomes_svg({name: outcomes[name] for name in shown}),
        confusion=confusion_rows(metrics["confusion"], shown),
        confusion_labels=[*shown, "background"],
        num_classes=len(outcomes),
        best=best,
        worst=worst,
        wrong=wrong_gallery(dataset, evaluation),
        training_plot=figure_svg(draw_curves(metrics_log)) if metrics_log else None,
    )


def _classes_to_show(outcomes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Choose the classes that get plots and a row of their own: all, or those with most mistakes.

    Args:
        outcomes: of each class.

    Returns:
        Their names, in their order.
    """
    wrong = {name: sum(counts.values()) - counts[CORRECT] for name, counts in outcomes.items()}
    chosen = set(sorted(wrong, key=lambda name: -wrong[name])[:_MOST_CLASSES])
    return [name for name in outcomes if name in chosen]


def confusion_rows(
    confusion: Mapping[str, Any], shown: Sequence[str]
) -> list[tuple[str, list[tuple[int, float]]]]:
    """Prepare the confusion matrix for the page.

    Args:
        confusion: as in metrics.json.
        shown: names of the classes that get a row and a column, beside the background.

    Returns:
        For each true class shown its name and the cells: the count, and its share of the whole row.
    """
    labels = confusion["labels"]
    numbers = {label: number for number, label in enumerate(labels)}
    chosen = [*(numbers[name] for name in shown), len(labels) - 1]
    if (counts := confusion["counts"]) is None:
        table: dict[int, dict[int, int]] = {}
        for row, column, count in confusion["cells"]:
            table.setdefault(row, {})[column] = count
    else:
        table = {row: dict(enumerate(counts[row])) for row in chosen}
    rows = []
    for row in chosen:
        cells = table.get(row, {})
        total = max(sum(cells.values()), 1)
        counts_shown = [cells.get(column, 0) for column in chosen]
        rows.append((labels[row], [(count, count / total) for count in counts_shown]))
    return rows


def _curve_plots(
    evaluation: Evaluation, shown: Sequence[str]
) -> list[tuple[str, float | None, Markup]]:
    """Draw the curve of each class shown that has boxes: its name, its AP (area) and the plot."""
    plots = []
    for name in shown:
        curve = evaluation.curves[name]
        figures = evaluation.metrics["per_class"][name]
        if curve.num_boxes:
            point = OperatingPoint(
                *(figures[key] for key in ("score_threshold", "precision", "recall", "f1"))
            )
            plots.append((name, figures["voc_ap50_area"], precision_recall_svg(curve, point)))
    return plots


# === Galleries: images are read again one by one, the evaluation keeps none ===


@dataclass(frozen=True)
class GalleryImage:
    """One drawing of a gallery.

    Attributes:
        title: the image's image_id.
        caption: what the drawing shows.
        source: the drawing as a data URI.
    """

    title: str
    caption: str
    source: Markup


def ranked_galleries(
    dataset: Dataset, evaluation: Evaluation
) -> tuple[list[GalleryImage], list[GalleryImage]]:
    """Draw the images with the best and those with the worst results.

    Images are ranked by their own F1 at the evaluation's score threshold. Among equals, those
    with more boxes and detections come first: more could go wrong, or did. Images without any
    are in neither gallery.

    Args:
        dataset: the split.
        evaluation: of detections in it.

    Returns:
        The best, and the worst; no image is in both, and none without mistakes among the worst.
    """
    ranked = []
    for index, judgement in enumerate(evaluation.judgements):
        num_boxes = int((~ignored_boxes(dataset.examples[index])).sum())
        num_wrong = judgement.count(*MISTAKES)
        hits = judgement.count(CORRECT)
        if weight := num_boxes + hits + num_wrong:
            ranked.append((2.0 * hits / weight, weight, index))
    best = sorted(ranked, key=lambda item: (-item[0], -item[1], item[2]))
    worst = sorted(ranked, key=lambda item: (item[0], -item[1], item[2]))
    shown_best = [index for f1, _, index in best if f1 > 0.0][:_GALLERY_IMAGES]
    shown_worst = [index for f1, _, index in worst if f1 < 1.0 and index not in shown_best]
    return (
        [_draw_image(dataset, evaluation, index) for index in shown_best],
        [_draw_image(dataset, evaluation, index) for index in shown_worst[:_GALLERY_IMAGES]],
    )


def wrong_gallery(dataset: Dataset, evaluation: Evaluation) -> list[GalleryImage]:
    """Draw the wrong detections with the highest scores, each alone on its image.

    Args:
        dataset: the split.
        evaluation: of detections in it.
    """
    wrong = [
        (-float(evaluation.detections[image].scores[index]), image, index)
        for image, judgement in enumerate(evaluation.judgements)
        for index, kind in enumerate(judgement.kinds)
        if kind in MISTAKES
    ]
    gallery = []
    for _, image, index in sorted(wrong)[:_GALLERY_IMAGES]:
        found, kind = evaluation.detections[image], evaluation.judgements[image].kinds[index]
        name = dataset.class_names[found.classes[index] - 1]
        caption = f"{name} {found.scores[index]:.2f}: {kind}"
        gallery.append(_draw(dataset, evaluation, image, np.array([index]), caption))
    return gallery


def _draw_image(dataset: Dataset, evaluation: Evaluation, image: int) -> GalleryImage:
    """Draw an image with all detections from the threshold on."""
    judgement = evaluation.judgements[image]
    shown = np.flatnonzero([kind is not None for kind in judgement.kinds])
    return _draw(dataset, evaluation, image, shown, _summary(judgement))


def _summary(judgement: ImageJudgement) -> str:
    """Count the outcomes of an image in words: "2 correct, 1 background, 1 missed"."""
    counts = {kind: judgement.count(kind) for kind in (CORRECT, *MISTAKES)}
    counts[MISSED] = int(judgement.missed.sum())
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _draw(
    dataset: Dataset, evaluation: Evaluation, image: int, shown: np.ndarray, caption: str
) -> GalleryImage:
    """Draw some detections of an image over its ground truth."""
    example, found = dataset.examples[image], evaluation.detections[image]
    drawing = draw_example(example, dataset, found, shown, _CELL_SIZE, example.boxes)
    file = io.BytesIO()
    drawing.save(file, format="JPEG", quality=_JPEG_QUALITY)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    source = Markup(f"data:image/jpeg;base64,{encoded}")
    return GalleryImage(example.image_id, caption, source)


def draw_example(
    example: Example,
    dataset: Dataset,
    found: Detections,
    shown: np.ndarray,
    side: int,
    truth_boxes: np.ndarray | None = None,
) -> Image.Image:
    """Read an image of a data set and draw some of its detections.

    Args:
        example: the image.
        dataset: names the classes.
        found: the detections in it.
        shown: [S] indices of those to draw, or [D] bool.
        side: pixels of the square that the drawing fits into.
        truth_boxes: [G, 4] yxyx boxes in pixels of the image, drawn dashed; none by default.

    Raises:
        DataError: the image cannot be read.
    """
    classes = found.classes[shown]
    names = tuple(dataset.class_names[class_id - 1] for class_id in classes)
    prediction = Prediction(found.boxes[shown], found.scores[shown], classes, names)
    image = read_image(example.image_path, example.orientation)
    return draw_detections(image, prediction, truth_boxes, fit_size=(side, side))
