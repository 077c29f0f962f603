"""Early stopping on the validation loss, that survives a stop of the process."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import keras

logger = logging.getLogger(__name__)

Logs = dict[str, Any]

_MEMORY = ("best", "best_epoch", "wait", "stopped_epoch")


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras' own, told of validations after steps instead of epochs.

    What Keras calls an epoch is the number of steps done.

    Args of `__init__`: `patience`, the validations in a row without a new lowest loss after which
    training stops; `start` steps done before.
    """

    def __init__(self, patience: int, start: int) -> None:
        super().__init__(monitor="val_loss", mode="min", patience=patience)
        self.start = start
        self._memory: Mapping[str, Any] = {}

    def get_memory(self) -> dict[str, Any]:
        """See `tf_frcnn.training.saving.Remembering`."""
        return {name: getattr(self, name) for name in _MEMORY}

    def set_memory(self, memory: Mapping[str, Any]) -> None:
        """See `tf_frcnn.training.saving.Remembering`."""
        self._memory = memory

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Go on counting; stop at once where the run was stopped before."""
        super().on_train_begin(logs)
        if self._memory.get("best") is not None:
            for name in _MEMORY:
                setattr(self, name, self._memory[name])
        if self.stopped_epoch:
            self.model.stop_training = True
            logger.info("early stopping ended the training at step %d", self.stopped_epoch)
        else:
            self._look(self.start, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Count the validation, if there was one."""
        self._look(batch + 1, logs)

    def _look(self, step: int, logs: Logs | None) -> None:
        val_loss = (logs or {}).get("val_loss")
        if val_loss is None:
            return
        # Nothing is lower than NaN, once Keras has taken it for the lowest.
        self.on_epoch_end(step, {"val_loss": val_loss if math.isfinite(val_loss) else math.inf})
        if self.stopped_epoch:
            logger.info(
                "step %d: early stopping: no lower validation loss than that of step %d (%.4f) in "
                "%d validations",
                *(step, self.best_epoch, self.best, self.wait),
            )
