"""Boxes as they stand in the annotation files, before anything is converted, checked or clipped.

What a reader hands on is valid by then; signs of a mistaken format are in what it refused or cut.
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


@dataclass(frozen=True, eq=False)
class StatedBoxes:
    """The four numbers of each box, and the size of its picture.

    Attributes:
        numbers: [N, 4] float64: xmin, ymin, xmax, ymax (VOC) or x, y, width, height (COCO).
        picture_sizes: [N, 2] float64 (width, height) of the stored pixels.
    """

    numbers: np.ndarray
    picture_sizes: np.ndarray


def read_stated_boxes(data_format: str, root: Path, datasets: Mapping[str, Dataset]) -> StatedBoxes:
    """Read the numbers of all boxes of the pictures in some splits.

    Args:
        data_format: key of `tf_frcnn.data.formats.DATASETS`.
        root: folder of the data set.
        datasets: by the names of their splits; boxes of pictures outside of them are left out,
            and so are boxes without four finite numbers, and those of TensorFlow Datasets, whose
            numbers are not pixels.
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
    """Yield the boxes of the splits' files with their pictures, matched by file and id."""
    by_place = {(_file_of(example), example.image_id): example for example in examples}
    for path in dict.fromkeys(find_files(root, splits)[0].values()):
        try:
            annotations = parse_coco(path).annotations
        except DataError:  # told as a fault already
            continue
        for entry in annotations:
            if not isinstance(entry, dict) or not isinstance(entry.get("bbox"), list):
                continue
            example = by_place.get((str(path), str(entry.get("image_id"))))
            if example is not None:
                yield _numbers(entry["bbox"]), example


def _file_of(example: Example) -> str:
    """Get the JSON file out of a COCO picture's source, `FILE: images[NUMBER] (NAME)`."""
    return example.source.rpartition(": images[")[0]


def _numbers(values: Sequence[object]) -> list[float]:
    """Turn a box's fields into numbers; an empty list where one is none."""
    try:
        return [float(value) for value in values]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return []
