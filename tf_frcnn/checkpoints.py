"""Checkpoints: one HDF5 file a step with weights, optimiser and step, written all or not at all.

Weights are named `LAYER/VARIABLE` (block3_conv1/kernel), so that Keras 2 and Keras 3 read each
other's files. What a training step draws depends on its number alone (`data.pipeline`), so the
position in the data and the state of all random numbers is the step.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tf_frcnn.errors import UserError, WeightsError

logger = logging.getLogger(__name__)

_NAME = "step-{:08d}.h5"


def named_weights(model: keras.Model) -> dict[str, Any]:
    """List a model's variables as `LAYER/VARIABLE`, in a stable order.

    Args:
        model: layers that hold variables must have unique names.

    Returns:
        Name -> variable.
    """
    weights: dict[str, Any] = {}
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if any(True for _ in layer._flatten_layers(include_self=False, recursive=True)):
            continue  # its variables are those of its sub-layers
        for variable in layer.weights:
            name = f"{layer.name}/{variable.name.split('/')[-1].split(':')[0]}"
            if name in weights and weights[name] is not variable:
                raise ValueError(f"two variables are named {name!r}: expected unique layer names.")
            weights[name] = variable
    return weights


def save_checkpoint(
    folder: Path, step: int, detector: keras.Model, optimizer: keras.optimizers.Optimizer
) -> Path:
    """Write a checkpoint to a temporary name, flush it to the disk, and rename it.

    Args:
        folder: made when missing.
        step: optimiser steps done.
        detector: the model whose weights are kept.
        optimizer: built for the detector's trainable variables.

    Returns:
        The file.

    Raises:
        UserError: the file cannot be written (disk full, no permission); older ones are untouched.
    """
    path = folder / _NAME.format(step)
    partial = path.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with h5py.File(partial, "w") as file:
            file.attrs["step"] = step
            for name, variable in named_weights(detector).items():
                file["weights/" + name] = np.asarray(variable)
            for index, variable in enumerate(_optimizer_variables(optimizer)):
                file[f"optimizer/{index:04d}"] = np.asarray(variable)
            for name, index in _averages(detector, optimizer).items():
                file["averages/" + name] = file[f"optimizer/{index:04d}"]  # a link, no copy
            file.flush()
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # it may not even be there
            partial.unlink()
        raise UserError(
            f"{path}: the checkpoint of step {step} cannot be written ({error}). "
            "Free some space or mend the permissions, then run the same command again: it goes on "
            "from the last checkpoint."
        ) from None
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step-*.h5"))


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Remove all checkpoints but the latest `keep`, and what a killed run left half-written."""
    for path in list_checkpoints(folder)[:-keep]:
        path.unlink()
    for path in folder.glob("step-*.partial"):
        path.unlink()


def restore_latest(
    folder: Path,
    detector: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> int:
    """Restore the latest checkpoint that can be read; broken ones are named and passed over.

    Args:
        folder: may be missing or empty.
        detector: takes the weights.
        optimizer: takes its state, when given; built for the detector's trainable variables.

    Returns:
        The number of steps done; 0 when there is nothing to restore.

    Raises:
        WeightsError: there are checkpoints, but none can be read, or they are of another model.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            return load_checkpoint(path, detector, optimizer)
        except OSError as error:
            logger.warning("%s: is damaged (%s); trying the one before.", path, error)
    if paths:
        raise WeightsError(
            f"{folder}: none of the {len(paths)} checkpoints can be read. Restore one from a "
            "backup, or start anew with --overwrite (the old folder is kept under another name)."
        )
    return 0


def load_checkpoint(
    path: Path,
    detector: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> int:
    """Load a checkpoint; everything is read and checked before the first variable is assigned.

    Args:
        path: a file that `save_checkpoint` wrote.
        detector: takes the weights; their moving averages, if the file has some and no training
            goes on from here.
        optimizer: takes its state, when given: to go on with the training.

    Returns:
        The number of steps done.

    Raises:
        OSError: the file is missing or damaged.
        WeightsError: the file is of a model with other layers or shapes.
    """
    targets: dict[str, Any] = {
        "weights/" + name: variable for name, variable in named_weights(detector).items()
    }
    if optimizer is not None:
        for index, variable in enumerate(_optimizer_variables(optimizer)):
            targets[f"optimizer/{index:04d}"] = variable
    values = []
    with h5py.File(path, "r") as file:
        for name, variable in targets.items():
            averaged = name.replace("weights/", "averages/", 1)
            if optimizer is None and averaged in file:
                name = averaged
            if name not in file:
                raise WeightsError(
                    f"{path}: has no {name}; it was saved by a model with other layers."
                )
            value = np.asarray(file[name])
            if value.shape != tuple(variable.shape):
                raise WeightsError(
                    f"{path}: {name} has shape {value.shape}, the model's is "
                    f"{tuple(variable.shape)}; it was saved by another model."
                )
            values.append(value)
        step = int(file.attrs["step"])
    for variable, value in zip(targets.values(), values, strict=True):
        variable.assign(value)
    return step


def _optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """List an optimiser's variables; a method in some Keras releases, a list in others."""
    variables = optimizer.variables
    return list(variables() if callable(variables) else variables)


def _averages(detector: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, int]:
    """Find the moving averages of the weights: name of a weight -> index of optimiser's variable.

    Empty when the optimiser keeps none.
    """
    positions = {id(v): index for index, v in enumerate(_optimizer_variables(optimizer))}
    names = {id(variable): name for name, variable in named_weights(detector).items()}
    keeper = getattr(optimizer, "inner_optimizer", optimizer)  # what a loss-scaling one wraps
    averages = getattr(keeper, "_model_variables_moving_average", ())
    return {
        names[id(variable)]: positions[id(average)]
        for variable, average in zip(detector.trainable_variables, averages, strict=False)
    }
