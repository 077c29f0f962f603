"""Reads the JSON files of LabelMe, one an image; Datumaro reads the XML of its namesake alone.

The form is that of https://github.com/wkentaro/labelme. Shapes with a `group_id` are one object
with those of the same class and id.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tf_frcnn.conversion.foreign import ForeignImage, ForeignObject, ForeignSet
from tf_frcnn.data.folders import index_tree
from tf_frcnn.data.image_finder import ImageFinder
from tf_frcnn.data.splits import role_of
from tf_frcnn.data.stated_sizes import read_stated_size
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import read_bytes, reason_of
from tf_frcnn.names import normalise_name, quote

_LEFT_OUT = {"point": "points", "points": "points", "line": "lines", "linestrip": "lines"}


def list_labelme_files(root: Path) -> list[Path]:
    """List the JSON files of a folder and of all below it.

    Raises:
        DataError: a folder may not be read.
    """
    return [path for paths in index_tree(root, {".json"}).values() for path in paths]


def read_labelme_json(root: Path) -> ForeignSet:
    """Read a folder of LabelMe's files; folders `train`, `val` and `test` are splits.

    Args:
        root: folder of the files and their images; no image outside of it is taken.

    Raises:
        DataError: a folder may not be read.
    """
    found = ForeignSet()
    finders: dict[Path, ImageFinder] = {}
    names: dict[str, None] = {}
    for source in list_labelme_files(root):
        finder = finders.setdefault(
            source.parent, ImageFinder(dict.fromkeys((source.parent, root)))
        )
        try:
            image = _read_image(source, root, finder, found)
        except DataError as error:
            found.faults.append(str(error))
            continue
        found.images.append(image)
        names.update(dict.fromkeys(item.name for item in image.objects if item.name))
    found.class_names.extend(sorted(names))
    return found


def _read_image(source: Path, root: Path, finder: ImageFinder, found: ForeignSet) -> ForeignImage:
    content = _read_json(source)
    stated = content.get("imagePath")
    if not isinstance(stated, str) or not stated:
        raise DataError(f"{source}: imagePath = {quote(stated)}. Expected the name of the image.")
    file_name = PurePosixPath(stated.replace("\\", "/")).name
    image: Path | bytes
    try:
        image = finder.find(stated, f"{source}: imagePath")
    except DataError:
        if not content.get("imageData"):
            raise
        image = _decode(content["imageData"], source)
    folder = source.parent.relative_to(root)
    split = folder.parts[0] if folder.parts and role_of(folder.parts[0]) else ""
    folder = folder.relative_to(split) if split else folder
    return ForeignImage(
        # Named by its annotation, of which there is one for each image.
        (folder / (source.stem + (PurePosixPath(file_name).suffix or ".jpg"))).as_posix(),
        split,
        image,
        str(source),
        tuple(_read_objects(content["shapes"], source, found)),
        read_stated_size(content.get("imageHeight"), content.get("imageWidth")),
    )


def _read_json(source: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(source))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{source}: cannot be read as JSON ({reason_of(error)}). Expected a file of LabelMe."
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DataError(f"{source}: there is no list `shapes`. Expected a file of LabelMe.")
    return content


def _decode(text: Any, source: Path) -> bytes:
    """Decode the image that a file may hold itself."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise DataError(f"{source}: imageData is no image in base 64.") from None


def _read_objects(shapes: list[Any], source: Path, found: ForeignSet) -> Iterator[ForeignObject]:
    groups: dict[Any, list[ForeignObject]] = {}
    for number, shape in enumerate(shapes):
        place = f"{source}: shapes[{number}]"
        if not isinstance(shape, dict):
            found.faults.append(f"{place}: expected an object with label and points.")
            continue
        kind = shape.get("shape_type") or "polygon"
        if kind in _LEFT_OUT:
            found.left_out[_LEFT_OUT[kind]] += 1
            continue
        try:
            item = _read_shape(shape, kind, place)
        except DataError as error:
            found.faults.append(str(error))
            continue
        if kind != "rectangle":
            found.boxes_of[f"{kind}s"] += 1
        group = shape.get("group_id")
        groups.setdefault(number if group is None else (str(group), item.name), []).append(item)
    for parts in groups.values():
        ymin, xmin, ymax, xmax = zip(*(part.box for part in parts), strict=True)
        box = (min(ymin), min(xmin), max(ymax), max(xmax))
        yield ForeignObject(parts[0].name, box, sum(part.area for part in parts))


def _read_shape(shape: dict[str, Any], kind: str, place: str) -> ForeignObject:
    points: Any = shape.get("points")
    least = 3 if kind == "polygon" else 2
    is_list = isinstance(points, list) and all(map(_is_point, points))
    if not is_list or len(points) < least:
        raise DataError(
            f"{place}, points: expected at least {least} pairs of finite numbers, in pixels."
        )
    xs, ys = zip(*([float(x), float(y)] for x, y in points), strict=True)
    box = (min(ys), min(xs), max(ys), max(xs))
    if kind == "circle":  # its centre, and a point of its edge
        radius = math.dist(points[0], points[1])
        box = (ys[0] - radius, xs[0] - radius, ys[0] + radius, xs[0] + radius)
    elif kind == "mask":  # the first of its pixels and the last
        box = (*box[:2], box[2] + 1, box[3] + 1)
    area = (box[2] - box[0]) * (box[3] - box[1])
    if kind == "polygon":
        area = 0.5 * abs(sum(x * ys[i - 1] - xs[i - 1] * y for i, (x, y) in enumerate(points)))
    label = shape.get("label")
    name = normalise_name(label).strip() if isinstance(label, str) else ""
    return ForeignObject(name, box, area)


def _is_point(value: Any) -> bool:
    try:
        return len(value) == 2 and all(math.isfinite(number) for number in value)
    except (TypeError, OverflowError):  # no pair, no number, one of 400 digits
        return False
