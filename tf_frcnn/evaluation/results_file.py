"""Detections as a file in the format of COCO's results, so that those of any system can be judged.

https://cocodataset.org/#format-results: a JSON list with one object per detection:

- `bbox`: [x, y, width, height] in pixels of the image as it is read (`--data.exif`), 0-based and
  half-open: a box of VOC is [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1];
- `score`: a finite number, higher for surer detections;
- the image by `image_id` or `file_name`;
- the class by `category_id` or `category_name`.

For COCO data sets the ids are those of the annotation file. For others, which have no ids,
`image_id` is the image's name as in the list of its split (mostly the file's name without
extension) and `category_id` counts the classes from 1 in their order. Folders before a `file_name`
must be those of the image. Where an entry has both forms, they must agree; but of a class in data
without ids only the name counts then, since whoever wrote the file may count otherwise. All other
keys are disregarded.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tf_frcnn.data.coco_json import list_images, parse_coco
from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.errors import DataError
from tf_frcnn.evaluation.detections import Detections, align_detections, coco_box
from tf_frcnn.files import whole_file
from tf_frcnn.given_files import read_bytes
from tf_frcnn.names import decode_file_name, encode_file_name, normalise_name, quote

_LARGEST = float(np.finfo(np.float32).max)
Key = int | str  # an id: a number in COCO's files, a name elsewhere


def write_results(path: Path, dataset: Dataset, detections: Sequence[Detections]) -> None:
    """Write detections, one per line, images in the order of the data set.

    `read_results` gives back exactly the same numbers. The file gets its name only when it is
    whole.

    Args:
        path: the file.
        dataset: the images in which they were found.
        detections: at most one record per image.

    Raises:
        DataError: the detections do not belong to the data set.
    """
    image_keys, category_keys = _read_keys(dataset)
    lines = []
    for found in align_detections(dataset, detections):
        for box, score, class_id in zip(found.boxes, found.scores, found.classes, strict=True):
            name = dataset.class_names[class_id - 1]
            entry = {
                "image_id": image_keys[found.image_id],
                "category_id": category_keys[name],
                "category_name": name,
                "bbox": coco_box(box),
                "score": float(score),
            }
            lines.append(json.dumps(entry))
    text = "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_results(path: Path, dataset: Dataset) -> list[Detections]:
    """Read the detections of any system.

    Args:
        path: the file; entries in any order.
        dataset: the images that they are to be judged on.

    Returns:
        One record an image in the order of the data set, empty where the file names none; the
        detections of an image in the order of the file.

    Raises:
        DataError: the file cannot be read or is no list; or an entry lacks a key, names no image
            or class of the data set, or has a wrong box or score: the first such entry is named.
    """
    reader = _EntryReader(dataset)
    by_image: dict[str, list[tuple[list[float], float, int]]] = {}
    entries = _parse(path)
    for number, entry in enumerate(entries, start=1):
        image_id, detection = reader.read(entry, f"{path}: entry {number} of {len(entries)}")
        by_image.setdefault(image_id, []).append(detection)
    records = []
    for image_id, found in by_image.items():
        boxes, scores, classes = zip(*found, strict=True)
        records.append(
            Detections(
                image_id,
                np.array(boxes, np.float32),
                np.array(scores, np.float32),
                np.array(classes, np.int32),
            )
        )
    return align_detections(dataset, records)


def _parse(path: Path) -> list[Any]:
    try:
        content = json.loads(read_bytes(path))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Expected a file of detections."
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read as JSON ({error}). Expected detections in the format of "
            "COCO's results."
        ) from None
    if not isinstance(content, list):
        raise DataError(
            f"{path}: the top level is a {type(content).__name__}. Expected a list with one object "
            "a detection, as in COCO's results."
        )
    return content


class _EntryReader:
    """Reads the entries of a results file, and explains what is wrong with them.

    Args of `__init__`: `dataset` whose images and classes the entries may name.
    """

    def __init__(self, dataset: Dataset) -> None:
        image_keys, category_keys = _read_keys(dataset)
        self._has_ids = bool(_coco_files(dataset))
        self._split = dataset.split
        self._image_ids = {str(key): image_id for image_id, key in image_keys.items()}
        self._by_file_name: dict[str, list[Example]] = {}
        for example in dataset.examples:
            self._by_file_name.setdefault(_path_of(example).name, []).append(example)
        self._class_ids = {name: number for number, name in enumerate(dataset.class_names, start=1)}
        self._categories = {category_keys[name]: name for name in dataset.class_names}

    def read(self, entry: Any, place: str) -> tuple[str, tuple[list[float], float, int]]:
        """Read one entry -> (image_id of its `Example`, (yxyx box, score, class id))."""
        if not isinstance(entry, dict):
            raise DataError(f"{place} = {quote(entry)}. Expected an object with bbox and score.")
        image_id = _resolve(entry, place, {"image_id": self._find_id, "file_name": self._find_file})
        finders = {"category_id": self._find_category, "category_name": self._find_class}
        if "category_name" in entry and not self._has_ids:
            del finders["category_id"]
        class_id = _resolve(entry, place, finders)
        return image_id, (_read_box(entry, place), _read_score(entry, place), class_id)

    def _find_id(self, value: Any, place: str) -> str:
        if isinstance(value, Key) and not isinstance(value, bool) and str(value) in self._image_ids:
            return self._image_ids[str(value)]
        raise self._no_image(place, "an id", self._image_ids)

    def _find_file(self, value: Any, place: str) -> str:
        stated = decode_file_name(value) if isinstance(value, str) else ""
        name = PurePosixPath(normalise_name(stated))
        found = [
            example
            for example in self._by_file_name.get(name.name, [])
            if _path_of(example).parts[-len(name.parts) :] == name.parts
        ]
        if len(found) == 1:
            return found[0].image_id
        if found:
            paths = ", ".join(str(example.image_path) for example in found[:2])
            raise DataError(
                f"{place}: several images have this name ({paths}). Expected the folders before "
                "it too, or image_id."
            )
        raise self._no_image(place, "a file", self._by_file_name)

    def _no_image(self, place: str, expected: str, known: Iterable[str]) -> DataError:
        return DataError(
            f"{place}: the split {self._split!r} has no such image. Expected {expected} such as "
            f"{quote(next(iter(known), 'none'))}. Judge detections on the split that they were "
            "made from."
        )

    def _find_category(self, value: Any, place: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value in self._categories:
            return self._class_ids[self._categories[value]]
        known = enumerate_names(f"{key} {name}" for key, name in self._categories.items())
        raise DataError(f"{place}: no such class. Expected one of {known}.")

    def _find_class(self, value: Any, place: str) -> int:
        name = normalise_name(value) if isinstance(value, str) else ""
        if name in self._class_ids:
            return self._class_ids[name]
        raise DataError(
            f"{place}: no such class. Expected one of {enumerate_names(self._class_ids)}; name "
            "them by --data.classes where the images of this split do not show all."
        )


def _resolve(entry: Mapping[str, Any], place: str, finders: dict[str, Callable[..., Any]]) -> Any:
    """Find the image or class that an entry names in one of two ways, or in both."""
    found = {
        field: find(entry[field], f"{place}, {field} = {quote(entry[field])}")
        for field, find in finders.items()
        if field in entry
    }
    if not found:
        raise DataError(f"{place}: there is no {' and no '.join(finders)}. Expected one of them.")
    if len(set(found.values())) > 1:
        there = " and ".join(f"{field} = {quote(entry[field])}" for field in found)
        raise DataError(f"{place}, {there}: they disagree. Expected the same of both, or only one.")
    return next(iter(found.values()))


def _read_box(entry: Mapping[str, Any], place: str) -> list[float]:
    """Read `bbox` as [ymin, xmin, ymax, xmax]."""
    value = entry.get("bbox")
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_finite, value)):
        there = f"bbox = {quote(value)}" if "bbox" in entry else "there is no bbox"
        raise DataError(f"{place}, {there}. Expected [x, y, width, height], finite, in pixels.")
    x, y, width, height = map(float, value)
    if width < 0 or height < 0:
        raise DataError(
            f"{place}, bbox = {quote(value)}: the box is inverted. Expected [x, y, width, "
            "height], not two corners, with neither size below 0."
        )
    return [y, x, y + height, x + width]


def _read_score(entry: Mapping[str, Any], place: str) -> float:
    if not _is_finite(entry.get("score")):
        there = f"score = {quote(entry['score'])}" if "score" in entry else "there is no score"
        raise DataError(f"{place}, {there}. Expected a finite number.")
    return float(entry["score"])


def _is_finite(value: Any) -> bool:
    """Tell whether a value is a number that float32 can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= _LARGEST  # false for NaN


def _read_keys(dataset: Dataset) -> tuple[dict[str, Key], dict[str, int]]:
    """Find the ids of images and classes: those of the annotation file where it is COCO's.

    Returns:
        The id of each `Example.image_id`, and that of each class name.
    """
    image_keys: dict[str, Key] = {
        example.image_id: encode_file_name(example.image_id) for example in dataset.examples
    }
    category_keys = {name: number for number, name in enumerate(dataset.class_names, start=1)}
    for source in _coco_files(dataset):
        content = parse_coco(source)
        category_keys |= {name: key for key, name in content.class_names.items()}
        keys = [image.key for image in list_images(content)[0]]
        image_keys |= {str(key): key for key in keys if str(key) in image_keys}
    return image_keys, category_keys


def _coco_files(dataset: Dataset) -> set[Path]:
    """Find the annotation files of COCO data; other formats have none that holds ids."""
    return {example.coco_file for example in dataset.examples if example.coco_file is not None}


def _path_of(example: Example) -> PurePosixPath:
    return PurePosixPath(normalise_name(example.image_path.as_posix()))
