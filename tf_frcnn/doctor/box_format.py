"""Signs that the boxes of a data set are in another format than its annotations should have.

Looked at are the numbers in the annotation files, before anything is converted, checked or clipped:
the signs of a wrong format are in the very boxes that a reader refuses or clips.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_frcnn.data.coco_json import parse_coco
from tf_frcnn.data.coco_layout import find_files
from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.voc_xml import parse_annotation
from tf_frcnn.errors import DataError

_LEAST_SHARE = 0.02  # of boxes that do not fit; fewer are single slips, not another format
_MOST_FITTING = 0.95  # share of boxes that the other format must explain
_LEAST_AT_BORDER = 5  # boxes at a border that tell its coordinate


@dataclass(frozen=True, eq=False)
class StatedBoxes:
    """The four numbers of each box as its file states them, and the size of its image.

    Attributes:
        numbers: [N, 4] float64: xmin, ymin, xmax, ymax (VOC) or x, y, width, height (COCO).
        image_sizes: [N, 2] float64 (width, height) of the images as they are used.
    """

    numbers: np.ndarray
    image_sizes: np.ndarray


def read_stated_boxes(data_format: str, root: Path, datasets: Mapping[str, Dataset]) -> StatedBoxes:
    """Read the numbers of all boxes in the images of some splits.

    Boxes without four finite numbers are left out, and those of TensorFlow Datasets, whose numbers
    are not pixels.

    Args:
        data_format: key of `tf_frcnn.data.formats.DATASETS`.
        root: folder of the data set.
        datasets: by the names of their splits.
    """
    examples = {
        example.source: example for dataset in datasets.values() for example in dataset.examples
    }.values()
    if data_format == "voc":
        pairs = [(numbers, item) for item in examples for numbers in _voc_numbers(item)]
    elif data_format == "coco":
        pairs = list(_coco_numbers(root, tuple(datasets), examples))
    else:
        pairs = []
    rows = [
        (*numbers, item.image_size[1], item.image_size[0])
        for numbers, item in pairs
        if len(numbers) == 4 and np.isfinite(numbers).all()
    ]
    table = np.array(rows, np.float64).reshape(-1, 6)
    return StatedBoxes(table[:, :4], table[:, 4:])


def _voc_numbers(example: Example) -> Iterable[list[float]]:
    for element in parse_annotation(Path(example.source)).iter("bndbox"):
        texts = [element.findtext(field) for field in ("xmin", "ymin", "xmax", "ymax")]
        yield _numbers(texts)


def _coco_numbers(
    root: Path, splits: tuple[str, ...], examples: Iterable[Example]
) -> Iterable[tuple[list[float], Example]]:
    """Yield the boxes of the splits' files with their images, matched by file and id."""
    by_place = {(item.coco_file, item.image_id): item for item in examples}
    for path in dict.fromkeys(find_files(root, splits)[0].values()):
        try:
            annotations = parse_coco(path).annotations
        except DataError:  # already reported as a fault
            continue
        for entry in annotations:
            if not isinstance(entry, dict) or not isinstance(entry.get("bbox"), list):
                continue
            example = by_place.get((path, str(entry.get("image_id"))))
            if example is not None:
                yield _numbers(entry["bbox"]), example


def _numbers(values: Sequence[object]) -> list[float]:
    """Turn a box's fields into numbers; an empty list if one of them is not a number."""
    try:
        return [float(value) for value in values]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return []


def box_format_signs(data_format: str, stated: StatedBoxes) -> list[str]:
    """Look for signs that boxes are in another format than their annotations should have.

    Args:
        data_format: `voc` (xmin, ymin, xmax, ymax, from 1, inclusive) or `coco` (x, y, width,
            height, from 0).
        stated: the numbers as the files state them.

    Returns:
        One sentence per sign, with its counts; empty if nothing is suspicious.
    """
    if not len(stated.numbers):
        return []
    at_most_1 = stated.numbers.max(axis=1) <= 1
    if at_most_1.mean() >= _MOST_FITTING:
        return [
            f"Boxes with all four numbers at most 1: {at_most_1.sum()} of {len(at_most_1)}. They "
            "look normalised to the image's size; expected are pixels."
        ]
    return _voc_signs(stated) if data_format == "voc" else _coco_signs(stated)


def _voc_signs(stated: StatedBoxes) -> list[str]:
    low, high = stated.numbers[:, :2], stated.numbers[:, 2:]
    inverted = (high < low).any(axis=1)
    past = (high > stated.image_sizes).any(axis=1)
    as_xywh = ((high > 0) & (low + high <= stated.image_sizes + 1)).all(axis=1)
    signs = []
    if inverted.mean() >= _LEAST_SHARE and as_xywh.mean() >= _MOST_FITTING:
        signs.append(
            f"Boxes with xmax < xmin or ymax < ymin: {inverted.sum()} of {len(low)}; read as x, y, "
            f"width, height, {as_xywh.sum()} lie inside of their images. They look like xywh."
        )
    elif inverted.mean() >= _LEAST_SHARE or past.mean() >= _LEAST_SHARE:
        signs.append(
            f"Boxes with xmax < xmin or ymax < ymin: {inverted.sum()}, past the right or lower "
            f"border: {past.sum()}, of {len(low)}. Are the numbers xmin, ymin, xmax, ymax of "
            "these very images?"
        )
    # VOC counts from 1, so that the last pixel is the width or the height.
    zeros = int((low == 0).any(axis=1).sum())
    num_last = int((high == stated.image_sizes).any(axis=1).sum())
    num_before_last = int((high == stated.image_sizes - 1).any(axis=1).sum())
    at_far_border = max(num_last, num_before_last)
    if zeros:
        signs.append(
            f"Boxes with xmin or ymin = 0: {zeros} of {len(low)}. VOC counts pixels from 1: the "
            "numbers look 0-based, and every box one pixel off."
        )
    elif at_far_border >= _LEAST_AT_BORDER and not (low == 1).any():
        signs.append(
            f"No box begins at 1, the first pixel, though {at_far_border} of {len(low)} end at the "
            "far border. Do the numbers start at 1?"
        )
    return signs


def _coco_signs(stated: StatedBoxes) -> list[str]:
    first, second = stated.numbers[:, :2], stated.numbers[:, 2:]
    past = (first + second > stated.image_sizes + 1).any(axis=1)
    as_corners = ((second > first) & (second <= stated.image_sizes + 1)).all(axis=1)
    signs = []
    if past.mean() >= _LEAST_SHARE and as_corners.mean() >= _MOST_FITTING:
        signs.append(
            f"Boxes that end past the border: {past.sum()} of {len(first)}; read as xmin, ymin, "
            f"xmax, ymax, {as_corners.sum()} lie inside of their images. They look like corners."
        )
    elif past.mean() >= _LEAST_SHARE:
        signs.append(
            f"Boxes that end past the border: {past.sum()} of {len(first)}. Are the numbers x, y, "
            "width, height in pixels of these very images?"
        )
    ones = int((first == 1).any(axis=1).sum())
    if ones >= _LEAST_AT_BORDER and not (first < 1).any():
        signs.append(
            f"Boxes with x or y = 1: {ones} of {len(first)}, and none below. COCO counts from 0: "
            "the numbers look 1-based, and every box one pixel off."
        )
    return signs
