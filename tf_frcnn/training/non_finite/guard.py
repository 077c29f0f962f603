"""What to do about a step that is not finite: stop and say why, or go on without it."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import Config
from tf_frcnn.data.example import Example
from tf_frcnn.errors import NonFiniteLossError
from tf_frcnn.files import write_json
from tf_frcnn.training.non_finite.diagnosis import diagnose
from tf_frcnn.training.non_finite.message import (
    describe_diagnosis,
    describe_terms,
    diagnosis_to_json,
)
from tf_frcnn.training.non_finite.record import StepRecord, save_step
from tf_frcnn.training.trainer import FasterRCNNTrainer

logger = logging.getLogger(__name__)

MAX_SKIPPED_IN_A_ROW = 20
"""A run that leaves out as many steps, one after the other, learns nothing any more."""
KEPT_FILES = 3
"""Of the steps that a run leaves out, as many are kept to be replayed: a file holds all weights."""

_NAME = "step-{:08d}"


class NonFiniteGuard:
    """Told of each step that was not finite, explains it, and ends the training or does not.

    With `--train.on-nan stop`, the first such step ends it. With `skip`, a warning names the
    images, and only weights that are not finite themselves or `MAX_SKIPPED_IN_A_ROW` steps end
    it. The first `KEPT_FILES` steps and the one that ends the training are written to `folder`.

    Args of `__init__`: `trainer`, whose weights such a step does not change; `config` of the run;
    `examples` that the batches' indices count; `folder` for the files, None on a worker that writes
    none; `save_run`, called before the training ends, where the weights are worth keeping.
    """

    def __init__(
        self,
        trainer: FasterRCNNTrainer,
        config: Config,
        examples: Sequence[Example],
        folder: Path | None,
        save_run: Callable[[], None],
    ) -> None:
        self._trainer = trainer
        self._config = config
        self._examples = examples
        self._folder = folder
        self._save_run = save_run
        self._last_step = self._in_a_row = 0

    def __call__(self, step: int, batch: Mapping[str, Any], logs: Mapping[str, float]) -> None:
        """Deal with a step.

        Args:
            step: its number, from 1.
            batch: what it was given.
            logs: what it gave, each loss term among it.

        Raises:
            NonFiniteLossError: the training is to end; says why, and what can be done.
        """
        self._in_a_row = self._in_a_row + 1 if step == self._last_step + 1 else 1
        self._last_step = step
        record = self._make_record(step, batch, logs)
        weights_are_finite = all(
            np.isfinite(np.asarray(one)).all()
            for one in named_weights(self._trainer.network).values()
        )
        exhausted = self._in_a_row >= MAX_SKIPPED_IN_A_ROW
        if self._config.train.on_nan == "stop" or exhausted or not weights_are_finite:
            report = self._report(record)
            if weights_are_finite:
                self._save_run()
            raise NonFiniteLossError(
                f"{_headline(record)}\n{report}\n{_way_out(weights_are_finite, exhausted)}"
            )
        logger.warning("%s Left out: %s", _headline(record), ", ".join(dict.fromkeys(record.paths)))
        if self._folder and len(list(self._folder.glob("step-*.h5"))) < KEPT_FILES:
            logger.warning("%s", self._report(record))

    def _make_record(
        self, step: int, batch: Mapping[str, Any], logs: Mapping[str, float]
    ) -> StepRecord:
        arrays = {name: np.asarray(value) for name, value in batch.items()}
        arrays["images"] = arrays["images"].astype(np.float32)  # as the network takes them
        return StepRecord(
            step=step,
            learning_rate=float(self._trainer.optimizer.learning_rate),
            losses={name: logs[name] for name in self._trainer.loss_names},
            batch=arrays,
            paths=tuple(str(self._examples[index].image_path) for index in arrays["indices"]),
            config=self._config,
        )

    def _report(self, record: StepRecord) -> str:
        """Write the files of a step, and say what was found and where it is."""
        if self._folder is None:
            return "The chief's log has the whole report."
        stem = self._folder / _NAME.format(record.step)
        lines = []
        try:
            diagnosis = diagnose(self._trainer, record)
            lines.append(describe_diagnosis(diagnosis) + "\n")
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(stem.with_suffix(".json"), diagnosis_to_json(diagnosis))
            lines.append(f"All of it: {stem}.json")
        except Exception as error:  # too little memory, a full disk: the rest is still worth saying
            lines.append(f"There is no whole report: {error}")
        try:
            save_step(stem.with_suffix(".h5"), record, named_weights(self._trainer.network))
            lines.append(f"This step again, on any machine: tf-frcnn replay {stem}.h5")
        except OSError as error:
            lines.append(f"{stem}.h5: cannot be written ({error}), so there is nothing to replay.")
        return "\n".join(lines)


def _headline(record: StepRecord) -> str:
    what = "the loss"
    if all(math.isfinite(value) for value in record.losses.values()):
        what = "the gradient of the loss"
    return f"step {record.step}: {what} is not finite ({describe_terms(record.losses)})."


def _way_out(weights_are_finite: bool, exhausted: bool) -> str:
    anew = (
        "start anew with other options: --overwrite keeps the old run as NAME.bak-TIME, another "
        "--output leaves it where it is"
    )
    if not weights_are_finite:
        return (
            "The weights themselves are not finite, so they are not saved, and no later step can "
            f"mend them: {anew}."
        )
    if exhausted:
        return (
            f"{MAX_SKIPPED_IN_A_ROW} steps in a row were left out; the network no longer learns: "
            f"{anew}."
        )
    return (
        "The update of this step was left out, the weights before it are kept, and the same "
        "command comes to this step again. To go on without it, give the same command with "
        f"--train.on-nan skip; or {anew}."
    )
