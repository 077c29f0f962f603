"""Signs of data sets in formats that are not read here, but can be converted."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from tf_frcnn.data.folders import index_files, is_folder, list_data_folders
from tf_frcnn.given_files import open_file

_BYTES_LOOKED_AT = 1 << 14
_CVAT = re.compile(rb"<annotations[\s>]")
_LABELME = re.compile(rb'"(shapes|shape_type|imagePath)"\s*:')
DATUMARO = re.compile(rb'"categories"\s*:\s*\{')
"""Stands in Datumaro's JSON alone, which has lists of annotations too, as COCO's has."""


def guess_foreign_format(root: Path) -> str:
    """Guess what a folder is that no reader here takes.

    Args:
        root: a folder that may be read.

    Returns:
        A name that `tf-frcnn convert-data --from` takes; "" where nothing tells.
    """
    signs: dict[str, Callable[[], bool]] = {
        "wider_face": lambda: is_folder(root / "wider_face_split"),
        "kitti": lambda: any(is_folder(path / "label_2") for path in list_data_folders(root)),
        "vott": lambda: any(name.endswith("-export") for name in index_files(root, {".json"})),
        "cvat": lambda: any(map(is_cvat, _first_files(root, ".xml"))),
        "labelme": lambda: _begins_with(_LABELME, _first_files(root, ".json")),
        "datumaro": lambda: _begins_with(DATUMARO, _first_files(root, ".json")),
    }
    return next((name for name, is_there in signs.items() if is_there()), "")


def is_cvat(path: Path) -> bool:
    """Tell whether an XML file is CVAT's, with the annotations of all images."""
    return _begins_with(_CVAT, [path])


def is_labelme(path: Path) -> bool:
    """Tell whether a JSON file is LabelMe's, with the shapes of one image."""
    return _begins_with(_LABELME, [path])


def _first_files(root: Path, extension: str) -> list[Path]:
    """List the first file of each folder in which there are some."""
    found = (index_files(folder, {extension}) for folder in list_data_folders(root))
    return [next(iter(index.values()))[0] for index in found if index]


def _begins_with(pattern: re.Pattern[bytes], paths: Iterable[Path]) -> bool:
    for path in paths:
        try:
            with open_file(path) as file:
                if pattern.search(file.read(_BYTES_LOOKED_AT)):
                    return True
        except OSError:
            continue
    return False
