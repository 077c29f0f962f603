"""Reads data sets of other tools with Datumaro, an extra: its shapes become boxes.

Each source of a set, such as the file of a split, is read by itself: Datumaro refuses to merge
splits whose classes are declared in another order or number.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException, ElementTree

from tf_frcnn.conversion.foreign import ForeignImage, ForeignObject, ForeignSet
from tf_frcnn.conversion.quiet import errors_only
from tf_frcnn.data.image_finder import ImageFinder
from tf_frcnn.errors import ConfigError, DataError, install_command
from tf_frcnn.names import normalise_name, shown

# Datumaro's names of kinds of annotations.
_BOXES = ("bbox", "rotated_bbox")
_SHAPES = ("polygon", "mask", "ellipse")
_WORDS = {
    "rotated_bbox": "turned boxes",
    "polygon": "polygons",
    "mask": "masks",
    "ellipse": "ellipses",
    "points": "points",
    "polyline": "lines",
    "label": "labels of whole images",
    "caption": "captions",
}


@dataclass(frozen=True)
class DatumaroFormat:
    """What is to be known about one of Datumaro's formats.

    Attributes:
        name: Datumaro's own.
        is_ignored: tells by its attributes that a box takes no part in training.
        region_class: class that marks regions without labels.
        groups_are_objects: annotations of one group are one object; else a group is the user's.
        read_class_names: root -> the names of classes where the set has ids of them.
        unread_tags: of an XML file, the shapes that Datumaro passes over without a word.
    """

    name: str
    is_ignored: Callable[[Mapping[str, Any]], bool] = lambda attributes: False
    region_class: str = ""
    groups_are_objects: bool = False
    read_class_names: Callable[[Path], dict[str, str]] | None = None
    unread_tags: Mapping[str, str] = field(default_factory=dict)


def read_with_datumaro(root: Path, what: DatumaroFormat) -> ForeignSet:
    """Read a data set.

    Args:
        root: folder or file of the data set; no image outside of the folder is taken.
        what: its format.

    Raises:
        ConfigError: Datumaro is not installed.
        DataError: the data set is none of that format, or Datumaro cannot read it.
    """
    environment_class = _import_datumaro()
    environment = environment_class()
    found = ForeignSet()
    names = what.read_class_names(root) if what.read_class_names else {}
    with errors_only():  # Datumaro writes to the log above all
        sources = _find_sources(environment, root, what.name)
        if what.unread_tags:
            for path in dict.fromkeys(source["url"] for source in sources):
                _count_unread(path, what.unread_tags, found)
        for source in sources:
            options = dict(source.get("options") or {})
            try:
                part = environment.make_extractor(source["format"], source["url"], **options)
                _read_part(part, root, what, names, found)
            except DataError:
                raise
            except Exception as error:  # a wrong file makes its readers raise nearly anything
                raise DataError(
                    f"{source['url']}: Datumaro cannot read it as {what.name} "
                    f"({_summarise(error)})."
                ) from None
    return found


def _import_datumaro() -> Any:
    try:
        from datumaro.components.environment import Environment
    except ImportError as error:
        raise ConfigError(
            f"--from: Datumaro, which reads this format, cannot be imported ({error}). Expected "
            f"the extra convert: {install_command('convert', in_new=True)}, in an environment with "
            "TensorFlow 2.21."
        ) from None
    return Environment


def _find_sources(environment: Any, root: Path, name: str) -> list[Any]:
    """List what a data set of that format consists of."""
    try:
        return list(environment.make_importer(name)(str(root)))
    except Exception as error:  # of Datumaro: there is none; and of whatever it looks into
        others = [one for one in _detect(environment, root) if one != name]
        hint = f" It looks like {' or '.join(others)}, by Datumaro's names." if others else ""
        is_none = type(error).__name__ == "DatasetNotFoundError"  # which says that again
        reason = "" if is_none else f" ({_summarise(error)})"
        raise DataError(
            f"{root}: Datumaro finds no data set of format {name} there{reason}.{hint}"
        ) from None


def _count_unread(path: str, tags: Mapping[str, str], found: ForeignSet) -> None:
    """Count the elements of an XML file that have these tags."""
    with suppress(OSError, ParseError, DefusedXmlException):  # which Datumaro tells
        for _, element in ElementTree.iterparse(path):
            if element.tag in tags:
                found.left_out[tags[element.tag]] += 1
            if element.tag in ("image", "track"):
                element.clear()


def _detect(environment: Any, root: Path) -> list[str]:
    try:
        return list(environment.detect_dataset(str(root)))
    except Exception:  # it is only a hint
        return []


def _read_part(
    part: Any, root: Path, what: DatumaroFormat, names: dict[str, str], found: ForeignSet
) -> None:
    """Read one of Datumaro's sources."""
    categories = {kind.name: value for kind, value in part.categories().items()}
    labels = [item.name for item in categories["label"].items] if "label" in categories else []
    labels = [normalise_name(names.get(label, label)).strip() for label in labels]
    known = set(found.class_names)
    found.class_names.extend(label for label in labels if label not in known)
    folder = root if root.is_dir() else root.parent
    finders: dict[str, ImageFinder] = {}  # one a split, which looks into no other's folders
    for item in part:
        split = "" if item.subset in (None, "default") else item.subset
        if split not in finders:
            finders[split] = ImageFinder([folder], split)
        place = f"{split or root.name}/{item.id}"
        try:
            path = _find_image(item, folder, finders[split], place)
        except DataError as error:
            found.faults.append(str(error))
            continue
        image = ForeignImage(
            f"{item.id}{path.suffix}",
            split,
            path,
            place,
            tuple(_read_objects(item.annotations, labels, what, place, found)),
            tuple(item.media.size) if item.media.has_size else None,
        )
        found.images.append(image)
    for finder in finders.values():
        finder.log_found(root)


