"""From a configuration to data sets that training can rely on: read, decoded, counted, or refused.

Annotations are read and every picture is decoded before anything is said of faults, so that one
message tells all of them.
"""

import logging
from collections.abc import Mapping, Sequence

from tf_frcnn.config import DataConfig
from tf_frcnn.data.assembly import refuse_empty
from tf_frcnn.data.class_names import similar_names
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FAULT_HANDLERS, counted
from tf_frcnn.data.reading import read_dataset, read_datasets
from tf_frcnn.data.splits import Division
from tf_frcnn.data.verification import verify_pictures

logger = logging.getLogger(__name__)


def load_datasets(
    config: DataConfig, seed: int, division: Division | None = None
) -> dict[str, Dataset]:
    """Read the splits that a configuration names, decode every picture once, log what is there.

    Args:
        config: as for `read_datasets`; its `on_error` decides about faults.
        seed: as for `read_datasets`.
        division: as for `read_datasets`.

    Returns:
        What `read_datasets` returns, without what has faults where they are skipped.

    Raises:
        ConfigError: no root was given, or it cannot be a folder's name.
        DataError: the folder, a split or a class is missing; or all faults of annotations and
            pictures, where they stop; or a split of which nothing is left, where they are skipped.
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
) -> Dataset:
    """Read one split with the classes of a trained model, and decode every picture once.

    Args:
        config: as for `read_dataset`; its `on_error` decides about faults.
        split: as for `read_dataset`.
        class_names: as for `read_dataset`.
        seed: as for `read_dataset`.
        division: as for `read_dataset`.

    Raises:
        ConfigError: no root was given.
        DataError: as in `load_datasets`.
    """
    faults = _Faults()
    dataset = read_dataset(config, split, class_names, seed, division, faults.collect)
    return _finish(config, {"test": dataset}, faults)["test"]


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
    """Decode the pictures, tell all faults, refuse empty splits, log what is left."""
    verified = verify_pictures(datasets, on_faults=faults.collect)
    FAULT_HANDLERS[config.on_error](faults.subject, faults.messages)
    refuse_empty(verified.values())
    for role, dataset in verified.items():
        _log_counts(role, dataset)
    return verified


def _log_counts(role: str, dataset: Dataset) -> None:
    num_boxes = sum(len(example.boxes) for example in dataset.examples)
    left_out = ""
    if dataset.num_pictures_left_out or dataset.num_boxes_left_out:
        left_out = (
            f"; left out for their faults: {counted(dataset.num_pictures_left_out, 'picture')}, "
            f"{counted(dataset.num_boxes_left_out, 'box', 'boxes')}"
        )
    logger.info(
        "%s: %s, %s (split %s)%s",
        role,
        counted(len(dataset.examples), "picture"),
        counted(num_boxes, "box", "boxes"),
        dataset.split,
        left_out,
    )


def _log_classes(root: str, names: Sequence[str]) -> None:
    """Log the classes that were found, and those of which one may be a slip of the pen."""
    logger.info("%s: %s found: %s", root, counted(len(names), "class", "classes"), ", ".join(names))
    for first, second in similar_names(names):
        logger.warning(
            "class names that look like one: %r and %r; `--data.classes` says which there are",
            first,
            second,
        )
