"""One annotation file of COCO: JSON with categories, images and annotations, boxes x, y, w, h.

The form is that of https://cocodataset.org/#format-data. What training and evaluation don't need is
left out: segmentations (but for those of annotations without box), licences. Of an image only `id`
and `file_name` are required, of an annotation `image_id`, `category_id` and `bbox`.
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.data.assembly import LabelledObject, Objects, clip_box, clip_boxes
from tf_frcnn.data.coco_annotations import OF_SEGMENTATION, Annotations, Entry
from tf_frcnn.data.coco_layout import explain_results_file
from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.large_json import read_json
from tf_frcnn.data.rotated_boxes import ROTATION, enclose_rotated, read_rotation
from tf_frcnn.data.stated_sizes import read_stated_size
from tf_frcnn.errors import DataError
from tf_frcnn.names import is_file_name, normalise_name, quote, shown

Key = int | str  # COCO's ids are whole numbers of any size; some tools write text
_OF_IMAGES = ("id", "file_name", "height", "width")  # the keys that are read


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The content of a file.

    Attributes:
        source: the file.
        class_names: names of the categories by their ids, in the order of the file.
        images: entries not yet checked, with no other keys than are read.
        annotations: entries not yet checked.
        roots: names of categories that are left out, because they only stand above others.
        num_segmentations: annotations whose box is that of their polygons or mask.
        repeated_ids: places and ids of annotations of which one before has the id.
    """

    source: Path
    class_names: dict[int, str]
    images: list[Any]
    annotations: Annotations
    roots: tuple[str, ...] = ()
    num_segmentations: int = 0
    repeated_ids: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One valid entry of `images`.

    Attributes:
        key: its id.
        file_name: the image's, not yet looked for.
        stated_size: (height, width); None where it states none.
        place: where the entry stands, for messages.
    """

    key: Key
    file_name: str
    stated_size: tuple[int, int] | None
    place: str


def parse_coco(source: Path) -> CocoFile:
    """Parse a file and check its top level and its categories.

    Raises:
        DataError: the file cannot be read, is no JSON, or lacks one of the three lists; a category
            is incomplete, or has an id or a name that another one has.
    """
    try:
        content = read_json(source, {"images": _shorten_images, "annotations": _read_annotations})
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror}). Expected a file.") from None
    except (ValueError, RecursionError) as error:  # also text that is not UTF-8; says where
        raise DataError(
            f"{source}: cannot be read as JSON ({error}). Expected a COCO annotation file."
        ) from None
    if isinstance(content, list) and (problem := explain_results_file(source)):
        raise DataError(problem)
    if not isinstance(content, dict):
        raise DataError(
            f"{source}: the top level is a {type(content).__name__}. Expected an object with the "
            "keys images, annotations and categories, as in COCO."
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list | Annotations):
            there = quote(content[key]) if key in content else "there is none"
            raise DataError(f"{source}: key {key!r}: {there}. Expected a list, as in COCO.")
    if not content["images"]:
        raise DataError(f"{source}: images is empty. Expected at least one image.")
    annotations = content["annotations"]
    others = [entry for entry in annotations.others.values() if isinstance(entry, dict)]
    used = {entry["category_id"] for entry in others if _has_key(entry, "category_id")}
    used |= {*np.unique(annotations.category_ids[annotations.is_ordinary]).tolist()}
    class_names, roots = _read_categories(content["categories"], used, source)
    return CocoFile(
        source,
        class_names,
        content["images"],
        annotations,
        roots,
        sum(OF_SEGMENTATION in entry for entry in others),
        _find_repeated_ids(annotations.ids),
    )


def list_images(content: CocoFile) -> tuple[list[CocoImage], list[str]]:
    """Check all entries of `images` -> (the valid ones, one message for each of the others)."""
    images: list[CocoImage] = []
    faults: list[str] = []
    seen: dict[tuple[str, Key], str] = {}
    for index, entry in enumerate(content.images):
        where = f"images[{index}]"
        try:
            image = _read_image(entry, f"{content.source}: {where}")
            # As text, because that is what the results of a run name images by.
            _refuse_repetition(seen, "id", str(image.key), content.source, where)
            name = normalise_name(image.file_name)
            _refuse_repetition(seen, "file_name", name, content.source, where)
        except DataError as error:
            faults.append(str(error))
        else:
            images.append(image)
    return images, faults


def group_annotations(content: CocoFile) -> tuple[dict[Key, Sequence[int]], list[str]]:
    """Sort the annotations by the image that they belong to.

    Returns:
        For each id of an image the indices of its annotations, rising; and one message for each
        entry without image, of those with the same wrong id only for the first.
    """
    known = {entry.get("id") for entry in content.images if _has_key(entry, "id")}
    groups: defaultdict[Key, array[int]] = defaultdict(lambda: array("q"))
    faults: list[str] = []
    others = content.annotations.others
    for index, image_id in enumerate(content.annotations.image_ids.tolist()):
        key: Key = image_id
        if index in others:
            try:
                place = f"{content.source}: annotations[{index}]"
                key = _read_key(others[index], "image_id", place)
            except DataError as error:
                faults.append(str(error))
                continue
        groups[key].append(index)
    for key in [key for key in groups if key not in known]:
        orphans = groups.pop(key)
        faults.append(
            f"{_place_of(content, orphans[0])}, image_id = {quote(key)} (annotations with it: "
            f"{len(orphans)}): there is no such image. Expected the id of an entry of images."
        )
    return dict(groups), faults


def read_objects_of(
    content: CocoFile, indices: Sequence[int], image_size: tuple[int, int]
) -> tuple[Objects | Sequence[LabelledObject], list[str]]:
    """Read and check all annotations of an image.

    Args:
        content: of the file.
        indices: of the image's annotations, as `group_annotations` gives them.
        image_size: (height, width) of the image; boxes are clipped to it.

    Returns:
        The valid objects, and one message for each of the others.
    """
    annotations = content.annotations
    rows = np.array(indices, np.int64)  # [G]
    category_ids = annotations.category_ids[rows].tolist()
    names = tuple(content.class_names[key] for key in category_ids if key in content.class_names)
    if len(names) == len(rows) and annotations.is_ordinary[rows].all():
        corners = annotations.boxes[rows][:, [1, 0, 1, 0]]
        corners[:, 2:] += annotations.boxes[rows][:, [3, 2]]
        boxes, clipped = clip_boxes(corners.round(9), image_size)
        if (boxes[:, 2:] > boxes[:, :2]).all():
            flags = np.zeros(len(rows), bool)
            return Objects(
                names=names,
                boxes=boxes,
                places=_Places(content, indices),
                difficult=flags,
                crowd=annotations.crowd[rows],
                clipped=clipped,
                areas=annotations.areas[rows],
                rotated=flags,
            ), []
    entries = [(_place_of(content, index), annotations[index]) for index in indices]
    return read_objects(entries, content.class_names, image_size)


class _Places(Sequence[str]):
    """Where the objects of an image stand, as text that is made when one is asked for."""

    __slots__ = ("_content", "_indices")

    def __init__(self, content: CocoFile, indices: Sequence[int]) -> None:
        self._content = content
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        index = self._indices[number]
        name = self._content.class_names[self._content.annotations[index]["category_id"]]
        return f"{_place_of(self._content, index)} ({shown(name)})"


def read_objects(
    annotations: list[tuple[str, Entry]], class_names: dict[int, str], image_size: tuple[int, int]
) -> tuple[tuple[LabelledObject, ...], list[str]]:
    """Read and check all annotations of an image.

    Args:
        annotations: entries with their places.
        class_names: names of the categories by their ids.
        image_size: (height, width) of the image; boxes are clipped to it.

    Returns:
        The valid objects, and one message for each of the others.
    """
    objects: list[LabelledObject] = []
    faults: list[str] = []
    for place, entry in annotations:
        try:
            objects.append(_read_object(entry, place, class_names, image_size))
        except DataError as error:
            faults.append(str(error))
    return tuple(objects), faults


# === Entries ===


def _shorten_images(entries: Iterator[Any]) -> list[Any]:
    """Leave out, while parsing, the keys that nobody asks for."""
    return [
        {key: entry[key] for key in _OF_IMAGES if key in entry}
        if isinstance(entry, dict)
        else entry
        for entry in entries
    ]


def _read_annotations(entries: Iterator[Any]) -> Annotations:
    return Annotations(map(_replace_segmentation, entries))


def _replace_segmentation(entry: Any) -> Any:
    """Drop while parsing what makes up nine tenths of COCO's files, or make it the missing box."""
    if not isinstance(entry, dict):
        return entry
    segmentation = entry.pop("segmentation", None)
    if segmentation and entry.get("bbox") in (None, []):
        is_mask = isinstance(segmentation, dict)
        if box := (_box_of_mask if is_mask else _box_of_polygons)(segmentation):
            entry["bbox"] = box
            entry[OF_SEGMENTATION] = True
    return entry


