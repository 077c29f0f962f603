"""What is kept of a training run: its latest checkpoints, and the best by validation.

They are written beside the steps that follow.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import keras

from tf_frcnn.checkpoint_folder import prune_checkpoints
from tf_frcnn.checkpoints import (
    BEST_FILE,
    STEP_FILE,
    Progress,
    Snapshot,
    best_progress,
    load_progress,
    take_snapshot,
    write_snapshot,
)
from tf_frcnn.errors import UserError

logger = logging.getLogger(__name__)

Logs = dict[str, Any]


class Stateful(Protocol):
    """A callback whose state is saved in the checkpoints, under the name of its class."""

    def get_state(self) -> dict[str, Any]:
        """Return the state as JSON values."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state, before `on_train_begin`; it is empty if the checkpoint has none."""


def restore_states(callbacks: Sequence[Stateful], states: Mapping[str, Any]) -> None:
    """Give each callback its state from a checkpoint.

    Args:
        callbacks: of different classes.
        states: by the names of the classes.
    """
    for callback in callbacks:
        callback.set_state(states.get(type(callback).__name__, {}))


class Writer:
    """Writes in a thread of its own, one thing at a time and in the order that they came in.

    A context manager: nothing is written any more when the block has ended, also by an error.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
        try:
            self.wait()
        except UserError as failure:
            if error is None:
                raise
            logger.error("%s", failure)  # the error that ended the block is the one that is raised

    def write(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function beside what follows, once the one before has ended.

        Raises:
            UserError: the one before could not write.
        """
        self.wait()
        self._pending = self._pool.submit(function, *arguments)

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            UserError: it cannot be written.
        """
        if self._pending is not None:
            wait([self._pending])  # an interrupt leaves it to be waited for
            pending, self._pending = self._pending, None
            pending.result()


class Checkpoints(keras.callbacks.Callback):
    """Saves a checkpoint every few steps and when training ends, and keeps the latest few.

    It must be called after all stateful callbacks, so that it saves their states of the same step
    as the weights. What it saves is copied; when training ends, all is written.

    Args of `__init__`: `folder` of the checkpoints; save `every` so many steps; `keep` so many
    files; `start` steps done before; the `stateful` callbacks; the `writer`.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        keep: int,
        start: int,
        stateful: Sequence[Stateful] = (),
        writer: Writer | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.every = every
        self.keep = keep
        self.stateful = stateful
        self.writer = writer or Writer()
        self._done = self._saved = start

    def reads_state(self, done: int) -> bool:
        """See `tf_frcnn.training.callbacks.reads_state`."""
        return done % self.every == 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Save again if an interrupted validation was repeated, as the logs then say.

        Otherwise remove old checkpoints, which a run that was killed may not have come to.
        """
        if logs:
            self._save()
        else:
            prune_checkpoints(self.folder, self.keep)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save when it is time."""
        self._done = batch + 1
        if self.reads_state(self._done):
            self._save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Save what the last steps changed, also after an interrupt."""
        if self._done != self._saved:
            self._save()
        self.writer.wait()

    def _save(self) -> None:
        states = {type(callback).__name__: callback.get_state() for callback in self.stateful}
        self.writer.wait()  # two copies are not held at once
        progress = Progress(self._done, states)
        snapshot = take_snapshot(progress, self.model.network, self.model.optimizer)
        self.writer.write(self._write, snapshot)
        self._saved = self._done

    def _write(self, snapshot: Snapshot) -> None:
        write_snapshot(self.folder / STEP_FILE.format(snapshot.step), snapshot)
        prune_checkpoints(self.folder, self.keep)


class BestCheckpoint(keras.callbacks.Callback):
    """Keeps the weights with the lowest validation loss, or their moving averages if there are any.

    The file of the weights also holds that loss, so that the two always belong together. With the
    writer of `Checkpoints` it is on the disk before a checkpoint that was saved later is.

    Args of `__init__`: `folder` of the checkpoints; `start` steps done before; the `writer`.

    Attributes:
        step: of the lowest validation loss; 0 before the first.
        val_loss: that loss; infinite before the first.
    """

    def __init__(self, folder: Path, start: int, writer: Writer | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.start = start
        self.writer = writer or Writer()
        self.step, self.val_loss = 0, math.inf

    def reads_state(self, done: int) -> bool:
        """See `tf_frcnn.training.callbacks.reads_state`: a validation has read it before."""
        return False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Read what was kept before; then look at the validation that was repeated, if any."""
        path = self.folder / BEST_FILE
        try:
            if path.is_file():
                kept = load_progress(path)
                self.step, self.val_loss = kept.step, float(kept.memory.get("val_loss", math.inf))
        except OSError as error:
            logger.warning("%s: is damaged (%s); the next validation replaces it.", path, error)
        self._look(self.start, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save when the validation loss is the lowest so far."""
        self._look(batch + 1, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Wait until all is written."""
        self.writer.wait()

    def _look(self, step: int, logs: Logs | None) -> None:
        val_loss = (logs or {}).get("val_loss", math.inf)
        if val_loss < self.val_loss:
            self.writer.wait()
            with self.model.averaged_weights():
                snapshot = take_snapshot(best_progress(step, val_loss), self.model.network)
            self.writer.write(self._write, snapshot)
            self.step, self.val_loss = step, val_loss

    def _write(self, snapshot: Snapshot) -> None:
        path = write_snapshot(self.folder / BEST_FILE, snapshot)
        logger.info("step %d: the lowest validation loss so far; kept as %s", snapshot.step, path)
