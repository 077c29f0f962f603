"""Writes annotations in Pascal VOC's form: XML, boxes as 1-based inclusive pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class VocObject:
    """One object.

    Attributes:
        name: of its class.
        box: ymin, xmin, ymax, xmax in pixels, half-open.
        truncated: it is cut off by the image's edge.
        difficult: it is left out of training and ignored in evaluation.
    """

    name: str
    box: Sequence[float]
    truncated: bool = False
    difficult: bool = False


def format_annotation(
    filename: str,
    image_size: tuple[int, int],
    objects: Iterable[VocObject],
    database: str,
    folder: str = "JPEGImages",
) -> bytes:
    """Write the annotation of an image.

    Half-open 0-based [ymin, xmin, ymax, xmax] becomes ymin + 1, xmin + 1, ymax, xmax.

    Args:
        filename: of the image, in its folder.
        image_size: (height, width) that the annotation states.
        objects: of the image; there may be none.
        database: where the image comes from.
        folder: of the image.
    """
    height, width = image_size
    root = ElementTree.Element("annotation")
    _add(root, folder=folder, filename=filename)
    _add(ElementTree.SubElement(root, "source"), database=database)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    for item in objects:
        element = ElementTree.SubElement(root, "object")
        flags = {"truncated": int(item.truncated), "difficult": int(item.difficult)}
        _add(element, name=item.name, pose="Unspecified", **flags)
        ymin, xmin, ymax, xmax = map(float, item.box)
        edges = {"xmin": xmin + 1, "ymin": ymin + 1, "xmax": xmax, "ymax": ymax}
        texts = {side: f"{value:.6f}".rstrip("0").rstrip(".") for side, value in edges.items()}
        _add(ElementTree.SubElement(element, "bndbox"), **texts)
    ElementTree.indent(root, space="\t")
    return ElementTree.tostring(root, encoding="utf-8") + b"\n"


def _add(parent: ElementTree.Element, **fields: object) -> None:
    """Append one child with a text for each field, in the order given."""
    for name, value in fields.items():
        ElementTree.SubElement(parent, name).text = str(value)