def _box_of_polygons(segmentation: Any) -> list[float] | None:
    """Compute the box [x, y, width, height] around polygons; None where they are none."""
    polygons = segmentation if isinstance(segmentation, list) else []
    for polygon in polygons:
        is_long = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
        if not is_long or not all(map(_is_finite, polygon)):
            return None
    if not polygons:
        return None
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _box_of_mask(mask: Entry) -> list[float] | None:
    """Compute the box [x, y, width, height] around a mask; None where it is none, or empty.

    Args:
        mask: `size`, its height and width, and `counts`, its runs: numbers, or COCO's text of them.
    """
    from pycocotools import mask as coco_masks  # not before there is one

    size, counts = mask.get("size"), mask.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(map(_is_count, size))):
        return None
    try:
        if isinstance(counts, list):
            if not all(map(_is_count, counts)) or sum(counts) != math.prod(size):
                return None
            mask = coco_masks.frPyObjects({"size": size, "counts": counts}, *size)
        elif isinstance(counts, str):
            mask = {"size": size, "counts": counts.encode("ascii")}
        else:
            return None
        box = coco_masks.toBbox(mask).tolist()
    except (ValueError, TypeError, OverflowError):  # UnicodeEncodeError is a ValueError
        return None
    x, y, width, height = box
    is_inside = width > 0 and height > 0 and x + width <= size[1] and y + height <= size[0]
    return box if is_inside else None


