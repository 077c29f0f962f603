"""What happens beside the training steps: validation, logs, checkpoints, progress."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tf_frcnn.checkpoints import prune_checkpoints, save_checkpoint
from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.metrics_log import SKIPPED_STEPS, count_skipped
from tf_frcnn.training.distribution import ALONE, Distribution

logger = logging.getLogger(__name__)

LOSSES = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")
Logs = dict[str, Any]


class ValidationLoss(keras.callbacks.Callback):
    """Computes the losses on the validation split every few steps, and adds them to the logs.

    Keys are those of the losses with `val_` in front. Pictures are not augmented and each one's
    sampling is the same every time, so figures of different steps can be compared.

    Args of `__init__`: `pipeline` of this worker's share of the pictures; `every` so many steps, of
    `steps` in all; the `distribution` whose workers share them.
    """

    def __init__(
        self,
        pipeline: BatchPipeline,
        every: int,
        steps: int,
        distribution: Distribution = ALONE,
    ) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.every = every
        self.steps = steps
        self.distribution = distribution
        self._step_function: Any = None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Validate when it is time, and after the last step."""
        done = batch + 1
        if logs is None or (done % self.every and done != self.steps):
            return
        if self._step_function is None:
            self._step_function = tf.function(
                self.model.test_step, input_signature=[self.pipeline.batches.element_spec]
            )
        names = ("loss", *LOSSES)
        with self.model.averaged_weights():
            own = [
                [float(losses[name]) for name in names]
                for losses in map(self._step_function, self.pipeline)
            ]
        per_picture = self.distribution.interleave(np.reshape(own, (len(own), len(names))))
        for name, mean in zip(names, per_picture.mean(axis=0), strict=True):
            logs[f"val_{name}"] = float(mean)
        logger.info("step %d: validation loss %.4f", done, logs["val_loss"])


class MetricsLog(keras.callbacks.Callback):
    """Appends to `metrics.jsonl`, and writes the same to TensorBoard's events.

    A line holds the mean losses, the learning rate and the mean seconds of the steps since the line
    before; lines of their own hold the validation losses, and the count of the steps that were left
    out because they were not finite, which are in no mean.

    Args of `__init__`: `path` and `events` to write to; `every` so many steps a line; `steps` in
    all; `start` steps done before.
    """

    def __init__(self, path: Path, events: Path, every: int, steps: int, start: int = 0) -> None:
        super().__init__()
        self.path = path
        self.events = events
        self.every = every
        self.steps = steps
        self.start = start
        self._skipped = 0
        self._file: TextIO | None = None
        self._writer: Any = None
        self._pending: list[Logs] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the files; what is in them stays, and steps that were left out count on."""
        self._skipped = count_skipped(self.path, self.start)
        self._file = self.path.open("a", encoding="utf-8")
        self._writer = tf.summary.create_file_writer(str(self.events))

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write a line when it is time."""
        logs = logs or {}
        done = batch + 1
        if logs.get("finite", True):
            self._pending.append(logs)
        else:
            self._skipped += 1
            self._write(done, {SKIPPED_STEPS: self._skipped})
        if self._pending and (done % self.every == 0 or done == self.steps):
            names = ("loss", *LOSSES)
            line = {name: float(np.mean([one[name] for one in self._pending])) for name in names}
            line["learning_rate"] = float(self.model.optimizer.learning_rate)
            line["seconds_per_step"] = float(np.mean([one["seconds"] for one in self._pending]))
            self._pending.clear()
            self._write(done, line)
        validation = {name: value for name, value in logs.items() if name.startswith("val_")}
        if validation:
            self._write(done, validation)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        assert self._file is not None  # on_train_begin opened it
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)


class Checkpoints(keras.callbacks.Callback):
    """Saves a checkpoint every few steps and when training ends, and keeps the latest few."""

    def __init__(self, folder: Path, every: int, keep: int, start: int) -> None:
        super().__init__()
        self.folder = folder
        self.every = every
        self.keep = keep
        self._done = self._saved = start

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
        save_checkpoint(self.folder, self._done, self.model.detector, self.model.optimizer)
        prune_checkpoints(self.folder, self.keep)
        self._saved = self._done


class ProgressBar(keras.callbacks.Callback):
    """Shows step, losses, pictures a second and the time left; lines instead where no terminal is.

    A context manager: the bar is there inside of the block.

    Args of `__init__`: `steps` in all, `start` steps done before, pictures of a `batch_size`,
    seconds between two lines where the output is not a terminal.
    """

    def __init__(self, steps: int, start: int, batch_size: int, seconds: float = 30.0) -> None:
        super().__init__()
        self.steps = steps
        self.start = start
        self.batch_size = batch_size
        self.seconds = seconds
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
        terms = " ".join(f"{name} {logs[name]:.3f}" for name in LOSSES)
        text = f"loss {logs['loss']:.3f} ({terms}) {self.batch_size / seconds:.2f} images/s"
        self._progress.update(self._task, completed=batch + 1, text=text)
        now = time.monotonic()
        last = batch + 1 == self.steps
        if self._progress.disable and (now - self._last_line >= self.seconds or last):
            self._last_line = now
            minutes = (self.steps - batch - 1) * seconds / 60
            logger.info("step %d/%d %s, %.1f min left", batch + 1, self.steps, text, minutes)
