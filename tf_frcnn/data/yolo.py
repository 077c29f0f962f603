"""Reader for YOLO: a text file an image, a line an object: class, centre and size as fractions.

Segments, lines with more points, become the boxes around them. Where images and labels are is in
`yolo_layout`.
"""

import logging
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tf_frcnn.data.assembly import (
    LabelledObject,
    assemble_datasets,
    clip_box,
    order_declared_classes,
)
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, enumerate_names, raise_faults
from tf_frcnn.data.labelling import FoundImage, Labeller, ObjectReader
from tf_frcnn.data.orientation import ExifPolicy
from tf_frcnn.data.splits import Divider, match_split
from tf_frcnn.data.yolo_layout import (
    YoloSet,
    explain_missing_yolo_split,
    find_orphans,
    is_file,
    label_places,
    list_images,
    open_yolo,
)
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import read_text, reason_of
from tf_frcnn.names import quote, shown

logger = logging.getLogger(__name__)

_ROUNDING = 0.01  # pixels: fractions with six digits miss an edge by less than this


@dataclass(frozen=True, eq=False)
class _Images:
    """Images of a split, by their ids, and the files of the labels of those that have some."""

    paths: dict[str, Path]
    labels: dict[str, Path]


def read_yolo(
    root: Path,
    splits: Iterable[str],
    class_names: tuple[str, ...],
    divider: Divider,
    on_faults: FaultHandler = raise_faults,
    image_folder: Path | None = None,
    exif: ExifPolicy = "auto",
) -> dict[str, Dataset]:
    """Read splits of a YOLO data set.

    Args:
        root: folder of the data set; nothing outside of it is read.
        splits: names of data.yaml's keys, of lists or of folders; train, val or test where there
            are none.
        class_names: names of classes 1..N; when empty, those that the data set declares, by their
            ids, with or without boxes. Where it declares none they are the names of its ids 0..N-1.
        divider: decides which image goes to which split where there are none.
        on_faults: is told all faults at once.
        image_folder: where the images are, if not in the data set's folder; laid out as there.
        exif: what is done about EXIF orientations. Labels state no sizes.

    Returns:
        One `Dataset` a split, under its real name, all with the same class names.
        `Example.image_id` is the image's path from the root or the image folder, without extension.
        An image without a file of labels, or with an empty one, has boxes of shape [0, 4].

    Raises:
        DataError: a file, line, image or class is missing or wrong. All faults of the splits are
            collected; the message lists the first 20 and says how many there are.
    """
    splits = tuple(dict.fromkeys(splits))
    for split in splits:
        if problem := explain_missing_yolo_split(root, split, image_folder):
            raise DataError(problem)
    data_set = open_yolo(root, image_folder)
    names = data_set.class_names or class_names
    if not names:
        raise DataError(
            f"{root}: nothing names the classes. Expected `names` in data.yaml, or classes.txt "
            "with a name a line, or `--data.classes` in the order of the ids."
        )
    faults: list[str] = []
    base = image_folder or root
    found, division = _find_images(root, base, data_set, splits, divider, faults)
    with Labeller(exif, faults) as labeller:
        for files in found.values():
            for key, path in files.paths.items():
                if path not in labeller:
                    image = _with_objects(key, path, files.labels.get(key), data_set, names)
                    labeller.add(path, image)
            _log_unlabelled(root, base, files)
        choice = labeller.finish(str(root))
    images = {name: labeller.select(files.paths.values()) for name, files in found.items()}
    datasets = assemble_datasets(
        root,
        images,
        class_names
        or order_declared_classes(names, [image for some in images.values() for image in some]),
        faults,
        clipping_hint="are the numbers fractions of the image's sides?",
        on_faults=on_faults,
        num_left_out={name: len(found[name].paths) - len(images[name]) for name in found},
        division=division,
        exif=choice,
        remarks=_explain_orphans(root, found.values()),
    )
    if division is not None:
        return datasets
    return {split: datasets[match_split(split, data_set.splits)] for split in splits}


def _find_images(
    root: Path,
    base: Path,
    data_set: YoloSet,
    splits: tuple[str, ...],
    divider: Divider,
    faults: list[str],
) -> tuple[dict[str, _Images], dict[str, list[str]] | None]:
    """Find the images of each split below the base, and the division where it was made."""
    if data_set.splits:
        names = dict.fromkeys(match_split(split, data_set.splits) for split in splits)
        found = {}
        for name in names:
            paths: dict[str, Path] = {}
            for source in data_set.splits[name]:
                listed, missing = list_images(source, base)
                faults += missing
                paths |= listed
            found[name] = _with_labels(paths, base, root)
            if not paths and not faults:
                there = enumerate_names(map(str, data_set.splits[name]))
                raise DataError(f"{there}: the split {name!r} has no image. Expected some.")
        return found, None
    folder = base / "images" if (base / "images").is_dir() else base
    paths, missing = list_images(folder, base)
    faults += missing
    every = _with_labels(paths, base, root)
    if folder == root:  # labels beside the images: others are no part of the data set
        every = _Images({key: paths[key] for key in every.labels}, every.labels)
    if not every.paths:
        raise DataError(f"{folder}: there are no images. Expected some, with labels in labels.")
    made = divider.divide(every.paths, f"{folder}: neither data.yaml nor lists")
    return {
        split: _Images(
            {key: every.paths[key] for key in made[split]},
            {key: every.labels[key] for key in made[split] if key in every.labels},
        )
        for split in splits
    }, made