def _read_categories(
    entries: list[Any], used: Collection[Key], source: Path
) -> tuple[dict[int, str], tuple[str, ...]]:
    """Read the categories' names by id, without roots, and the names of the roots.

    A root, as Roboflow writes it, is no class but what others have as supercategory: no annotation
    uses it, and its name may be that of the only class.
    """
    names: dict[int, str] = {}
    roots: list[str] = []
    seen: dict[tuple[str, Key], str] = {}
    above = Counter(map(_supercategory, entries))
    for index, entry in enumerate(entries):
        where = f"categories[{index}]"
        place = f"{source}: {where}"
        key = _read_key(entry, "id", place)
        if isinstance(key, str):
            raise DataError(f"{place}, id = {quote(key)}. Expected a whole number.")
        name = normalise_name(_read_text(entry, "name", place).strip())
        _refuse_repetition(seen, "id", key, source, where)
        if key not in used and above[name] > (_supercategory(entry) == name):  # of another one
            roots.append(name)
            continue
        _refuse_repetition(seen, "name", name, source, where)
        names[key] = name
    return names, tuple(roots)


def _find_repeated_ids(values: list[Any]) -> tuple[str, ...]:
    """List the annotations whose id one before has; nothing here hangs on these ids."""
    ids = [value if _is_key(value) else None for value in values]
    if len(set(ids)) + max(ids.count(None) - 1, 0) == len(ids):
        return ()
    seen: set[Key | None] = {None}
    places = []
    for index, key in enumerate(ids):
        if key is not None and key in seen:
            places.append(f"annotations[{index}], id = {quote(key)}")
        seen.add(key)
    return tuple(places)


def _place_of(content: CocoFile, index: int) -> str:
    """Say where an annotation is: file, index, and its id if it has one."""
    place = f"{content.source}: annotations[{index}]"
    entry = content.annotations[index]
    return f"{place} (id {quote(entry['id'])})" if "id" in entry else place


def _supercategory(entry: Any) -> str:
    """Read a category's supercategory; "" where it has none."""
    value = entry.get("supercategory") if isinstance(entry, dict) else None
    return normalise_name(value) if isinstance(value, str) else ""


def _read_image(entry: Any, place: str) -> CocoImage:
    key = _read_key(entry, "id", place)
    file_name = _read_text(entry, "file_name", place)
    stated_size = read_stated_size(entry.get("height"), entry.get("width"))
    return CocoImage(key, file_name, stated_size, f"{place} ({shown(file_name)})")


