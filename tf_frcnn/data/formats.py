"""The known formats of data sets, and which one a folder has.

A format is a reader (a file or a few), an entry in `DATASETS` and its name in `DataConfig.format`.
Nothing here imports TensorFlow but a set of TensorFlow Datasets, when it is opened.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.config import DataConfig
from tf_frcnn.data import (
    coco,
    coco_layout,
    csv_layout,
    csv_table,
    tfds,
    voc,
    voc_layout,
    yolo,
    yolo_layout,
)
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler
from tf_frcnn.data.folders import describe_folder, is_folder, list_folder, survey_folder
from tf_frcnn.data.foreign_signs import guess_foreign_format
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
        explain_missing_split: (root, split, image_folder) -> what is there instead, or "" where
            the split is there; the image folder is that of `read`.
        read: (root, splits, class_names, divider, on_faults, image_folder, exif) -> one `Dataset`
            a split, all with the same classes; where no class names are given, those found in the
            splits (by name in VOC and CSV, by id in COCO and YOLO). The image folder is None where
            the images are in the data set's own.
    """

    layout: str
    detect: Callable[[Path], bool]
    explain_missing_split: Callable[[Path, str, Path | None], str]
    read: Callable[
        [Path, tuple[str, ...], tuple[str, ...], Divider, FaultHandler, Path | None, ExifPolicy],
        dict[str, Dataset],
    ]


DATASETS = {
    "voc": DatasetFormat(
        voc_layout.LAYOUT, voc_layout.detect_voc, voc_layout.explain_missing_voc_split, voc.read_voc
    ),
    "coco": DatasetFormat(
        coco_layout.LAYOUT,
        coco_layout.detect_coco,
        coco_layout.explain_missing_coco_split,
        coco.read_coco,
    ),
    "yolo": DatasetFormat(
        yolo_layout.LAYOUT,
        yolo_layout.detect_yolo,
        yolo_layout.explain_missing_yolo_split,
        yolo.read_yolo,
    ),
    "csv": DatasetFormat(
        csv_layout.LAYOUT,
        csv_layout.detect_csv,
        csv_layout.explain_missing_csv_split,
        csv_table.read_csv,
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
    jsons = [root] if not is_folder(root) else list_folder(root)
    for path in jsons:
        if path.suffix.lower() == ".json" and (problem := coco_layout.explain_results_file(path)):
            raise DataError(problem)
    if not is_folder(root):
        raise DataError(
            f"{root}: {describe_folder(root)}. Expected the folder of a data set; give the right "
            "one with `--data.root DIR`."
        )
    layouts = "".join(f"\n  {dataset_format.layout}" for dataset_format in DATASETS.values())
    raise DataError(
        f"{root}: no data set found: {survey_folder(root)}. Known are, by --data.format "
        f"{', '.join(DATASETS)}:{layouts}\n"
        f"Give the right folder with `--data.root DIR`{_suggest_folder(root)}.\n"
        f"{_suggest_conversion(root)}"
    )


def find_image_folder(config: DataConfig, root: Path) -> Path | None:
    """Find the folder that `--data.images` means: as it is typed, or in the data set's.

    Raises:
        ConfigError: there is no such folder.
    """
    if not config.images:
        return None
    for path in (Path(config.images), root / config.images):
        if is_folder(path):
            return path
    raise ConfigError(
        f"--data.images {config.images}: there is no such folder, here or in {root}. Expected the "
        "folder that the images are in."
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


def _suggest_conversion(root: Path) -> str:
    """Name the command that converts other formats, and the one that this seems to be."""
    try:
        guess = guess_foreign_format(root)
    except DataError:  # a folder that may not be read tells nothing
        guess = ""
    looks = f"This looks like {guess}. " if guess else ""
    return (
        f"{looks}Formats of other tools, such as CVAT, LabelMe, Open Images, Datumaro and WIDER "
        f"FACE, are converted by `tf-frcnn convert-data --from {guess or 'FORMAT'} {root} OUTPUT`."
    )


def _is_dataset(path: Path) -> bool:
    try:
        return any(dataset_format.detect(path) for dataset_format in DATASETS.values())
    except DataError:  # a folder that may not be read is not worth suggesting
        return False