def _find_image(item: Any, folder: Path, finder: ImageFinder, place: str) -> Path:
    """Find an image where Datumaro expects it, or else by its name, and only in the data set."""
    stated = getattr(item.media, "path", None)
    if not stated:  # its boxes may be lost with it, where they are fractions of its sides
        raise DataError(f"{place}: there is no image of it. Expected one in {folder}.")
    path = Path(os.path.abspath(stated))
    if path.is_file() and path.is_relative_to(os.path.abspath(folder)):
        return Path(stated)
    return finder.find(f"{item.id}{path.suffix}", place)


def _read_objects(
    annotations: list[Any],
    labels: list[str],
    what: DatumaroFormat,
    place: str,
    found: ForeignSet,
) -> Iterator[ForeignObject]:
    """Give the objects of an image, and count what is none."""
    groups: dict[Any, list[Any]] = {}
    for number, annotation in enumerate(annotations):
        kind = annotation.type.name
        attributes = annotation.attributes
        name = "" if getattr(annotation, "label", None) is None else labels[annotation.label]
        if kind not in (*_BOXES, *_SHAPES):
            found.left_out[_WORDS.get(kind, kind)] += 1
        elif attributes.get("outside") is True:
            found.left_out["boxes of objects that have left the frame"] += 1
        elif what.region_class and name == what.region_class:
            found.left_out[f"regions of {name}"] += 1
        else:
            is_grouped = what.groups_are_objects and annotation.group
            key = (annotation.group, name) if is_grouped else number
            groups.setdefault(key, []).append((name, annotation))
    for parts in groups.values():
        boxes = [part for part in parts if part[1].type.name in _BOXES]
        # Boxes are objects, whatever is grouped with them; without one the parts are one object.
        for some in [[box] for box in boxes] or [parts]:
            try:
                yield _to_object(some, what, found)
            except (ValueError, IndexError, TypeError, ArithmeticError) as error:
                name, first = some[0]
                found.faults.append(
                    f"{place}: {first.type.name} ({name}): there is no box around it "
                    f"({_summarise(error)})."
                )


def _to_object(
    parts: list[tuple[str, Any]], what: DatumaroFormat, found: ForeignSet
) -> ForeignObject:
    """Make one object of its parts: the box around them all."""
    name, first = parts[0]
    boxes = np.array([part.get_bbox() for _, part in parts], np.float64)  # x, y, width, height
    # A sum such as 10.1 + 629.9 may miss the edge that was meant by 1e-13.
    xmin, ymin = boxes[:, :2].min(axis=0).round(9).tolist()
    xmax, ymax = (boxes[:, :2] + boxes[:, 2:]).max(axis=0).round(9).tolist()
    if first.type.name != "bbox":
        found.boxes_of[_WORDS[first.type.name]] += 1
    return ForeignObject(
        name,
        (ymin, xmin, ymax, xmax),
        float(sum(part.get_area() for _, part in parts)),
        what.is_ignored(first.attributes),
    )


def _summarise(error: BaseException) -> str:
    """Write what went wrong: Datumaro's errors often only wrap another one."""
    cause = error.__cause__ or error
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {shown(text, 300)}" if text else type(cause).__name__
