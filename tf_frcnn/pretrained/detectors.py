"""A detector by the name under which it is published: its file, its classes, its configuration.

No TensorFlow here: what cannot be used is told before that is loaded.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.config import Config, DataConfig, ModelConfig
from tf_frcnn.errors import WeightsError
from tf_frcnn.pretrained.catalogue import CATALOGUE, PublishedWeights
from tf_frcnn.pretrained.download import fetch, sha256_of
from tf_frcnn.pretrained.torch_file import read_state_dict

logger = logging.getLogger(__name__)

DETECTORS: dict[str, PublishedWeights] = {
    name: entry for name, entry in CATALOGUE.items() if name in ARCHITECTURES
}
"""What of the catalogue is a network that can be built."""
WEIGHTS_OPTION, CLASSES_OPTION = "--weights", "--weights-classes"

_TRAINED_EPSILON = 1e-5  # of torch's batch normalisation, where nobody says otherwise
_COLUMNS_KEY = "roi_heads.box_predictor.cls_score.bias"


@dataclass(frozen=True)
class PublishedDetector:
    """Weights of a detector of the catalogue.

    Attributes:
        name: of the catalogue, and of the architecture.
        path: of the file.
        config: of a network that takes them, with the names of its classes.
        epsilon: that its normalisation was trained with.
    """

    name: str
    path: Path
    config: Config
    epsilon: float


def find_detector(
    name: str,
    weights: Path | None = None,
    class_names: Sequence[str] = (),
    offline: bool = False,
    any_classes: bool = False,
) -> PublishedDetector:
    """Find a detector's weights: the published ones, which are downloaded once, or a file.

    Args:
        name: one of `DETECTORS`.
        weights: a file in the layout of torchvision's same detector, in the place of the
            published one.
        class_names: that its columns stand for, without the background; COCO's when not given.
        offline: use no network.
        any_classes: where there are other columns than COCO's and no names, name them by number.

    Raises:
        WeightsError: the file cannot be had or read, or has other columns than names.
    """
    entry = DETECTORS[name]
    if weights is None:
        path = fetch(entry, offline, option=WEIGHTS_OPTION)
        epsilon = entry.bn_eps
    else:
        path = weights
        epsilon = _find_epsilon(entry, path)
    columns = _count_columns(path)
    unused: tuple[int, ...] = ()
    names = tuple(class_names)
    if not names and any_classes and columns != entry.columns:
        names = tuple(f"column {number} of {path.name}" for number in range(1, columns))
    if not names:
        if columns != entry.columns:
            raise WeightsError(
                f"{path}: has {columns} columns of classes, the background among them, where "
                f"COCO's are {entry.columns}. Give their {columns - 1} names: {CLASSES_OPTION} "
                "NAME NAME ..."
            )
        names, unused = tuple(entry.categories.values()), entry.unused_columns
    elif columns != 1 + len(names):
        raise WeightsError(
            f"{CLASSES_OPTION}: {len(names)} names are given, and {path} has {columns} columns, "
            f"one of which is the background's. Expected {columns - 1} names."
        )
    settings = ARCHITECTURES[name].settings
    config = Config(
        data=DataConfig(**{**settings["data"], "classes": names}),
        model=ModelConfig(**{**settings["model"], "architecture": name, "unused_columns": unused}),
    )
    return PublishedDetector(name, path, config, epsilon)


def is_detector(path: Path) -> bool:
    """Tell a file of a whole detector from others, such as one of a trunk.

    Raises:
        WeightsError: it cannot be read.
    """
    return any(key.startswith("roi_heads.") for key in read_state_dict(path))


def _find_epsilon(entry: PublishedWeights, path: Path) -> float:
    """Tell what the normalisation of a file was trained with, which is not in the file."""
    try:
        is_published = sha256_of(path).startswith(entry.sha256 or entry.sha256_start)
    except OSError as error:
        raise WeightsError(
            f"{WEIGHTS_OPTION} {path}: cannot be read ({error.strerror}). Expected a file that "
            f"torch.save wrote, of torchvision's {entry.name}."
        ) from None
    if not is_published and entry.bn_eps != _TRAINED_EPSILON:
        logger.warning(
            "%s: is not the published file of %s; its normalisation is taken to have been trained "
            "with an epsilon of %g, and not with %g as that one",
            *(path, entry.name, _TRAINED_EPSILON, entry.bn_eps),
        )
    return entry.bn_eps if is_published else _TRAINED_EPSILON


def _count_columns(path: Path) -> int:
    arrays = read_state_dict(path)
    if _COLUMNS_KEY not in arrays or arrays[_COLUMNS_KEY].ndim != 1:
        raise WeightsError(
            f"{path}: has no {_COLUMNS_KEY}, so it is no Faster R-CNN of torchvision. Expected the "
            "state dict of one."
        )
    return len(arrays[_COLUMNS_KEY])
