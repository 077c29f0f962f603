"""Reads CVAT's XML with Datumaro, and helps it where it would look in vain or for too much.

Datumaro looks for images in the folder `images` beside the XML or, without one, in the folder that
the command runs in; and it refuses a file without <meta>, as other tools write it. Then it is given
a folder of links that has both.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from defusedxml import DefusedXmlException, ElementTree

from tf_frcnn.conversion.datumaro_reader import DatumaroFormat, read_with_datumaro
from tf_frcnn.conversion.foreign import ForeignSet
from tf_frcnn.data.folders import list_folder
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import open_file

_BEGINNING = 1 << 12  # bytes, in which <meta> begins where there is one
_CVAT = DatumaroFormat(
    "cvat",
    is_ignored=lambda attributes: attributes.get("difficult") is True,  # as CVAT's VOC has it
    unread_tags={"ellipse": "ellipses", "cuboid": "cuboids", "skeleton": "skeletons"},
)


def read_cvat(root: Path) -> ForeignSet:
    """Read a task's or project's XML file, for images or for video.

    Args:
        root: folder of the file, with the images in it or in `images`; or the file.

    Raises:
        ConfigError: Datumaro is not installed.
        DataError: there is no such file, or it cannot be read.
    """
    folder = root if root.is_dir() else root.parent
    sources = list_folder(root) if root.is_dir() else [root]
    completed = dict(_completed([path for path in sources if path.suffix.lower() == ".xml"]))
    if not completed and (folder / "images").is_dir():
        return read_with_datumaro(root, _CVAT)
    with tempfile.TemporaryDirectory() as name:
        links = Path(name) / folder.name
        links.mkdir()
        for path in (*sources, folder / "images"):
            if not (links / path.name).exists() and path not in completed and path.exists():
                (links / path.name).symlink_to(path.resolve())
        for path, text in completed.items():
            (links / path.name).write_bytes(text)
        if not (links / "images").exists():
            (links / "images").symlink_to(folder.resolve())
        try:
            found = read_with_datumaro(links, _CVAT)
        except DataError as error:
            raise DataError(str(error).replace(str(links), str(folder))) from None
    prefix = links if (folder / "images").is_dir() else links / "images"
    for number, image in enumerate(found.images):
        if isinstance(image.content, Path):
            path = folder / image.content.relative_to(prefix)
            found.images[number] = replace(image, content=path)
    found.faults[:] = [fault.replace(str(links), str(folder)) for fault in found.faults]
    return found


def _completed(paths: list[Path]) -> Iterator[tuple[Path, bytes]]:
    """Give those of the files that have no <meta>, with one that names their labels."""
    for path in paths:
        try:
            with open_file(path) as file:
                if b"<meta" in file.read(_BEGINNING):  # else it may be of hundreds of megabytes
                    continue
            root = ElementTree.parse(path).getroot()
        except (OSError, ParseError, DefusedXmlException):  # which Datumaro tells
            continue
        if root is None or root.tag != "annotations" or root.find("meta") is not None:
            continue
        meta = Element("meta")
        listed = SubElement(SubElement(meta, "task"), "labels")
        used = (element.get("label") for element in root.iter())
        for name in sorted({name for name in used if name}):
            SubElement(SubElement(listed, "label"), "name").text = name
        root.insert(0, meta)
        yield path, tostring(root, encoding="utf-8")
