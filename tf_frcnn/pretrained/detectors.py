"""A detector by the name under which it is published: its file, its classes, its configuration.

No TensorFlow here: what cannot be used is told before that is loaded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.arguments import options_renamed
from tf_frcnn.config import Config, DataConfig, ModelConfig
from tf_frcnn.errors import ConfigError, WeightsError
from tf_frcnn.names import shown
from tf_frcnn.pretrained.catalogue import CATALOGUE, TORCH_EPSILON, PublishedWeights
from tf_frcnn.pretrained.download import fetch, sha256_of
from tf_frcnn.pretrained.torch_file import read_state_dict

DETECTORS: dict[str, PublishedWeights] = {
    name: entry for name, entry in CATALOGUE.items() if name in ARCHITECTURES
}
"""What of the catalogue is a network that can be built."""
WEIGHTS_OPTION, CLASSES_OPTION = "--weights", "--weights-classes"
EPSILON_OPTION = "--weights-epsilon"
AS_ARGUMENTS = {
    f"{WEIGHTS_OPTION} PATH": "weights=PATH",
    WEIGHTS_OPTION: "weights",
    CLASSES_OPTION: "class_names",
    EPSILON_OPTION: "epsilon",
    "--offline": "offline=True",
}
"""What calls from Python have in the place of these options, for messages."""

_COLUMNS_KEY = "roi_heads.box_predictor.cls_score.bias"


@dataclass(frozen=True)
class PublishedDetector:
    """Weights of a detector of the catalogue.

    Attributes:
        name: of the catalogue, and of the architecture.
        path: of the file.
        config: of a network that takes them, with the names of its classes.
        epsilon: that its normalisation was trained with.
        epsilon_remark: how it is known, which is said when the weights are loaded.
        is_epsilon_doubtful: nobody gave it, and it is not that of the published file.
    """

    name: str
    path: Path
    config: Config
    epsilon: float
    epsilon_remark: str
    is_epsilon_doubtful: bool = False


def find_detector(
    name: str,
    weights: Path | None = None,
    class_names: Sequence[str] = (),
    offline: bool = False,
    any_classes: bool = False,
    epsilon: float | None = None,
    epsilon_option: str = EPSILON_OPTION,
) -> PublishedDetector:
    """Find a detector's weights: the published ones, which are downloaded once, or a file.

    Args:
        name: one of `DETECTORS`.
        weights: a file in the layout of torchvision's same detector, in the place of the
            published one.
        class_names: that its columns stand for, without the background; COCO's when not given.
        offline: use no network.
        any_classes: where there are other columns than COCO's and no names, name them by number.
        epsilon: of the normalisation that such a file was trained with; when None, the published
            one's of the published file, and torch's 1e-5 of any other.
        epsilon_option: that it is given by, for the remark.

    Raises:
        ConfigError: a name or the epsilon cannot be used.
        WeightsError: the file cannot be had or read, or has other columns than names; or there are
            names or an epsilon, and no file.
    """
    entry = DETECTORS[name]
    _check_options(name, weights, class_names, epsilon)
    if weights is None:
        path, is_published = fetch(entry, offline, option=WEIGHTS_OPTION), True
    else:
        path, is_published = weights, _is_published(entry, weights)
    of_file, remark = _find_epsilon(entry, path, is_published, epsilon, epsilon_option)
    columns = _count_columns(path)
    unused: tuple[int, ...] = ()
    names = tuple(class_names)
    if not names and any_classes and columns != entry.columns:
        names = tuple(f"column {number} of {shown(path.name, 100)}" for number in range(1, columns))
    if not names:
        if columns != entry.columns:
            raise WeightsError(
                f"{path}: has {columns} columns of classes, the background among them, where "
                f"COCO's are {entry.columns}. Give their {columns - 1} names by {CLASSES_OPTION}."
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
    is_doubtful = not is_published and epsilon is None and of_file != entry.bn_eps
    return PublishedDetector(name, path, config, of_file, remark, is_doubtful)


def is_detector(path: Path) -> bool:
    """Tell a file of a whole detector from others, such as one of a trunk.

    Raises:
        WeightsError: it cannot be read.
    """
    return any(key.startswith("roi_heads.") for key in read_state_dict(path))


def _check_options(
    name: str, weights: Path | None, class_names: Sequence[str], epsilon: float | None
) -> None:
    """Refuse what can be told before anything is downloaded or read."""
    for option, is_given in ((CLASSES_OPTION, class_names), (EPSILON_OPTION, epsilon is not None)):
        if is_given and weights is None:
            raise WeightsError(
                f"{option}: tells of a file that is given by {WEIGHTS_OPTION}, and there is none; "
                f"of the published one of {name} it is known. Give both, or neither."
            )
    with options_renamed({"--data.classes": CLASSES_OPTION}):
        DataConfig(classes=tuple(class_names))
    if epsilon is not None and not (math.isfinite(epsilon) and epsilon >= 0):
        raise ConfigError(f"{EPSILON_OPTION} {epsilon}: expected a number, 0 or more.")


def _is_published(entry: PublishedWeights, path: Path) -> bool:
    try:
        return sha256_of(path).startswith(entry.sha256 or entry.sha256_start)
    except OSError as error:
        raise WeightsError(
            f"{WEIGHTS_OPTION} {path}: cannot be read ({error.strerror}). Expected a file that "
            f"torch.save wrote, of torchvision's {entry.name}."
        ) from None


def _find_epsilon(
    entry: PublishedWeights, path: Path, is_published: bool, given: float | None, option: str
) -> tuple[float, str]:
    """Tell what the normalisation of a file was trained with, which is not in it, and whence."""
    if given is not None:
        return given, f"{path}: an epsilon of {given:g} in its normalisation, as was given"
    if is_published:
        remark = f"{path}: an epsilon of {entry.bn_eps:g} in its normalisation, as published"
        return entry.bn_eps, remark
    return TORCH_EPSILON, (
        f"{path}: is not the published file of {entry.name}, whose normalisation has an epsilon of "
        f"{entry.bn_eps:g}; it is taken to have been trained with torch's {TORCH_EPSILON:g}. "
        f"Another one is given by {option}"
    )


def _count_columns(path: Path) -> int:
    arrays = read_state_dict(path)
    if _COLUMNS_KEY not in arrays or arrays[_COLUMNS_KEY].ndim != 1:
        raise WeightsError(
            f"{path}: has no {_COLUMNS_KEY}, so it is no Faster R-CNN of torchvision. Expected the "
            "state dict of one."
        )
    return len(arrays[_COLUMNS_KEY])
