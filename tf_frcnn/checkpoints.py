"""Checkpoints: one HDF5 file a step with everything that training goes on from.

A file holds the weights (the moving statistics of normalisation too), the optimiser with all of its
slots, the step, and what the callbacks remember, under a checksum. Where the optimiser keeps moving
averages of the weights, they stand under the weights' names too, for whoever wants to use the
model. Weights are named `LAYER/VARIABLE` (block3_conv1/kernel), so that Keras 2 and Keras 3 read
each other's files.

What a training step draws depends on the seed and its number alone (`data.pipeline`,
`ops.sampling`, `ops.dropout`), and so does a learning rate that follows a schedule: the position in
the data, in the schedule and of all random numbers is the step. A rate that callbacks may set is
kept.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tf_frcnn.checksum import BLOCK_SIZE, verify_checksum, write_checksum
from tf_frcnn.errors import UserError, WeightsError, advise
from tf_frcnn.files import whole_file

BEST_FILE = "best.h5"
"""The checkpoint with the lowest validation loss: weights without the optimiser."""
STEP_FILE = "step-{:08d}.h5"
"""A checkpoint by its number of steps; in order of their names they are in order of steps."""

_WEIGHTS, _AVERAGES, _OPTIMIZER = "weights/", "averages/", "optimizer/{:04d}"
# The rate, where it is a number that a callback may set; it may be missing.
_RATE = "optimizer/learning_rate"
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError)  # what h5py raises at a broken file


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        memory: name of a callback -> what it remembers, JSON; empty in files of earlier versions.
    """

    step: int = 0
    memory: Mapping[str, Any] = field(default_factory=dict)


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


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a checkpoint holds, as it was at one moment: no later step changes it.

    Attributes:
        step: optimiser steps done.
        memory: the text of what callbacks remember, JSON; see `Progress`.
        values: name in the file -> array, a copy.
        links: second names -> names of `values`.
    """

    step: int
    memory: str
    values: Mapping[str, np.ndarray]
    links: Mapping[str, str] = field(default_factory=dict)


def take_snapshot(
    progress: Progress,
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> Snapshot:
    """Copy what a checkpoint is to hold, which takes as much memory as the file.

    Args:
        progress: how far the run is.
        network: the model whose weights are kept.
        optimizer: built for the network's trainable variables; kept too, when given.
    """
    variables = _variables(network, optimizer)
    # A variable may give its own memory, which the next step overwrites.
    values = {name: np.asarray(variable).copy() for name, variable in variables.items()}
    links = {} if optimizer is None else _averages(network, optimizer)
    return Snapshot(progress.step, json.dumps(progress.memory), values, links)


def write_snapshot(path: Path, snapshot: Snapshot) -> Path:
    """Write a checkpoint to a temporary name, flush it to the disk, and rename it.

    Args:
        path: in the place of an earlier file; its folder is made when missing.
        snapshot: what it is to hold.

    Returns:
        The path.

    Raises:
        UserError: the file cannot be written (disk full, no permission); older ones are untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            with h5py.File(partial, "w", userblock_size=BLOCK_SIZE) as file:
                file.attrs["step"] = snapshot.step
                file["memory"] = snapshot.memory
                for name, value in snapshot.values.items():
                    file[name] = value
                for link, name in snapshot.links.items():
                    file[link] = file[name]
            write_checksum(partial)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        # It tells the number only within a paragraph on its own affairs, behind the file's name.
        said = re.findall(r"errno = (\d+)", str(error)) or [0]
        number = getattr(error, "errno", None) or int(said[-1])
        reason = os.strerror(number) if number else str(error)
        raise UserError(
            f"{path}: the checkpoint of step {snapshot.step} cannot be written "
            f"({reason}). {advise(OSError(number, reason))}, then run the same command again: it "
            "goes on from the last checkpoint."
        ) from None
    return path


def best_progress(step: int, val_loss: float) -> Progress:
    """Give what `BEST_FILE` says of itself: the step and its validation loss."""
    return Progress(step, {"val_loss": val_loss})