def _with_labels(paths: dict[str, Path], base: Path, root: Path) -> _Images:
    places = {key: label_places(path, base, root) for key, path in paths.items()}
    found = {key: next(filter(is_file, some), None) for key, some in places.items()}
    return _Images(paths, {key: path for key, path in found.items() if path is not None})


def _with_objects(
    key: str, path: Path, source: Path | None, data_set: YoloSet, names: tuple[str, ...]
) -> FoundImage:
    read_objects: ObjectReader = _read_no_labels
    if source is not None:
        read_objects = partial(read_labels, source, names, data_set.source)
    return FoundImage(key, path, str(source or path), read_objects)


def _read_no_labels(image_size: tuple[int, int]) -> tuple[tuple[LabelledObject, ...], list[str]]:
    return (), []


def _log_unlabelled(root: Path, base: Path, files: _Images) -> None:
    if missing := [key for key in files.paths if key not in files.labels]:
        first = files.paths[missing[0]]
        logger.warning(
            "%s: images without a file of labels, taken for images without objects: %d; the "
            "first: %s; expected %s",
            root,
            len(missing),
            first,
            label_places(first, base, root)[0],
        )


def _explain_orphans(root: Path, found: Iterable[_Images]) -> list[str]:
    """Say, where it is so, that there are labels without an image."""
    labels = {path: files.paths[key] for files in found for key, path in files.labels.items()}
    orphans: list[Path] = []
    with suppress(OSError, DataError):  # of a folder that may be entered but not listed
        orphans = find_orphans(labels)
    if not orphans:
        return []
    return [
        f"{root}: files of labels without an image, not used: {len(orphans)}; the first: "
        f"{orphans[0]}; expected an image of that name where those of the others are."
    ]


def read_labels(
    source: Path, names: tuple[str, ...], origin: Path, image_size: tuple[int, int]
) -> tuple[tuple[LabelledObject, ...], list[str]]:
    """Read and check all lines of a file of labels.

    Args:
        source: the file.
        names: of the classes, by their ids from 0.
        origin: what names them, for messages.
        image_size: (height, width) of the image.

    Returns:
        The valid objects, and one message for each of the other lines.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = read_text(source).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{source}: cannot be read ({reason_of(error)}). Expected UTF-8 text."
        ) from None
    objects: list[LabelledObject] = []
    faults: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            place = f"{source}: line {number}"
            objects.append(_read_object(line.split(), place, names, origin, image_size))
        except DataError as error:
            faults.append(str(error))
    return tuple(objects), faults


def _read_object(
    fields: list[str],
    place: str,
    names: tuple[str, ...],
    origin: Path,
    image_size: tuple[int, int],
) -> LabelledObject:
    """Read and check one line: a box, or a segment with at least three points.

    Raises:
        DataError: a field is missing or wrong, or the box is empty.
    """
    is_box = len(fields) == 5
    if not is_box and (len(fields) < 7 or len(fields) % 2 == 0):
        hint = " (is the last one a score?)" if len(fields) == 6 else ""
        raise DataError(
            f"{place}: {len(fields)} fields{hint}. Expected 5, class x y width height, or a class "
            "and at least three points."
        )
    key = _number(fields[0])
    if not (math.isfinite(key) and key == int(key) and 0 <= key < len(names)):
        there = enumerate_names(f"{number} {name}" for number, name in enumerate(names))
        raise DataError(
            f"{place}, class = {quote(fields[0])}. Expected one of the ids in {origin}: {there}."
        )
    name = names[int(key)]
    place = f"{place} ({shown(name)})"
    values = [_number(field) for field in fields[1:]]
    words = ("x", "y", "width", "height") if is_box else ("x", "y") * (len(values) // 2)
    for field, value, word in zip(fields[1:], values, words, strict=True):
        if not 0 <= value <= 1:
            raise DataError(
                f"{place}, {word} = {quote(field)}. Expected a fraction of the image's side, "
                "from 0 to 1."
            )
    if is_box:
        x, y, width, height = values
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        left, top, right, bottom = (side(values[axis::2]) for side in (min, max) for axis in (0, 1))
    if right <= left or bottom <= top:
        raise DataError(
            f"{place}, {shown(' '.join(fields[1:5]), 100)}: the box is empty. Expected width and "
            "height above 0."
        )
    rows, columns = image_size
    corners = [
        _to_edge(fraction * side, side)
        for fraction, side in ((top, rows), (left, columns), (bottom, rows), (right, columns))
    ]
    box, clipped = clip_box(corners, image_size)
    if box is None:
        raise DataError(f"{place}: no area inside of the image. Expected a box in it.")
    return LabelledObject(name, box, place, clipped=clipped)


def _to_edge(corner: float, side: int) -> float:
    """Put a corner that misses an edge by rounding on it: not a box partly outside."""
    nearest = min(max(corner, 0.0), float(side))
    return nearest if abs(corner - nearest) < _ROUNDING else corner


def _number(text: str) -> float:
    """Read a number; what is none is NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan
