"""The folder of a run's checkpoints: which are there, which are kept, which can be read."""

import contextlib
import logging
from pathlib import Path

import keras

from tf_frcnn.checkpoints import BEST_FILE, STEP_FILE, Progress, load_checkpoint, load_progress
from tf_frcnn.data.faults import counted
from tf_frcnn.errors import UserError, WeightsError
from tf_frcnn.given_files import reason_of
from tf_frcnn.run_folder import TRAIN_ANEW

logger = logging.getLogger(__name__)


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a folder, oldest first, without that of `BEST_FILE`."""
    return sorted(folder.glob("step-*.h5"))


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Remove all checkpoints but the latest `keep`, and what a killed run left half-written.

    Raises:
        UserError: one cannot be removed.
    """
    try:
        for path in [*list_checkpoints(folder)[:-keep], *folder.glob("*.partial")]:
            path.unlink()
    except OSError as error:
        raise UserError(
            f"{path}: the old checkpoint cannot be removed ({error.strerror}). Mend the "
            "permissions of the folder, then run the same command again: it goes on."
        ) from None


def set_damaged_aside(folder: Path, step: int) -> None:
    """Rename the checkpoints after the one that a run goes on from, which cannot be read.

    Else they would count among the latest that are kept, and whole ones be removed for them.

    Args:
        folder: of the checkpoints.
        step: of the checkpoint that could be read.

    Raises:
        UserError: one cannot be renamed.
    """
    for path in list_checkpoints(folder):
        if path.name > STEP_FILE.format(step):
            try:
                path.rename(path.with_name(path.name + ".damaged"))
            except OSError as error:
                raise UserError(
                    f"{path}: cannot be renamed to {path.name}.damaged ({error.strerror}). Mend "
                    "the permissions of the folder, then run the same command again."
                ) from None


def restore_latest(
    folder: Path,
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> Progress:
    """Restore the latest checkpoint that can be read; broken ones are named and passed over.

    Args:
        folder: may be missing or empty.
        network: takes the weights.
        optimizer: takes its state, when given; built for the network's trainable variables.

    Returns:
        How far the run is; step 0 when there is nothing to restore.

    Raises:
        WeightsError: there are checkpoints, but none can be read, or they are of another model.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            return load_checkpoint(path, network, optimizer)
        except OSError as error:
            logger.warning("%s: is damaged (%s); trying the one before.", path, reason_of(error))
    if paths:
        best = folder / BEST_FILE
        hint = f" {best} can be evaluated and exported still." if best.is_file() else ""
        raise WeightsError(
            f"{folder}: of {counted(len(paths), 'checkpoint')} none can be read. Restore one from "
            f"a backup, or {TRAIN_ANEW}.{hint}"
        )
    return Progress()


def saved_step(folder: Path, best: bool = False) -> int:
    """Say of which step the weights are that a run would be restored with.

    Args:
        folder: may be missing or empty.
        best: those with the lowest validation loss, where they are there.

    Returns:
        0 when nothing can be read.
    """
    paths = list_checkpoints(folder)
    if best and (folder / BEST_FILE).is_file():
        paths.append(folder / BEST_FILE)
    for path in reversed(paths):
        with contextlib.suppress(OSError):
            return load_progress(path).step
    return 0