def load_checkpoint(
    path: Path,
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> Progress:
    """Load a checkpoint; everything is read and checked before the first variable is assigned.

    Args:
        path: a file that `write_snapshot` wrote.
        network: takes the weights; their moving averages, if the file has some and no training
            goes on from here.
        optimizer: takes its state, when given: to go on with the training.

    Returns:
        How far the run was.

    Raises:
        OSError: the file is missing or damaged.
        WeightsError: the file is of a model with other layers or shapes.
    """
    targets = _variables(network, optimizer)
    progress, values = _read(path, targets, averaged=optimizer is None)
    for name, value in values.items():
        targets[name].assign(value)
    return progress


def load_progress(path: Path) -> Progress:
    """Read how far the run was of which a checkpoint is.

    Raises:
        OSError: the file is missing or damaged.
    """
    return _read(path, {}, averaged=False)[0]


def _read(
    path: Path, targets: Mapping[str, Any], averaged: bool
) -> tuple[Progress, dict[str, np.ndarray]]:
    """Read what a checkpoint holds for some variables, by their names in the file.

    With `averaged`, a weight's moving average stands in for it where there is one.
    """
    verify_checksum(path)
    try:
        with h5py.File(path, "r") as file:
            memory = json.loads(file["memory"].asstr()[()]) if "memory" in file else {}
            progress = Progress(int(file.attrs["step"]), memory)
            values = {}
            for name, variable in targets.items():
                if name == _RATE and name not in file:
                    continue
                average = name.replace(_WEIGHTS, _AVERAGES, 1)
                stored = average if averaged and average in file else name
                values[name] = _read_one(path, file, stored, variable)
            return progress, values
    except WeightsError:
        raise
    except _DAMAGE as error:
        raise OSError(str(error)) from None


def _read_one(path: Path, file: h5py.File, name: str, variable: Any) -> np.ndarray:
    if name not in file:
        raise WeightsError(f"{path}: has no {name}; it was saved by a model with other layers.")
    value = np.asarray(file[name])
    if value.shape != tuple(variable.shape):
        raise WeightsError(
            f"{path}: {name} has shape {value.shape}, the model's is "
            f"{tuple(variable.shape)}; it was saved by another model."
        )
    return value


def _variables(
    network: keras.Model, optimizer: keras.optimizers.Optimizer | None = None
) -> dict[str, Any]:
    """List what a checkpoint holds, by the names in the file."""
    variables = {_WEIGHTS + name: variable for name, variable in named_weights(network).items()}
    if optimizer is not None:
        slots = _optimizer_variables(optimizer)
        variables |= {_OPTIMIZER.format(index): slot for index, slot in enumerate(slots)}
        rate = _rate_variable(optimizer)
        if rate is not None:
            variables[_RATE] = rate
    return variables


def _rate_variable(optimizer: keras.optimizers.Optimizer) -> Any:
    """Find the variable of the learning rate; None where the rate follows a schedule."""
    # Not by its public name, which gives the schedule's rate of this step as well.
    rate = getattr(_inner(optimizer), "_learning_rate", None)
    return rate if hasattr(rate, "assign") else None


def _inner(optimizer: keras.optimizers.Optimizer) -> Any:
    """Give the optimiser that a loss-scaling one wraps; else itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """List an optimiser's variables but the rate; a method in some Keras releases, or a list."""
    variables = optimizer.variables
    rate = _rate_variable(optimizer)  # Keras 3 has it among them, Keras 2 has not
    variables = [v for v in (variables() if callable(variables) else variables) if v is not rate]
    scale: Any = getattr(optimizer, "_loss_scale", None)  # Keras 2 keeps it apart from them
    if hasattr(scale, "counter"):
        variables += [scale.current_loss_scale, scale.counter]
    return variables


def _averages(network: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, str]:
    """Find the moving averages of the weights: second name -> name of the optimiser's variable.

    Empty when the optimiser keeps none.
    """
    positions = {id(v): index for index, v in enumerate(_optimizer_variables(optimizer))}
    names = {id(variable): name for name, variable in named_weights(network).items()}
    averages = getattr(_inner(optimizer), "_model_variables_moving_average", ())
    return {
        _AVERAGES + names[id(variable)]: _OPTIMIZER.format(positions[id(average)])
        for variable, average in zip(network.trainable_variables, averages, strict=False)
    }
