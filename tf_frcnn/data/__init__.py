"""Data sets: pictures with boxes, from any of the known formats, as `Example`s.

A format is a reader (a file or a few) and an entry in `DATASETS` (and its name in
`DataConfig.format`). Readers look at annotations and at the headers of pictures; commands start
from `loading.py`, which decodes the pictures too. Nothing here imports TensorFlow, so that
evaluation can use it, but for the data sets that are TensorFlow's own, when one of them is read.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.config import NONE_SPLIT, DataConfig
from tf_frcnn.data import coco, coco_layout, tfds, voc
from tf_frcnn.data.assembly import refuse_empty
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FAULT_HANDLERS, FaultHandler
from tf_frcnn.data.folders import describe_folder, is_folder, list_folder
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetFormat:
    """What a reader offers; all of it are module-level functions of its files.

    Attributes:
        layout: what such a data set looks like on disk, for messages.
        detect: tells whether a folder looks like this format; wrong or missing folders are False,
            one that may not be read is a DataError.
        explain_missing_split: (root, split) -> what is there instead, or "" where the split is
            there.
        read: (root, splits, class_names, divider, on_faults) -> one `Dataset` a split, all with the
            same classes; where no class names are given, those found in the splits (by name in VOC,
            by category id in COCO).
    """

    layout: str
    detect: Callable[[Path], bool]
    explain_missing_split: Callable[[Path, str], str]
    read: Callable[
        [Path, tuple[str, ...], tuple[str, ...], Divider, FaultHandler], dict[str, Dataset]
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


Division = Mapping[str, Sequence[str]]
"""The image ids of each split, as `Dataset.division` has them."""


def read_datasets(
    config: DataConfig,
    seed: int,
    division: Division | None = None,
    on_faults: FaultHandler | None = None,
) -> dict[str, Dataset]:
    """Read the splits that a configuration names.

    Args:
        config: root, format, splits and classes; what is not given is detected and logged.
        seed: divides the pictures where the data set has no splits of its own.
        division: how they were divided when the run was started, to divide them so again.
        on_faults: is told all faults at once; when None, they stop the reading or are skipped, as
            `config.on_error` says, and then no split may be empty.

    Returns:
        {"train": ..., "val": ..., "test": ...}, without the keys of splits that are "none". All
        have the same class names: the given ones or those found in these splits. The
        default names of val and test are wishes: without a split "val" there is no key "val";
        without a split "test" its key has the val split, under that one's own name. Both are
        logged.

    Raises:
        ConfigError: no root was given, or it cannot be a folder's name.
        DataError: the folder, a split, an annotation, a picture or a class is missing or wrong.
    """
    root, name = find_format(config)
    log_format(config, name)
    dataset_format = DATASETS[name]
    splits = _find_splits(config, root, dataset_format)
    datasets = dataset_format.read(
        root,
        tuple(splits.values()),
        config.classes,
        Divider(seed, division),
        on_faults or FAULT_HANDLERS[config.on_error],
    )
    if on_faults is None:
        refuse_empty(datasets.values())
    return {role: datasets[split] for role, split in splits.items()}


def read_dataset(
    config: DataConfig,
    split: str,
    class_names: tuple[str, ...],
    seed: int,
    division: Division | None = None,
    on_faults: FaultHandler | None = None,
) -> Dataset:
    """Read one split with the classes of a trained model.

    Args:
        config: root and format; its classes are not looked at, and of its splits only the val
            split, where `split` is the default name of the test split and is not there.
        split: name of the split.
        class_names: names of classes 1..N; a box of another class is a fault.
        seed: as in training, where the data set has no splits of its own.
        division: as in `read_datasets`.
        on_faults: as in `read_datasets`.

    Raises:
        ConfigError: no root was given.
        DataError: the folder, the split, an annotation, a picture or a class is missing or wrong.
    """
    root, name = find_format(config)
    log_format(config, name)
    dataset_format = DATASETS[name]
    split = _split_to_evaluate(split, config.val_split, root, dataset_format)
    dataset = dataset_format.read(
        root,
        (split,),
        class_names,
        Divider(seed, division),
        on_faults or FAULT_HANDLERS[config.on_error],
    )[split]
    if on_faults is None:
        refuse_empty([dataset])
    return dataset


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


def _find_splits(config: DataConfig, root: Path, dataset_format: DatasetFormat) -> dict[str, str]:
    """Decide which split has which role: train, val, test.

    Raises:
        DataError: a split is not there and nothing can stand in for it.
    """
    test_split = _split_to_evaluate(config.test_split, config.val_split, root, dataset_format)
    named = {"train": config.train_split, "val": config.val_split, "test": test_split}
    splits: dict[str, str] = {}
    for role, split in named.items():
        if split == NONE_SPLIT:
            continue
        problem = dataset_format.explain_missing_split(root, split)
        if not problem:
            splits[role] = split
        elif role == "val" and split == DataConfig.val_split:
            logger.warning("no validation: %s", problem)
        else:
            way_out = f" Or go without: `--data.{role}-split none`." if role != "train" else ""
            raise DataError(f"--data.{role}-split {split}: {problem}{way_out}")
    return splits


def _split_to_evaluate(
    split: str, val_split: str, root: Path, dataset_format: DatasetFormat
) -> str:
    """Let the val split stand in for a test split that has the default name and is not there.

    The default can't be told from a given "test"; under any other name it is clearly meant.
    """
    if split != DataConfig.test_split or val_split == NONE_SPLIT:
        return split
    missing = dataset_format.explain_missing_split(root, split)
    if not missing or dataset_format.explain_missing_split(root, val_split):
        return split
    logger.warning(
        "no split %r: split %r is evaluated, and the figures say so. %s", split, val_split, missing
    )
    return val_split
