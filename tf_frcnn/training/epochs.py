"""Epochs for callbacks that know nothing else: Keras' own, told of a run that counts steps."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tf_frcnn.config import ADDONS_PREFIX, TrainConfig
from tf_frcnn.errors import UserError
from tf_frcnn.training.callbacks import ValidationLoss
from tf_frcnn.training.schedule import has_schedule

logger = logging.getLogger(__name__)

Logs = dict[str, Any]

_RATE_SETTERS = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
# What Keras' own callbacks remember from epoch to epoch; they cannot save it themselves.
_REMEMBERED = {
    keras.callbacks.EarlyStopping: ("best", "best_epoch", "wait", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: (
        *("best", "epochs_since_last_save"),
        *("_batches_seen_since_last_saving", "_last_batch_seen"),
    ),
}


class EpochCallbacks(keras.callbacks.Callback):
    """Tells Keras callbacks of the epochs of a run, and of its steps as those of an epoch.

    An epoch is a pass over the training images; the last one may be shorter. Its logs hold the mean
    losses of its finite steps, `finite`, the share that these are, and the losses of the last
    validation in it, if there was one. Numbers are those of the whole run, also where it was
    resumed; then callbacks go on with what they remember: Keras' own `EarlyStopping`,
    `ReduceLROnPlateau` and `ModelCheckpoint` (but not the weights that `restore_best_weights` puts
    back, of which a warning tells), and every other one that has `get_state` and `set_state`, see
    `Stateful`. Where one of them acts on steps, each step is waited for before the next is taken.

    Args of `__init__`: the `callbacks`, told in this order; `steps_per_epoch`; `steps` in all;
    `start` steps done before; what computes the `validation` before them, if any.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        steps_per_epoch: int,
        steps: int,
        start: int = 0,
        validation: ValidationLoss | None = None,
    ) -> None:
        super().__init__()
        self.callbacks = tuple(callbacks)
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps
        self.start = start
        self.validation = validation
        self._list: Any = None
        self._is_in_epoch = False
        self._forget()
        self._restored: Mapping[str, Any] = {}

    def _forget(self) -> None:
        """Begin to count anew: of an epoch, steps, sums of those that are finite, validation."""
        self._num_steps = self._num_finite = 0
        self._sums: dict[str, float] = {}
        self._validated: dict[str, float] = {}

    def reads_state(self, done: int) -> bool:
        """See `tf_frcnn.training.callbacks.reads_state`: one that acts on steps may do anything."""
        return self._is_over(done) or any(map(_acts_on_steps, self.callbacks))

    def get_state(self) -> dict[str, Any]:
        """See `tf_frcnn.training.saving.Stateful`."""
        return {
            "epoch": [self._num_steps, self._num_finite, self._sums, self._validated],
            "callbacks": [[type(one).__name__, _get_state(one)] for one in self.callbacks],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `tf_frcnn.training.saving.Stateful`; callbacks may be others than before."""
        self._restored = state

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin, or go on: an epoch whose validation was interrupted is over only now."""
        epochs = -(-self.steps // self.steps_per_epoch)
        self._list = keras.callbacks.CallbackList(
            list(self.callbacks),
            model=self.model,
            epochs=epochs,
            steps=self.steps_per_epoch,
            verbose=0,
        )
        self._list.on_train_begin(logs)  # which resets what Keras' own remember
        if self._restored:
            self._num_steps, self._num_finite, sums, validated = self._restored["epoch"]
            self._sums, self._validated = dict(sums), dict(validated)
            known = zip(self.callbacks, self._restored["callbacks"], strict=False)
            for one, (name, state) in known:
                if name == type(one).__name__:
                    _set_state(one, state)
                    _warn_of_lost_weights(one, state)
        if any(getattr(one, "stopped_epoch", 0) for one in self.callbacks):
            self.model.stop_training = True
        self._look_at_validation(logs or {})
        if self._num_steps and self._is_over(self.start):
            self._end_epoch(self.start)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begin an epoch when it is time, and a step."""
        epoch, step = divmod(batch, self.steps_per_epoch)
        if not self._is_in_epoch:
            self._list.on_epoch_begin(epoch)
            self._is_in_epoch = True
        self._list.on_train_batch_begin(step, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End a step, and the epoch when it is time."""
        logs = logs or {}
        self._num_steps += 1
        if logs.get("finite", True):
            self._num_finite += 1
            for name in ("loss", *self.model.loss_names):
                self._sums[name] = self._sums.get(name, 0.0) + logs[name]
        self._look_at_validation(logs)
        self._list.on_train_batch_end(batch % self.steps_per_epoch, logs)
        is_interrupted = self.validation is not None and self.validation.get_state()["owed"]
        if self._is_over(batch + 1) and not is_interrupted:
            self._end_epoch(batch + 1)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """End the training."""
        self._list.on_train_end(logs)

    def _look_at_validation(self, logs: Logs) -> None:
        found = {name: value for name, value in logs.items() if name.startswith("val_")}
        self._validated = found or self._validated

    def _is_over(self, done: int) -> bool:
        return done % self.steps_per_epoch == 0 or done == self.steps

    def _end_epoch(self, done: int) -> None:
        names = ("loss", *self.model.loss_names)
        count = self._num_finite
        logs = {name: self._sums[name] / count if count else np.nan for name in names}
        logs |= {"finite": count / self._num_steps, **self._validated}
        self._forget()
        self._is_in_epoch = False
        self._list.on_epoch_end((done - 1) // self.steps_per_epoch, logs)


def check_callbacks(callbacks: Sequence[keras.callbacks.Callback], config: TrainConfig) -> None:
    """See that callbacks can do what they are there for.

    Raises:
        UserError: one sets the learning rate, and it follows a schedule or cannot be set.
    """
    setters = [type(one).__name__ for one in callbacks if isinstance(one, _RATE_SETTERS)]
    if not setters:
        return
    if has_schedule(config):
        raise UserError(
            f"callbacks: {setters[0]} sets the learning rate, but it follows a schedule "
            f"(--train.schedule {config.schedule}, --train.warmup-steps {config.warmup_steps}, "
            f"--train.decay-steps {' '.join(map(str, config.decay_steps)) or '(none)'}). Expected "
            "a rate that stays as it is until it is set: schedule step, warmup-steps 0 and no "
            "decay-steps; or leave the callback out."
        )
    if config.optimizer.startswith(ADDONS_PREFIX):
        raise UserError(
            f"callbacks: {setters[0]} sets the learning rate, which --train.optimizer "
            f"{config.optimizer} does not let it. Expected an optimiser of Keras; or leave the "
            "callback out."
        )


def _acts_on_steps(callback: keras.callbacks.Callback) -> bool:
    """Tell whether a callback has another method for steps than Keras' own, which do nothing."""
    names = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    return any(
        getattr(getattr(callback, name), "__func__", None)
        is not getattr(keras.callbacks.Callback, name)
        for name in names
    )


def _get_state(callback: keras.callbacks.Callback) -> Any:
    if hasattr(callback, "get_state"):
        return callback.get_state()
    values = {name: getattr(callback, name, None) for name in _remembered(callback)}
    return {name: value for name, value in values.items() if value is not None}


def _set_state(callback: keras.callbacks.Callback, state: Mapping[str, Any]) -> None:
    if hasattr(callback, "set_state"):
        callback.set_state(state)
        return
    for name in _remembered(callback):
        if name in state:
            setattr(callback, name, state[name])


def _warn_of_lost_weights(callback: keras.callbacks.Callback, state: Mapping[str, Any]) -> None:
    """Tell that Keras keeps the weights of the best epoch in memory, and that they are gone."""
    if getattr(callback, "restore_best_weights", False) and state.get("best") is not None:
        logger.warning(
            "callbacks: %s(restore_best_weights=True) has lost the weights of its best epoch, "
            "which it keeps in memory: it puts back those of an epoch after this resume, be they "
            "worse. --train.export best and ModelCheckpoint(save_best_only=True) keep the best on "
            "disk.",
            type(callback).__name__,
        )


def _remembered(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    return next((names for kind, names in _REMEMBERED.items() if isinstance(callback, kind)), ())
