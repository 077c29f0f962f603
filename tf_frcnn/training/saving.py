"""What is kept of a training run: its latest checkpoints, and the best by validation."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras

from tf_frcnn.checkpoint_folder import prune_checkpoints
from tf_frcnn.checkpoints import BEST_FILE, load_progress, save_best, save_checkpoint

logger = logging.getLogger(__name__)

Logs = dict[str, Any]


class Remembering(Protocol):
    """A callback that would forget something when a run is stopped, were it not saved."""

    def get_memory(self) -> dict[str, Any]:
        """Return what must not be forgotten, as JSON values."""

    def set_memory(self, memory: Mapping[str, Any]) -> None:
        """Take what `get_memory` returned, before `on_train_begin`; empty where there is none."""


def recall(callbacks: Sequence[Remembering], memory: Mapping[str, Any]) -> None:
    """Give each callback what a checkpoint holds for it.

    Args:
        callbacks: of different types.
        memory: name of the type -> what it remembers.
    """
    for callback in callbacks:
        callback.set_memory(memory.get(type(callback).__name__, {}))


class Checkpoints(keras.callbacks.Callback):
    """Saves a checkpoint every few steps and when training ends, and keeps the latest few.

    It stands behind all callbacks that remember something, so that what it saves of them is of the
    same step as the weights.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        keep: int,
        start: int,
        remembering: Sequence[Remembering] = (),
    ) -> None:
        super().__init__()
        self.folder = folder
        self.every = every
        self.keep = keep
        self.remembering = remembering
        self._done = self._saved = start

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Save anew if a validation was made up for, which is owed no longer.

        If not, remove what a run would have removed that was killed on the way to it.
        """
        if logs:
            self._save()
        else:
            prune_checkpoints(self.folder, self.keep)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save when it is time."""
        self._done = batch + 1
        if self._done % self.every == 0:
            self._save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Save what the last steps changed; also after an interrupt."""
        if self._done != self._saved:
            self._save()

    def _save(self) -> None:
        memory = {type(one).__name__: one.get_memory() for one in self.remembering}
        save_checkpoint(self.folder, self._done, self.model.detector, self.model.optimizer, memory)
        prune_checkpoints(self.folder, self.keep)
        self._saved = self._done


class BestCheckpoint(keras.callbacks.Callback):
    """Keeps the weights with the lowest validation loss, moving averages where there are some.

    What the lowest one was stands in the file itself, so file and figure always belong together.

    Args of `__init__`: `folder` of the checkpoints; `start` steps done before.

    Attributes:
        step: of the lowest validation loss; 0 before the first.
        val_loss: that loss; infinite before the first.
    """

    def __init__(self, folder: Path, start: int) -> None:
        super().__init__()
        self.folder = folder
        self.start = start
        self.step, self.val_loss = 0, math.inf

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Read what was kept before; then see to a validation that was made up for."""
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

    def _look(self, step: int, logs: Logs | None) -> None:
        val_loss = (logs or {}).get("val_loss", math.inf)
        if val_loss < self.val_loss:
            with self.model.averaged_weights():
                path = save_best(self.folder, step, self.model.detector, val_loss)
            self.step, self.val_loss = step, val_loss
            logger.info("step %d: the lowest validation loss so far; kept as %s", step, path)
