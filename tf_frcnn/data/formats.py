"""The known formats of data sets, and which one a folder has.

A format is a reader (a file or a few), an entry in `DATASETS` and its name in `DataConfig.format`.
Nothing here imports TensorFlow but a set of TensorFlow Datasets, when it is opened.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.config import DataConfig
from tf_frcnn.data import coco, coco_layout, tfds, voc
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler
from tf_frcnn.data.folders import describe_folder, is_folder, list_folder
from tf_frcnn.data.orientation import ExifPolicy
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetFormat:
    """What a reader offers; its functions are module-level ones of its files.

    Attributes:
        layout: what such a data set looks like on disk, for messages.
        detect: tells whether a folder looks like this format; wrong or missing folders are False,
            one that may not be read is a DataError.
        explain_missing_split: (root, split) -> what is there instead, or "" where the split is
            there.
        read: (root, splits, class_names, divider, on_faults, exif) -> one `Dataset` a split, all
            with the same classes; where no class names are given, those found in the splits (by
            name in VOC, by category id in COCO).
    """

    layout: str
    detect: Callable[[Path], bool]
    explain_missing_split: Callable[[Path, str], str]
    read: Callable[
        [Path, tuple[str, ...], tuple[str, ...], Divider, FaultHandler, ExifPolicy],
        dict[str, Dataset],
    ]


DATASETS = {
    "voc": DatasetFormat(voc.LAYOUT, voc.detect_voc, voc.explain_missing_voc_split, voc.read_voc),
    "coco": DatasetFormat(
        coco_layout.LAYOUT,
        coco_layout.detect_coco,
        coco_layout.explain_missing_coco_split,
        coco.read_coco,
    ),
    "tfds": DatasetFormat(
        tfds.LAYOUT, tfds.detect_tfds, tfds.explain_missing_tfds_split, tfds.read_tfds
    ),
}


def find_format(config: DataConfig) -> tuple[Path, str]:
    """Find the data set's folder and its format, as given or by looking at the folder.

    Returns:
        The folder, and a key of `DATASETS`.

    Raises:
        ConfigError: there is no root.
        DataError: the folder looks like none of the formats, or like several.
    """
    if not config.root:
        raise ConfigError(
            "--data.root is missing. Expected a data set's folder: `--data.root DIR`."
        )
    try:
        root = Path(config.root).expanduser()
    except RuntimeError as error:  # ~name of a user who is not there
        raise ConfigError(f"--data.root {config.root}: {error} Expected a folder.") from None
    if config.format != "auto":
        return root, config.format
    found, unreadable = [], []
    for name, dataset_format in DATASETS.items():
        try:
            if dataset_format.detect(root):
                found.append(name)
        except DataError as error:  # what one format must list, another need not
            unreadable.append(error)
    if unreadable and not found:
        raise unreadable[0]
    if len(found) > 1:
        options = " or ".join(f"`--data.format {name}`" for name in found)
        raise DataError(
            f"{root}: looks like several formats: {', '.join(found)}. Expected one; say which with "
            f"{options}."
        )
    if found:
        return root, found[0]
    layouts = "; ".join(dataset_format.layout for dataset_format in DATASETS.values())
    raise DataError(
        f"{root}: no data set found: {describe_folder(root)}. Expected {layouts}. "
        f"Give the right folder with `--data.root DIR`{_suggest_folder(root)}."
    )


def log_format(config: DataConfig, name: str) -> None:
    """Log the format that `find_format` found, where it was not given."""
    if config.format == "auto":
        logger.info("%s: format %s detected", config.root, name)


def _suggest_folder(root: Path) -> str:
    """Name the sub-folders that are data sets, as VOC2007 is in VOCdevkit."""
    if not is_folder(root):
        return ""
    inside = [str(path) for path in list_folder(root) if _is_dataset(path)]
    return f", perhaps {' or '.join(inside[:5])}" if inside else ""


def _is_dataset(path: Path) -> bool:
    try:
        return any(dataset_format.detect(path) for dataset_format in DATASETS.values())
    except DataError:  # a folder that may not be read is not worth suggesting
        return False
