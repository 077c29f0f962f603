"""The file of one training step: batch, weights, configuration; `tf-frcnn replay` reads it.

| in the HDF5 file              | what it holds                                              |
|-------------------------------|------------------------------------------------------------|
| `batch/NAME`                  | the arrays of the batch, augmented, as the step got them   |
| `weights/LAYER/VARIABLE`      | the weights before the step, named as in checkpoints       |
| attributes `format`, `format_version` | what kind of file it is                            |
| `step`, `learning_rate`, `losses`, `paths` | what the step was, and what it gave           |
| `config`                      | the configuration of the run, as JSON                      |

No TensorFlow here: a wrong file is told at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tf_frcnn.config import Config, config_to_json, parse_config
from tf_frcnn.data.faults import counted
from tf_frcnn.errors import ConfigError, UserError
from tf_frcnn.files import whole_file
from tf_frcnn.given_files import check_file, reason_of

FORMAT = "tf_frcnn training step"
FORMAT_VERSION = 1

_EXPECTED = "Expected a file that training wrote to RUN/non_finite/step-XXXXXXXX.h5"
# What a batch must hold to be trained on: dtype, and the shape with None for any length.
_BATCH = {
    "images": ("float32", (None, None, None, 3)),
    "image_sizes": ("float32", (None, 2)),
    "gt_boxes": ("float32", (None, None, 4)),
    "gt_classes": ("int32", (None, None)),
    "seeds": ("int32", (None, 2)),
}
# The same of what it holds with `ignore_crowd_overlap` alone.
_IGNORED = {"ignored_boxes": ("float32", (None, None, 4))}


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One training step: all that it was made of, but for the weights.

    Attributes:
        step: its number, from 1.
        learning_rate: of its update.
        losses: each loss term, as the step gave it.
        batch: the arrays that `FasterRCNNTrainer` takes, in NumPy.
        paths: file of each image of the batch.
        config: of the run.
    """

    step: int
    learning_rate: float
    losses: Mapping[str, float]
    batch: Mapping[str, np.ndarray]
    paths: tuple[str, ...]
    config: Config

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of classes 1..N."""
        return self.config.data.classes


def save_step(path: Path, record: StepRecord, weights: Mapping[str, Any]) -> None:
    """Write a step to a temporary name, flush it to the disk, and rename it.

    Args:
        path: the file; its folder is made, a file of that name replaced.
        record: the step.
        weights: `named_weights` of the network, before the step.

    Raises:
        OSError: the file cannot be written; nothing is left of it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, h5py.File(partial, "w") as file:
            file.attrs.update(_attributes(record))
            for name, value in record.batch.items():
                file["batch/" + name] = value
            for name, variable in weights.items():
                file["weights/" + name] = np.asarray(variable)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        raise OSError(str(error)) from None


def _attributes(record: StepRecord) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "tf_frcnn": metadata.version("tf_frcnn"),
        "step": record.step,
        "learning_rate": record.learning_rate,
        "losses": json.dumps(dict(record.losses)),  # Python's JSON has NaN and Infinity
        "paths": json.dumps(record.paths),
        "config": config_to_json(record.config),
    }


def load_step(path: Path) -> StepRecord:
    """Read a step that `save_step` wrote.

    Args:
        path: the file; `load_weights` reads the rest of it.

    Raises:
        UserError: the file is missing, cut short, of another kind or of another version.
    """
    try:
        check_file(path, may_be_empty=False)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file. {_EXPECTED}.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise UserError(f"{path}: {reason_of(error)}. {_EXPECTED}.") from None
    if not h5py.is_hdf5(path):
        raise UserError(f"{path}: is no HDF5 file, or only a part of one. {_EXPECTED}.")
    try:
        with h5py.File(path, "r") as file:
            _check_format(path, file)
            record = _read(path, file)
    except UserError:
        raise
    except Exception as error:  # a damaged file makes HDF5 and JSON raise nearly anything
        raise _damage(path, error) from None
    _check_batch(path, record)
    return record


def load_weights(path: Path, weights: Mapping[str, Any]) -> None:
    """Assign the weights of a step; all are read and checked before the first is assigned.

    Args:
        path: a file of `save_step`.
        weights: `named_weights` of a network built for the step's configuration.

    Raises:
        UserError: the file is damaged, or the weights are not those of this network.
    """
    try:
        with h5py.File(path, "r") as file:
            values = {
                name: np.asarray(file[f"weights/{name}"])
                for name in weights
                if f"weights/{name}" in file
            }
    except (OSError, KeyError, RuntimeError) as error:
        raise _damage(path, error) from None
    for name, variable in weights.items():
        if name not in values or values[name].shape != tuple(variable.shape):
            found = f"has shape {values[name].shape}" if name in values else "is missing"
            raise UserError(
                f"{path}: weights/{name} {found}, expected one of shape {tuple(variable.shape)}, "
                "as the configuration in the file has it. Replay it with the release of tf_frcnn "
                "that wrote it."
            )
    for name, variable in weights.items():
        variable.assign(values[name])


def _damage(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: cannot be read ({error}). {_EXPECTED}, all of it: copy it again, or train again "
        "up to that step."
    )


def _check_format(path: Path, file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT:
        raise UserError(
            f"{path}: is an HDF5 file of another kind, such as a checkpoint. {_EXPECTED}."
        )
    version = int(file.attrs["format_version"])
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path}: has format version {version}, and this release reads version "
            f"{FORMAT_VERSION}. {_writer(file)}"
        )


def _read(path: Path, file: h5py.File) -> StepRecord:
    try:
        config = parse_config(file.attrs["config"], f"{path}: config")
    except ConfigError as error:
        raise UserError(f"{error} {_writer(file)}") from None
    return StepRecord(
        step=int(file.attrs["step"]),
        learning_rate=float(file.attrs["learning_rate"]),
        losses=json.loads(file.attrs["losses"]),
        batch={name: np.asarray(value) for name, value in file["batch"].items()},
        paths=tuple(json.loads(file.attrs["paths"])),
        config=config,
    )


def _writer(file: h5py.File) -> str:
    release = file.attrs.get("tf_frcnn", "of an unknown release")
    return f"The file was written by tf_frcnn {release}: replay it with that."


def _check_batch(path: Path, record: StepRecord) -> None:
    num_images = len(record.paths)
    has_ignored = record.config.train.ignore_crowd_overlap > 0
    for name, (dtype, shape) in (_BATCH | (_IGNORED if has_ignored else {})).items():
        array = record.batch.get(name)
        expected = (num_images, *shape[1:])
        if array is None:
            found = "is missing"
        elif array.dtype != dtype or not _fits(array.shape, expected):
            found = f"is {array.dtype} {list(array.shape)}"
        else:
            continue
        sides = ", ".join("any" if side is None else str(side) for side in expected)
        raise UserError(
            f"{path}: batch/{name} {found}, expected {dtype} [{sides}] for "
            f"{counted(num_images, 'image')}. {_EXPECTED}."
        )
    if not record.class_names:
        raise UserError(f"{path}: config: data.classes is empty. {_EXPECTED}.")


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        side is None or side == length for side, length in zip(expected, shape, strict=True)
    )
