"""From a configuration to data sets: read as their annotations have them, or decoded as well.

Training and evaluation load: annotations are read and every image is decoded before anything is
said of faults, so that one message tells all of them. Reading alone looks at annotations and at
the headers of images.
"""

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from tf_frcnn.config import NONE_SPLIT, DataConfig
from tf_frcnn.data.assembly import refuse_empty
from tf_frcnn.data.class_names import similar_names
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FAULT_HANDLERS, MAX_LISTED, FaultHandler, counted, enumerate_names
from tf_frcnn.data.formats import (
    DATASETS,
    DatasetFormat,
    find_format,
    find_image_folder,
    log_format,
)
from tf_frcnn.data.splits import Divider, Division
from tf_frcnn.data.trained_boxes import (
    add_up,
    count_boxes,
    explain_nothing_to_learn,
    untrained_classes,
)
from tf_frcnn.data.verification import verify_images
from tf_frcnn.errors import DataError

logger = logging.getLogger(__name__)


def load_datasets(
    config: DataConfig, seed: int, division: Division | None = None
) -> dict[str, Dataset]:
    """Read the splits that a configuration names, decode every image once, log what is there.

    Args:
        config: as for `read_datasets`; its `on_error` decides about faults.
        seed: as for `read_datasets`.
        division: as for `read_datasets`.

    Returns:
        What `read_datasets` returns, without what has faults where they are skipped.

    Raises:
        ConfigError: no root was given, or it cannot be a folder's name.
        DataError: the folder, a split or a class is missing; or all faults of annotations and
            images, where they stop; or a split of which nothing is left, where they are skipped;
            or no box takes part in training.
    """
    faults = _Faults()
    datasets = read_datasets(config, seed, division, faults.collect)
    datasets = _finish(config, datasets, faults)
    if not config.classes:
        _log_classes(config.root, datasets["train"].class_names)
    return datasets


def load_dataset(
    config: DataConfig,
    split: str,
    class_names: tuple[str, ...],
    seed: int,
    division: Division | None = None,
    others: Literal["refuse", "leave out"] = "refuse",
) -> Dataset:
    """Read one split with the classes of a trained model, and decode every image once.

    Args:
        config: as for `read_dataset`; its `on_error` decides about faults.
        split: as for `read_dataset`.
        class_names: as for `read_dataset`.
        seed: as for `read_dataset`.
        division: as for `read_dataset`.
        others: what to do about boxes of other classes: they are faults, or are left out.

    Raises:
        ConfigError: no root was given.
        DataError: as in `load_datasets`; or every box is of another class.
    """
    faults = _Faults()
    wanted = class_names if others == "refuse" else ()  # of no names are all that there are
    dataset = read_dataset(config, split, wanted, seed, division, faults.collect)
    if others == "leave out":
        dataset = choose_classes(dataset, class_names)
    return _finish(config, {"test": dataset}, faults)["test"]


