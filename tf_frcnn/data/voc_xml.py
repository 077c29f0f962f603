"""One annotation of Pascal VOC: an XML file, boxes as 1-based inclusive pixels."""

import math
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeElementTree

from tf_frcnn.data.assembly import LabelledObject, clip_box
from tf_frcnn.data.rotated_boxes import ROTATION, enclose_rotated, read_rotation
from tf_frcnn.data.stated_sizes import read_stated_size
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import read_bytes, reason_of
from tf_frcnn.names import normalise_name, quote, shown


def parse_annotation(source: Path) -> Element:
    """Parse an annotation; entities and references to other files are refused.

    Returns:
        The element <annotation>, for the functions below.

    Raises:
        DataError: the file is missing, is no XML, is unsafe, or has another root.
    """
    try:
        root = SafeElementTree.fromstring(read_bytes(source))
    except DefusedXmlException:
        raise DataError(
            f"{source}: its DOCTYPE declares entities, which are not read: they may stand for "
            "other files, or for text without end. Expected a VOC annotation without <!ENTITY ...>."
        ) from None
    except (OSError, ParseError, ValueError, LookupError) as error:  # LookupError: an encoding
        raise DataError(
            f"{source}: cannot be read as XML ({reason_of(error)}). Expected a VOC annotation."
        ) from None
    if root.tag != "annotation":
        raise DataError(
            f"{source}: the root is <{shown(root.tag)}>. Expected <annotation>, as in VOC."
        )
    return root


def read_filename(annotation: Element) -> str:
    """Read the image's file name that the annotation states, "" where it states none."""
    return _text(annotation, "filename")


def read_size(annotation: Element) -> tuple[int, int] | None:
    """Read the (height, width) that the annotation states; None where it states none."""
    return read_stated_size(_text(annotation, "size/height"), _text(annotation, "size/width"))


def read_objects(
    annotation: Element, source: Path, image_size: tuple[int, int]
) -> tuple[tuple[LabelledObject, ...], list[str]]:
    """Read and check all objects of an annotation.

    Args:
        annotation: the element <annotation>.
        source: its file, for messages.
        image_size: (height, width) of the image; boxes are clipped to it.

    Returns:
        The valid objects, and one message for each of the others.
    """
    objects: list[LabelledObject] = []
    faults = _find_misspelt(annotation, source)
    for number, element in enumerate(annotation.findall("object"), start=1):
        try:
            objects.append(_read_object(element, f"{source}: object {number}", image_size))
        except DataError as error:
            faults.append(str(error))
    return tuple(objects), faults


def _find_misspelt(annotation: Element, source: Path) -> list[str]:
    """Describe elements that look like <object>, whose boxes nobody would miss."""
    names = [child.tag for child in annotation if child.tag.lower() in ("object", "objects")]
    return [
        f"{source}: <{name}> (there: {names.count(name)}): its boxes would not be seen. Expected "
        "<object> in <annotation>, one for each box."
        for name in sorted(set(names) - {"object"})
    ]


def _read_object(element: Element, place: str, image_size: tuple[int, int]) -> LabelledObject:
    """Read and check one <object>.

    Raises:
        DataError: a field is missing or wrong, or the box is inverted or wholly outside.
    """
    name = normalise_name(_text(element, "name"))
    if not name:
        raise DataError(f"{place}, name: there is none. Expected the name of a class.")
    place = f"{place} ({shown(name)})"
    flag = _text(element, "difficult").lower() or "0"
    if flag not in ("0", "1", "false", "true"):
        raise DataError(f"{place}, difficult = {quote(flag)}. Expected 0 or 1.")
    boxes = element.findall("bndbox")
    if len(boxes) != 1:
        there = f"there are {len(boxes)}" if boxes else "there is none"
        raise DataError(
            f"{place}, bndbox: {there}. Expected one in each <object>, with xmin, ymin, xmax and "
            "ymax."
        )
    xmin, ymin, xmax, ymax = (
        _read_coordinate(boxes[0], field, place) for field in ("xmin", "ymin", "xmax", "ymax")
    )
    for low, high, axis in ((xmin, xmax, "x"), (ymin, ymax, "y")):
        if high < low:
            raise DataError(
                f"{place}, {axis}min = {low:g} and {axis}max = {high:g}: the box is inverted. "
                f"Expected {axis}min <= {axis}max (equal for a box one pixel wide)."
            )
    # 1-based inclusive -> half-open: the first pixel begins at 0, the last one ends at its number.
    whole = (ymin - 1, xmin - 1, ymax, xmax)
    degrees = _read_rotation(element)
    box, clipped = clip_box(enclose_rotated(whole, degrees) if degrees else whole, image_size)
    if box is None:
        raise DataError(
            f"{place}, bndbox = xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g}: wholly "
            f"outside of the image. Expected 1 to {image_size[1]} in x and 1 to {image_size[0]} "
            "in y."
        )
    return LabelledObject(
        name,
        box,
        place,
        difficult=flag in ("1", "true"),
        clipped=clipped,
        rotated=bool(degrees),
    )


def _read_rotation(element: Element) -> float:
    """Read CVAT's attribute of an <object>, in degrees."""
    for attribute in element.iterfind("attributes/attribute"):
        if _text(attribute, "name") == ROTATION:
            return read_rotation(_text(attribute, "value"))
    return 0.0


def _read_coordinate(box: Element, field: str, place: str) -> float:
    text = _text(box, field)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{place}, bndbox/{field} = {quote(text)}. Expected a finite number of pixels."
        )
    return value


def _text(element: Element, path: str) -> str:
    """Get the text at a path, stripped; "" where there is none."""
    return (element.findtext(path) or "").strip()