def _read_object(
    entry: Entry, place: str, class_names: dict[int, str], image_size: tuple[int, int]
) -> LabelledObject:
    """Read and check one annotation.

    Raises:
        DataError: a field is missing or wrong, or the box is empty or wholly outside.
    """
    category = _read_key(entry, "category_id", place)
    if not isinstance(category, int) or category not in class_names:
        there = enumerate_names(f"{key} {name}" for key, name in class_names.items()) or "none"
        raise DataError(
            f"{place}, category_id = {quote(category)}: there is no such category. Expected one of "
            f"the ids in categories: {there}."
        )
    name = class_names[category]
    place = f"{place} ({shown(name)})"
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise DataError(f"{place}, iscrowd = {quote(crowd)}. Expected 0 or 1.")
    attributes = entry.get("attributes")
    degrees = read_rotation(attributes.get(ROTATION)) if isinstance(attributes, dict) else 0.0
    box, clipped = _read_box(entry, place, image_size, degrees)
    return LabelledObject(
        name,
        box,
        place,
        crowd=bool(crowd),
        clipped=clipped,
        area=_read_area(entry),
        rotated=bool(degrees),
    )


def _read_box(
    entry: Entry, place: str, image_size: tuple[int, int], degrees: float
) -> tuple[np.ndarray, bool]:
    """Read a box as yxyx, cut to its image -> (box, whether anything was cut off)."""
    if "bbox" not in entry:
        raise DataError(f"{place}, key 'bbox': there is none. Expected [x, y, width, height].")
    stated = entry["bbox"]
    if not isinstance(stated, list) or len(stated) != 4 or not all(map(_is_finite, stated)):
        raise DataError(
            f"{place}, bbox = {quote(stated)}. Expected [x, y, width, height], four finite "
            "numbers of pixels."
        )
    x, y, width, height = map(float, stated)
    if width <= 0 or height <= 0:
        raise DataError(
            f"{place}, bbox = {quote(stated)}: the box is empty or inverted. Expected [x, y, "
            "width, height] with width and height above 0."
        )
    # A sum such as 10.1 + 629.9 may miss the image's edge by 1e-13: not a box partly outside.
    corners = tuple(round(corner, 9) for corner in (y, x, y + height, x + width))
    box, clipped = clip_box(enclose_rotated(corners, degrees) if degrees else corners, image_size)
    if box is None:
        raise DataError(
            f"{place}, bbox = {quote(stated)}: no area inside of the image. Expected [x, y, width, "
            f"height] with x from 0 to {image_size[1]} and y from 0 to {image_size[0]}."
        )
    return box, clipped


def _read_area(entry: Entry) -> float | None:
    """Read the object's area, which nothing but COCO's figures by size hangs on."""
    area = entry.get("area")
    if not isinstance(area, int | float) or not _is_finite(area) or area <= 0:
        return None
    return float(area)


def _has_key(entry: Any, field: str) -> bool:
    """Tell whether an entry has a usable id in this field."""
    return isinstance(entry, dict) and _is_key(entry.get(field))


def _is_key(value: Any) -> bool:
    return isinstance(value, Key) and not isinstance(value, bool) and value != ""


def _read_key(entry: Any, field: str, place: str) -> Key:
    if not isinstance(entry, dict):
        raise DataError(f"{place} = {quote(entry)}. Expected an object with the key {field!r}.")
    if field not in entry:
        raise DataError(f"{place}, key {field!r}: there is none. Expected an id.")
    if not _has_key(entry, field):
        raise DataError(
            f"{place}, {field} = {quote(entry[field])}. Expected an id: a whole number."
        )
    key = entry[field]
    if isinstance(key, str) and not is_file_name(key):
        raise DataError(
            f"{place}, {field} = {quote(key)}: holds a lone surrogate. Expected an id: a whole "
            "number."
        )
    return key


def _read_text(entry: Entry, field: str, place: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        there = f"{field} = {quote(value)}" if field in entry else f"key {field!r}: there is none"
        raise DataError(f"{place}, {there}. Expected a name.")
    return value


def _refuse_repetition(
    seen: dict[tuple[str, Key], str], field: str, value: Key, source: Path, where: str
) -> None:
    """Note in which entry of a file a value stands that may stand only once.

    Raises:
        DataError: it stood somewhere before.
    """
    first = seen.setdefault((field, value), where)
    if first != where:
        raise DataError(
            f"{source}: {where}, {field} = {quote(value)}: {first} has the same. Expected each "
            "only once."
        )


def _is_count(value: Any) -> bool:
    """Tell whether a value is a number that pycocotools can hold, which takes 32 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _is_finite(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # JSON allows whole numbers of any length
        return False