def read_datasets(
    config: DataConfig,
    seed: int,
    division: Division | None = None,
    on_faults: FaultHandler | None = None,
) -> dict[str, Dataset]:
    """Read the splits that a configuration names.

    Args:
        config: root, format, splits and classes; what is not given is detected and logged.
        seed: divides the images where the data set has no splits of its own.
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
        DataError: the folder, a split, an annotation, an image or a class is missing or wrong.
    """
    root, name = find_format(config)
    log_format(config, name)
    dataset_format = DATASETS[name]
    image_folder = find_image_folder(config, root)
    splits = _find_splits(config, root, dataset_format, image_folder)
    with _no_search_for_cycles():
        datasets = dataset_format.read(
            root,
            tuple(splits.values()),
            config.classes,
            Divider(seed, division),
            on_faults or FAULT_HANDLERS[config.on_error],
            image_folder,
            config.exif,
        )
    by_role = {role: datasets[split] for role, split in splits.items()}
    if on_faults is None:
        refuse_empty(by_role)
    return by_role


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
        DataError: the folder, the split, an annotation, an image or a class is missing or wrong.
    """
    root, name = find_format(config)
    log_format(config, name)
    dataset_format = DATASETS[name]
    image_folder = find_image_folder(config, root)
    split = _split_to_evaluate(split, config.val_split, root, dataset_format, image_folder)
    with _no_search_for_cycles():
        dataset = dataset_format.read(
            root,
            (split,),
            class_names,
            Divider(seed, division),
            on_faults or FAULT_HANDLERS[config.on_error],
            image_folder,
            config.exif,
        )[split]
    if on_faults is None:
        refuse_empty({"test": dataset})
    return dataset


def choose_classes(dataset: Dataset, class_names: tuple[str, ...]) -> Dataset:
    """Leave out the boxes of all other classes, and log how many there are of which.

    Args:
        dataset: one split, with all of its classes.
        class_names: of classes 1..N of the answer; some need not be in the data.

    Raises:
        DataError: there are boxes, and none is of these classes.
    """
    numbers = {name: number for number, name in enumerate(class_names, start=1)}
    table = np.array([0, *(numbers.get(name, 0) for name in dataset.class_names)], np.int32)
    examples, counts = [], Counter[str]()
    for example in dataset.examples:
        classes = table[example.classes]
        kept = classes > 0
        counts.update(dataset.class_names[number - 1] for number in example.classes[~kept])
        boxes = {name: getattr(example, name)[kept] for name in ("boxes", "difficult", "crowd")}
        examples.append(replace(example, classes=classes[kept], **boxes))
    if counts:
        listed = enumerate_names(f"{name} ({count})" for name, count in counts.most_common())
        if not any(len(example.boxes) for example in examples):
            raise DataError(
                f"split {dataset.split}: no box is of the classes {enumerate_names(class_names)}; "
                f"there are {listed}. Expected some that the data have: `--data.classes NAME ...`."
            )
        logger.info(
            "boxes of other classes, left out: %d: %s; `--data.classes` names those that count",
            counts.total(),
            listed,
        )
    return replace(dataset, class_names=class_names, examples=tuple(examples))


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Keep Python from searching for objects that only refer to each other.

    Readers make no such objects, and so many others that a third of their time went into it.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# === Splits ===


def _find_splits(
    config: DataConfig, root: Path, dataset_format: DatasetFormat, image_folder: Path | None
) -> dict[str, str]:
    """Decide which split has which role: train, val, test.

    Raises:
        DataError: a split is not there and nothing can stand in for it.
    """
    test_split = _split_to_evaluate(
        config.test_split, config.val_split, root, dataset_format, image_folder
    )
    named = {"train": config.train_split, "val": config.val_split, "test": test_split}
    splits: dict[str, str] = {}
    for role, split in named.items():
        if split == NONE_SPLIT:
            continue
        problem = dataset_format.explain_missing_split(root, split, image_folder)
        if not problem:
            splits[role] = split
        elif role == "val" and split == DataConfig.val_split:
            logger.warning("no validation: %s", problem)
        else:
            way_out = f" Or go without: `--data.{role}-split none`." if role != "train" else ""
            raise DataError(f"--data.{role}-split {split}: {problem}{way_out}")
    return splits


def _split_to_evaluate(
    split: str,
    val_split: str,
    root: Path,
    dataset_format: DatasetFormat,
    image_folder: Path | None,
) -> str:
    """Let the val split stand in for a test split that has the default name and is not there.

    The default can't be told from a given "test"; under any other name it is clearly meant.
    """
    if split != DataConfig.test_split or val_split == NONE_SPLIT:
        return split
    missing = dataset_format.explain_missing_split(root, split, image_folder)
    if not missing or dataset_format.explain_missing_split(root, val_split, image_folder):
        return split
    logger.warning(
        "no split %r: split %r is evaluated, and the figures say so. %s", split, val_split, missing
    )
    return val_split


# === Faults and counts ===


class _Faults:
    """Keeps the faults that readers tell, to tell them together.

    Attributes:
        subject: what the first of them were found in.
        messages: one a fault.
    """

    def __init__(self) -> None:
        self.subject = ""
        self.messages: list[str] = []

    def collect(self, subject: str, messages: Sequence[str]) -> None:
        """Take the faults of a reader: a `FaultHandler`."""
        self.subject = self.subject or subject
        self.messages += messages


def _finish(
    config: DataConfig, datasets: Mapping[str, Dataset], faults: _Faults
) -> dict[str, Dataset]:
    """Decode the images, tell all faults, refuse what cannot be trained on, log what is left."""
    verified = verify_images(datasets, on_faults=faults.collect)
    nothing = explain_nothing_to_learn(verified["train"]) if "train" in verified else ""
    has_flags = bool(nothing) and add_up(count_boxes(verified["train"])).total > 0
    if has_flags and faults.messages and config.on_error == "stop":
        faults.messages.append(nothing)  # without flags, those faults are the reason
    FAULT_HANDLERS[config.on_error](faults.subject, faults.messages)
    refuse_empty(verified)
    if nothing:
        raise DataError(f"{config.root}: {nothing}")
    for role, dataset in verified.items():
        _log_counts(role, dataset)
    return verified


def _log_counts(role: str, dataset: Dataset) -> None:
    counts = count_boxes(dataset)
    boxes = add_up(counts)
    left_out = ""
    if dataset.num_images_left_out or dataset.num_boxes_left_out:
        left_out = (
            f"; left out for their faults: {counted(dataset.num_images_left_out, 'image')}, "
            f"{counted(dataset.num_boxes_left_out, 'box', 'boxes')}"
        )
    logger.info(
        "%s: %s, %s (split %s)%s",
        role,
        counted(len(dataset.examples), "image"),
        counted(boxes.total, "box", "boxes"),
        dataset.split,
        f"; not trained on: {boxes}{left_out}" if role == "train" and str(boxes) else left_out,
    )
    if role == "train" and (untrained := untrained_classes(counts)):
        logger.warning(
            "classes all of whose boxes take no part in training: %d: %s",
            len(untrained),
            enumerate_names(untrained),
        )


def _log_classes(root: str, names: Sequence[str]) -> None:
    """Log the classes that were found, and those of which one may be a slip of the pen."""
    count = counted(len(names), "class", "classes")
    logger.info("%s: %s found: %s", root, count, enumerate_names(names))
    pairs = similar_names(names)
    for first, second in pairs[:MAX_LISTED]:
        logger.warning(
            "class names that look like one: %r and %r; `--data.classes` says which there are",
            first,
            second,
        )
    if len(pairs) > MAX_LISTED:
        logger.warning("class names that look like one: %d pairs", len(pairs))
