"""Which pictures of a split a report shows, and how they are drawn.

Pictures are read again one by one: nothing keeps them from the evaluation until here.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.data.example import Dataset
from tf_frcnn.data.image import read_image
from tf_frcnn.drawing import draw_detections
from tf_frcnn.evaluation.error_breakdown import CORRECT, MISTAKES, PictureJudgement
from tf_frcnn.evaluation.evaluator import Evaluation
from tf_frcnn.evaluation.voc import ignored_boxes

GALLERY_PICTURES = 6
_CELL_SIZE = 400
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class GalleryPicture:
    """One drawing of a gallery.

    Attributes:
        title: of the picture: its image_id.
        caption: what is to be seen.
        source: the drawing as a data URI.
    """

    title: str
    caption: str
    source: str


def ranked_galleries(
    dataset: Dataset, evaluation: Evaluation
) -> tuple[list[GalleryPicture], list[GalleryPicture]]:
    """Draw the pictures that went best and those that went worst.

    Pictures are ranked by their own F1 at the evaluation's score threshold; of equal ones those
    with more objects come first, as they were the harder ones to get right, or more went wrong.
    Pictures without boxes and detections are in neither gallery.

    Args:
        dataset: the split.
        evaluation: of detections in it.

    Returns:
        The best, and the worst; no picture is in both, none without mistakes among the worst.
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
    shown_best = [index for f1, _, index in best if f1 > 0.0][:GALLERY_PICTURES]
    shown_worst = [index for f1, _, index in worst if f1 < 1.0 and index not in shown_best]
    return (
        [_draw_picture(dataset, evaluation, index) for index in shown_best],
        [_draw_picture(dataset, evaluation, index) for index in shown_worst[:GALLERY_PICTURES]],
    )


def wrong_gallery(dataset: Dataset, evaluation: Evaluation) -> list[GalleryPicture]:
    """Draw the wrong detections with the highest scores, each alone on its picture.

    Args:
        dataset: the split.
        evaluation: of detections in it.
    """
    wrong = [
        (-float(evaluation.detections[picture].scores[index]), picture, index)
        for picture, judgement in enumerate(evaluation.judgements)
        for index, kind in enumerate(judgement.kinds)
        if kind in MISTAKES
    ]
    gallery = []
    for _, picture, index in sorted(wrong)[:GALLERY_PICTURES]:
        found, kind = evaluation.detections[picture], evaluation.judgements[picture].kinds[index]
        name = dataset.class_names[found.classes[index] - 1]
        caption = f"{name} {found.scores[index]:.2f}: {kind}"
        gallery.append(_draw(dataset, evaluation, picture, np.array([index]), caption))
    return gallery


def _draw_picture(dataset: Dataset, evaluation: Evaluation, picture: int) -> GalleryPicture:
    """Draw a picture with all detections from the threshold on."""
    judgement = evaluation.judgements[picture]
    shown = [index for index, kind in enumerate(judgement.kinds) if kind is not None]
    caption = _summary(judgement)
    return _draw(dataset, evaluation, picture, np.array(shown, int), caption)


def _summary(judgement: PictureJudgement) -> str:
    """Say in words how a picture went: "2 correct, 1 background, 1 missed"."""
    counts = {kind: judgement.count(kind) for kind in (CORRECT, *MISTAKES)}
    counts["missed"] = int(judgement.missed.sum())
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _draw(
    dataset: Dataset, evaluation: Evaluation, picture: int, shown: np.ndarray, caption: str
) -> GalleryPicture:
    """Draw some detections of a picture over its ground truth."""
    example, found = dataset.examples[picture], evaluation.detections[picture]
    classes: Sequence[int] = found.classes[shown].tolist()
    drawing = draw_detections(
        read_image(example.image_path),
        found.boxes[shown],
        [dataset.class_names[class_id - 1] for class_id in classes],
        found.scores[shown],
        classes,
        truth_boxes=example.boxes,
        fit_size=(_CELL_SIZE, _CELL_SIZE),
    )
    file = io.BytesIO()
    drawing.save(file, format="JPEG", quality=_JPEG_QUALITY)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return GalleryPicture(example.image_id, caption, f"data:image/jpeg;base64,{encoded}")
