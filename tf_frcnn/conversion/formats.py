"""The formats that can be converted, by the names of `tf-frcnn convert-data --from`.

A format is a line in `FORMATS`, and a test with a source that was written by hand: what a library
reads is not always what its tool means. Datumaro's `roboflow_create_ml`, for one, is left out, as
it takes CreateML's centres for corners.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tf_frcnn.conversion.cvat import read_cvat
from tf_frcnn.conversion.datumaro_reader import DatumaroFormat, read_with_datumaro
from tf_frcnn.conversion.foreign import ForeignSet
from tf_frcnn.conversion.labelme_json import list_labelme_files, read_labelme_json
from tf_frcnn.data.csv_layout import find_descriptions
from tf_frcnn.data.csv_rows import read_descriptions
from tf_frcnn.data.foreign_signs import is_labelme


@dataclass(frozen=True)
class ForeignFormat:
    """One format.

    Attributes:
        what: it is, for lists.
        read: reads a data set of it.
    """

    what: str
    read: Callable[[Path], ForeignSet]


def _read_labelme(root: Path) -> ForeignSet:
    """Read the JSON of LabelMe, or else the XML of the older tool of that name."""
    if root.is_dir() and any(map(is_labelme, list_labelme_files(root))):
        return read_labelme_json(root)
    return read_with_datumaro(root, DatumaroFormat("label_me"))


def _read_open_images_names(root: Path) -> dict[str, str]:
    source = find_descriptions(root) if root.is_dir() else None
    return read_descriptions(source) if source else {}


def _with_datumaro(what: DatumaroFormat) -> Callable[[Path], ForeignSet]:
    return partial(read_with_datumaro, what=what)


_DATUMARO = DatumaroFormat(
    "datumaro",
    is_ignored=lambda attributes: (
        attributes.get("is_crowd") in (True, 1) or attributes.get("difficult") in (True, 1)
    ),
    groups_are_objects=True,
)
_OPEN_IMAGES = DatumaroFormat(
    "open_images",
    is_ignored=lambda attributes: attributes.get("is_group_of") is True,
    groups_are_objects=True,  # a box with its mask
    read_class_names=_read_open_images_names,
)
_WIDER_FACE = DatumaroFormat(
    "wider_face",
    # The eighth number says that a face is invalid; Datumaro calls it occluded, as it does the
    # True and False of files that it wrote itself.
    is_ignored=lambda attributes: attributes.get("occluded") == "1",
)
_KITTI = DatumaroFormat("kitti_detection", region_class="DontCare")
_VOTT = DatumaroFormat("vott_json")

FORMATS = {
    "cvat": ForeignFormat(
        "XML 1.1 of CVAT, for images or video, with the images beside it or in images", read_cvat
    ),
    "datumaro": ForeignFormat("Datumaro's own JSON", _with_datumaro(_DATUMARO)),
    "kitti": ForeignFormat("KITTI's 2D boxes, label_2 and image_2", _with_datumaro(_KITTI)),
    "labelme": ForeignFormat(
        "JSON of LabelMe, or XML of the older tool of that name", _read_labelme
    ),
    "open_images": ForeignFormat(
        "Open Images' folders, annotations and images", _with_datumaro(_OPEN_IMAGES)
    ),
    "vott": ForeignFormat("JSON of VoTT, NAME-export.json", _with_datumaro(_VOTT)),
    "wider_face": ForeignFormat(
        "WIDER FACE, wider_face_split and WIDER_train", _with_datumaro(_WIDER_FACE)
    ),
}
