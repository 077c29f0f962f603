"""What happens beside the training steps: validation, early stopping, logs, progress."""

import json
import logging
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.metrics_log import (
    NUM_IN_SPLIT,
    NUM_VALIDATED,
    SKIPPED_STEPS,
    count_skipped,
    read_metrics,
)
from tf_frcnn.training.distribution import ALONE, Distribution
from tf_frcnn.training.log_files import cut_events, cut_lines, log_errors
from tf_frcnn.training.loop import StopRequest

logger = logging.getLogger(__name__)

_EARLY_STOPPING_STATE = ("best", "best_epoch", "wait", "stopped_epoch")
Logs = dict[str, Any]


def reads_state(callbacks: Iterable[keras.callbacks.Callback], done: int) -> bool:
    """Tell whether one of some callbacks looks at weights or optimiser after so many steps.

    Those of this package say it by a method of this name; of others it is taken for granted.
    """
    return any(getattr(one, "reads_state", lambda done: True)(done) for one in callbacks)


class ValidationLoss(keras.callbacks.Callback):
    """Computes the losses on the validation split every few steps, and adds them to the logs.

    Their keys are those of the losses with the prefix `val_`; they are means over images, however
    these are divided into batches. Images are not augmented and each is sampled in the same way
    every time, so that the figures of different steps can be compared. A request to stop interrupts
    a validation; the run that goes on repeats it before its first step, and so has the same
    validations as a run that was never stopped.

    Args of `__init__`: `pipeline` of this worker's share of the images; validate `every` so many
    steps, of `steps` in all; the `distribution` whose workers share the images; `start` steps
    done before; the `stop_request`; where the images are a part of the split, a `sample` of numbers
    that the logs are to say it with.
    """

    def __init__(
        self,
        pipeline: BatchPipeline,
        every: int,
        steps: int,
        distribution: Distribution = ALONE,
        start: int = 0,
        stop_request: StopRequest | None = None,
        sample: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.every = every
        self.steps = steps
        self.distribution = distribution
        self.start = start
        self.stop_request = stop_request or StopRequest()
        self.sample = sample
        self._is_interrupted = False
        self._step_function: Any = None

    def reads_state(self, done: int) -> bool:
        """See `reads_state`."""
        return done % self.every == 0 or done == self.steps

    def get_state(self) -> dict[str, Any]:
        """See `tf_frcnn.training.saving.Stateful`."""
        return {"owed": self._is_interrupted}  # the key of all checkpoints so far

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `tf_frcnn.training.saving.Stateful`."""
        self._is_interrupted = state.get("owed", False)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Repeat a validation that was interrupted."""
        if self._is_interrupted and logs is not None:
            self._validate(self.start, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Validate when it is time, and after the last step."""
        if logs is not None and self.reads_state(batch + 1):
            self._validate(batch + 1, logs)

    def _validate(self, step: int, logs: Logs) -> None:
        if self._step_function is None:
            self._step_function = tf.function(
                self.model.test_step, input_signature=[self.pipeline.batches.element_spec]
            )
        names = ("loss", *self.model.loss_names)
        sums = np.zeros(1 + len(names))  # the number of images, and the sums over them
        with self.model.averaged_weights():
            for batch in self.pipeline:
                if self.stop_request.received is not None:
                    break
                losses = self._step_function(batch)
                means = np.array([1.0, *(float(losses[name]) for name in names)])
                sums += len(batch["indices"]) * means
        self.stop_request.agree(self.distribution)
        self._is_interrupted = self.stop_request.signal_number is not None
        if self._is_interrupted:
            return
        count, *totals = self.distribution.merge(sums)
        for name, total in zip(names, totals, strict=True):
            logs[f"val_{name}"] = float(total / count)
        logs.update(self.sample)
        logger.info("step %d: validation loss %.4f", step, logs["val_loss"])
        if not math.isfinite(logs["val_loss"]):
            logger.warning(
                "step %d: this validation loss counts neither for the best checkpoint nor as an "
                "improvement for early stopping; metrics.jsonl has null for what is not finite",
                step,
            )


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras' own on the validation loss; with every validation as an epoch, numbered by its step.

    It survives a stop of the process.

    Args of `__init__`: `patience`, the validations in a row without a new lowest loss after which
    training stops; `start` steps done before.
    """

    def __init__(self, patience: int, start: int) -> None:
        super().__init__(monitor="val_loss", mode="min", patience=patience)
        self.start = start
        self._restored: Mapping[str, Any] = {}

    def reads_state(self, done: int) -> bool:
        """See `reads_state`: it acts after a validation alone, which has read the state."""
        return False

    def get_state(self) -> dict[str, Any]:
        """See `tf_frcnn.training.saving.Stateful`."""
        return {name: getattr(self, name) for name in _EARLY_STOPPING_STATE}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `tf_frcnn.training.saving.Stateful`."""
        self._restored = state

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Go on counting; stop at once if the run was stopped before."""
        super().on_train_begin(logs)  # which resets the state
        if self._restored.get("best") is not None:
            for name in _EARLY_STOPPING_STATE:
                setattr(self, name, self._restored[name])
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
        # Were NaN the lowest loss to Keras, no later one would be lower.
        self.on_epoch_end(step, {"val_loss": val_loss if math.isfinite(val_loss) else math.inf})
        if self.stopped_epoch:
            logger.info(
                "step %d: early stopping: no lower validation loss than that of step %d (%.4f) in "
                "%d validations",
                *(step, self.best_epoch, self.best, self.wait),
            )


class MetricsLog(keras.callbacks.Callback):
    """Appends to `metrics.jsonl`, and writes the same to TensorBoard's events.

    A line holds the mean losses, the learning rate and the mean seconds of the steps since the
    previous line, and the passes over the training images so far, `epoch`. Validation losses have
    lines of their own, and so has the number of steps left out because they were not finite, which
    count in no mean. What a run that was killed logged after its last checkpoint is removed.

    Args of `__init__`: `path` and `events` to write to; a line `every` so many steps; `steps` in
    all; `start` steps done before; `steps_per_epoch`.
    """

    def __init__(
        self,
        path: Path,
        events: Path,
        every: int,
        steps: int,
        start: int = 0,
        steps_per_epoch: int = 1,
    ) -> None:
        super().__init__()
        self.path = path
        self.events = events
        self.every = every
        self.steps = steps
        self.start = start
        self.steps_per_epoch = steps_per_epoch
        self._skipped = 0
        self._file: TextIO | None = None
        self._writer: Any = None
        self._pending: list[Logs] = []

    def reads_state(self, done: int) -> bool:
        """See `reads_state`: a line has the learning rate."""
        return done % self.every == 0 or done == self.steps

    def get_state(self) -> dict[str, Any]:
        """See `tf_frcnn.training.saving.Stateful`."""
        names = ("loss", *self.model.loss_names, "seconds")
        return {"pending": [{name: logs[name] for name in names} for logs in self._pending]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `tf_frcnn.training.saving.Stateful`."""
        self._pending = list(state.get("pending", []))

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the files; keep what they hold of the steps done, and go on counting left out steps.

        Raises:
            UserError: they cannot be read or written.
        """
        cut_lines(self.path, self.start)
        cut_events(self.events, self.start)
        self._skipped = count_skipped(self.path, self.start)
        with log_errors(self.path):
            self._file = self.path.open("a", encoding="utf-8")
            self._writer = tf.summary.create_file_writer(str(self.events))
        if logs and "val_loss" not in read_metrics(self.path).get(self.start, {}):
            self._write_validation(self.start, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write a line when it is time.

        Raises:
            UserError: it cannot be written.
        """
        logs = logs or {}
        done = batch + 1
        if logs.get("finite", True):
            self._pending.append(logs)
        else:
            self._skipped += 1
            self._write(done, {SKIPPED_STEPS: self._skipped})
        is_last = done == self.steps or self.model.stop_training
        if self._pending and (done % self.every == 0 or is_last):
            names = ("loss", *self.model.loss_names)
            line = {name: float(np.mean([one[name] for one in self._pending])) for name in names}
            line["learning_rate"] = float(self.model.optimizer.learning_rate)
            line["seconds_per_step"] = float(np.mean([one["seconds"] for one in self._pending]))
            line["epoch"] = done / self.steps_per_epoch
            self._pending.clear()
            self._write(done, line)
        self._write_validation(done, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files.

        Raises:
            UserError: what is still buffered cannot be written.
        """
        with log_errors(self.path):
            if self._file is not None:
                self._file.close()
            if self._writer is not None:
                self._writer.close()

    def _write_validation(self, step: int, logs: Logs) -> None:
        validation = {name: value for name, value in logs.items() if name.startswith("val_")}
        if validation:
            sample = {key: logs[key] for key in (NUM_VALIDATED, NUM_IN_SPLIT) if key in logs}
            self._write(step, validation | sample)

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        assert self._file is not None  # on_train_begin opened it
        # JSON has no word for NaN and infinity.
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with log_errors(self.path):
            self._file.write(json.dumps({"step": step, **line}, allow_nan=False) + "\n")
            self._file.flush()
            with self._writer.as_default():
                for name, value in values.items():
                    tf.summary.scalar(name, value, step=step)


class ProgressBar(keras.callbacks.Callback):
    """Shows step, epoch, losses, images per second, time left; logs them where no terminal is.

    A context manager: the bar is shown inside the block.

    Args of `__init__`: `steps` in all, `start` steps done before, the `batch_size`, `seconds`
    between two lines where the output is not a terminal; `steps_per_epoch`.
    """

    def __init__(
        self,
        steps: int,
        start: int,
        batch_size: int,
        seconds: float = 30.0,
        steps_per_epoch: int = 1,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.start = start
        self.batch_size = batch_size
        self.seconds = seconds
        self.steps_per_epoch = steps_per_epoch
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=steps, completed=start, text="")
        self._recent: list[float] = []
        self._last_line = 0.0

    def reads_state(self, done: int) -> bool:
        """See `reads_state`: it shows what the logs have."""
        return False

    def __enter__(self) -> "ProgressBar":
        """Show the bar."""
        self._progress.start()
        self._last_line = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        """Take the bar away, whatever ended the training: a terminal must get its cursor back."""
        self._progress.stop()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar on."""
        logs = logs or {}
        self._recent = [*self._recent[-19:], logs["seconds"]]
        seconds = float(np.median(self._recent))
        terms = " ".join(f"{name} {logs[name]:.3f}" for name in self.model.loss_names)
        done, epochs = ((n / self.steps_per_epoch) for n in (batch + 1, self.steps))
        loss, speed = f"loss {logs['loss']:.3f} ({terms})", self.batch_size / seconds
        text = f"epoch {done:.1f}/{epochs:.1f} {loss} {speed:.2f} images/s"
        self._progress.update(self._task, completed=batch + 1, text=text)
        now = time.monotonic()
        last = batch + 1 == self.steps
        if self._progress.disable and (now - self._last_line >= self.seconds or last):
            self._last_line = now
            minutes = (self.steps - batch - 1) * seconds / 60
            logger.info("step %d/%d %s, %.1f min left", batch + 1, self.steps, text, minutes)
