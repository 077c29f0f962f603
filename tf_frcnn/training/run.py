"""A training run in its folder: resume, train, keep what is needed to go on."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import keras

from tf_frcnn.checkpoint_folder import restore_latest, set_damaged_aside
from tf_frcnn.checkpoints import BEST_FILE, Progress, load_checkpoint
from tf_frcnn.config import Config
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import counted
from tf_frcnn.data.pipeline import BatchPipeline, Share
from tf_frcnn.data.splits import order_by_seed
from tf_frcnn.errors import NonFiniteLossError, UserError, WeightsError
from tf_frcnn.given_files import reason_of
from tf_frcnn.metrics_log import NUM_IN_SPLIT, NUM_VALIDATED
from tf_frcnn.model import FasterRCNN
from tf_frcnn.run_folder import RunFolder
from tf_frcnn.training.callbacks import (
    EarlyStopping,
    MetricsLog,
    ProgressBar,
    ValidationLoss,
    reads_state,
)
from tf_frcnn.training.distribution import ALONE, Distribution
from tf_frcnn.training.epochs import EpochCallbacks, check_callbacks
from tf_frcnn.training.loop import OnNotFinite, StopRequest, stop_on_signals, train
from tf_frcnn.training.non_finite.guard import NonFiniteGuard
from tf_frcnn.training.saving import (
    BestCheckpoint,
    Checkpoints,
    Stateful,
    Writer,
    restore_states,
)
from tf_frcnn.training.start import start_network
from tf_frcnn.training.trainer import FasterRCNNTrainer

logger = logging.getLogger(__name__)


class TrainingInterrupted(UserError):
    """Ctrl-C or SIGTERM stopped the run after it was saved."""

    label = "stopped"

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class TrainedNetwork(NamedTuple):
    """What `train_detector` returns.

    Attributes:
        network: that is to be evaluated and exported, on one device.
        outcome: for metrics.json: `steps` done, `planned_steps`, `exported_step`; with a validation
            also `best_step` and `best_val_loss`.
    """

    network: FasterRCNN
    outcome: dict[str, Any]


def train_detector(
    config: Config,
    datasets: Mapping[str, Dataset],
    folder: RunFolder,
    distribution: Distribution = ALONE,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainedNetwork:
    """Train a network, from its start or from the last checkpoint of the run.

    Args:
        config: of the run, classes filled in.
        datasets: "train", and "val" where there is one.
        folder: prepared for this configuration; gets checkpoints, metrics.jsonl and events, from
            the chief alone.
        distribution: what the training is spread over.
        callbacks: Keras callbacks, on every worker; `EpochCallbacks` says what they are told.
            Their `model` is the trainer.

    Returns:
        The network with the weights of the last step, or the best by validation, or the moving
        averages of either.

    Raises:
        TrainingInterrupted: a signal stopped the run; a checkpoint of its last step was saved.
        NonFiniteLossError: a loss or gradient was NaN or infinite, and `on_nan` is not to go on.
        WorkerLostError: another worker is gone.
        UserError: weights, an image, a checkpoint or a log cannot be read or written; or there is
            no validation to choose by; or a callback cannot set the learning rate.
    """
    _check_validation(config, datasets)
    check_callbacks(callbacks, config.train)
    distribution.check_batch_size(config.train.batch_size)
    distribution.check_same(
        shared_options(config), "configuration", "Start all workers with the same options."
    )
    with distribution.lost_workers_noticed(), distribution.strategy.scope():
        network = FasterRCNN(config.model, len(config.data.classes), config.train.precision)
        trainer = FasterRCNNTrainer(network, config.train)
    progress = restore_latest(folder.checkpoints, network, trainer.optimizer)
    if progress.step:
        logger.info("going on from the checkpoint of step %d", progress.step)
    else:
        start_network(network, config)
    _check_shared(config, folder, distribution, progress.step)
    if distribution.is_chief:
        set_damaged_aside(folder.checkpoints, progress.step)
    with stop_on_signals() as stop_request:
        run = _Run(
            *(config, datasets, folder, distribution, trainer, progress, stop_request),
            callbacks=tuple(callbacks),
        )
        done = run.train()
        stop_request.agree(distribution)  # one may have come since the last step
    if stop_request.signal_number is not None:
        raise TrainingInterrupted(
            stop_request.signal_number,
            f"after step {done} of {config.train.steps}; saved to {folder.checkpoints}, from where "
            "the same command goes on.",
        )
    network = trainer.finished_network()
    outcome: dict[str, Any] = {
        "steps": done,
        "planned_steps": config.train.steps,
        "exported_step": done,
    }
    if run.best.step:
        outcome |= {"best_step": run.best.step, "best_val_loss": run.best.val_loss}
    if "val" in datasets:
        outcome |= run.sample
    if config.train.export == "best":
        outcome["exported_step"] = _load_best(folder, network)
    return TrainedNetwork(network, outcome)


def draw_images(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Draw a sample of a data set's images, which does not depend on their order in it.

    Args:
        dataset: of any size.
        count: of images; 0, or as many as there are, for the data set itself.
        seed: another one draws others.
    """
    if not 0 < count < len(dataset.examples):
        return dataset
    examples = {example.image_id: example for example in dataset.examples}
    drawn = order_by_seed(examples, seed)[:count]
    return dataclasses.replace(dataset, examples=tuple(examples[name] for name in drawn))


def shared_options(config: Config) -> dict[str, dict[str, Any]]:
    """Give the options that all workers of a job must have the same.

    Where the data lies may differ from machine to machine; its fingerprint may not.
    """
    sections = ("data", "model", "train")
    options = {name: dataclasses.asdict(getattr(config, name)) for name in sections}
    for place in ("root", "images"):
        del options["data"][place]
    return options


def _check_validation(config: Config, datasets: Mapping[str, Dataset]) -> None:
    """See that there is a validation where something depends on it."""
    patience = config.train.early_stopping_patience
    given = {
        "export best": config.train.export == "best",
        f"early-stopping-patience {patience}": patience > 0,
    }
    for option, is_given in given.items():
        if is_given and "val" not in datasets:
            raise UserError(
                f"--train.{option}: needs a validation split, and there is none of the name "
                f"{config.data.val_split!r}. Give --data.val-split NAME, or leave the option out."
            )


def _check_shared(
    config: Config, folder: RunFolder, distribution: Distribution, start: int
) -> None:
    """See that all workers start from one checkpoint, and will find the best one at the end."""
    hint = f"Expected --output {config.output} on a file system that all workers share."
    distribution.check_same(start, "step to start from", hint)
    if config.train.export == "best":
        distribution.check_same(str(folder.config_file.is_file()), "--output", hint)


def _load_best(folder: RunFolder, network: FasterRCNN) -> int:
    """Load the weights with the lowest validation loss -> their step."""
    path = folder.checkpoints / BEST_FILE
    try:
        step = load_checkpoint(path, network).step
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({reason_of(error)}). Expected the weights with the lowest "
            "validation loss; restore the file from a backup, or export another checkpoint of the "
            "run with tf-frcnn export."
        ) from None
    logger.info("taking the weights of step %d, which have the lowest validation loss", step)
    return step


@dataclasses.dataclass(frozen=True)
class _Run:
    """The training from its first step, or from a checkpoint, to its last."""

    config: Config
    datasets: Mapping[str, Dataset]
    folder: RunFolder
    distribution: Distribution
    trainer: FasterRCNNTrainer
    progress: Progress
    stop_request: StopRequest
    callbacks: tuple[keras.callbacks.Callback, ...]

    @property
    def start(self) -> int:
        """Steps done before."""
        return self.progress.step

    @cached_property
    def validated(self) -> Dataset:
        """The images of the validation: those of the split, or a sample of them."""
        train_config = self.config.train
        return draw_images(self.datasets["val"], train_config.validate_pictures, train_config.seed)

    @property
    def sample(self) -> dict[str, int]:
        """How many images are validated on, of how many; nothing where it is all of them."""
        count, whole = len(self.validated.examples), len(self.datasets["val"].examples)
        return {NUM_VALIDATED: count, NUM_IN_SPLIT: whole} if count < whole else {}

    @cached_property
    def best(self) -> BestCheckpoint:
        """What keeps the best weights; on the chief alone it is told of anything."""
        return BestCheckpoint(self.folder.checkpoints, self.start, self.writer)

    @cached_property
    def writer(self) -> Writer:
        """What writes the checkpoints beside the steps."""
        return Writer()

    def train(self) -> int:
        """Run the steps and what is beside them -> the steps done in all, on every worker."""
        distribution, train_config = self.distribution, self.config.train
        share = Share(
            distribution.worker, distribution.num_workers, distribution.replicas_per_worker
        )
        pipeline = self._batches(self.start, train_config.steps, share)
        length = pipeline.steps_per_epoch
        if not self.start and train_config.steps < length:
            logger.warning(
                "--train.steps %d: fewer than one epoch, %d steps of %d images: some images are "
                "never seen",
                *(train_config.steps, length, train_config.batch_size),
            )
        callbacks, log = self._shared_callbacks(length), self._metrics_log(length)
        stateful: list[Stateful] = [*callbacks, log]
        restore_states(stateful, self.progress.memory)
        checkpoints = Checkpoints(
            self.folder.checkpoints,
            train_config.checkpoint_every,
            train_config.keep_checkpoints,
            self.start,
            stateful,
            self.writer,
        )
        sizes = (train_config.steps, self.start, train_config.batch_size)
        with ProgressBar(*sizes, steps_per_epoch=length) as progress:
            everybody = [*callbacks, self.best, log, checkpoints, progress]
            guard = self._guard(checkpoints)
            try:
                with self.writer:
                    done = train(
                        self.trainer,
                        pipeline,
                        self.start,
                        everybody if distribution.is_chief else callbacks,
                        self.stop_request,
                        guard,
                        distribution,
                        partial(reads_state, everybody),
                    )
            except NonFiniteLossError:  # of the same step on all workers
                distribution.wait_for_all()  # it may still be writing
                raise
        return int(distribution.of_chief(done))  # when it has saved

    def _batches(self, start: int, stop: int, share: Share) -> BatchPipeline:
        train_config, data = self.config.train, self.config.data
        return BatchPipeline(
            self.datasets["train"],
            data,
            train_config.batch_size,
            train_config.seed,
            start,
            stop,
            share=share,
            with_ignored=train_config.ignore_crowd_overlap > 0,
        )

    def _shared_callbacks(self, steps_per_epoch: int) -> list[Any]:
        """Make the callbacks of every worker; all of them are stateful."""
        train_config = self.config.train
        validation = self._validation() if "val" in self.datasets else None
        callbacks: list[Any] = [] if validation is None else [validation]
        if train_config.early_stopping_patience:
            callbacks.append(EarlyStopping(train_config.early_stopping_patience, self.start))
        if self.callbacks:
            sizes = (steps_per_epoch, train_config.steps, self.start)
            callbacks.append(EpochCallbacks(self.callbacks, *sizes, validation))
        return callbacks

    def _validation(self) -> ValidationLoss:
        distribution, train_config = self.distribution, self.config.train
        if self.sample:
            logger.info(
                "validating on %s of %s of split %s, drawn by --train.seed %d",
                f"{self.sample[NUM_VALIDATED]:,}",
                counted(self.sample[NUM_IN_SPLIT], "image"),
                *(self.validated.split, train_config.seed),
            )
        pipeline = BatchPipeline(
            self.validated,
            self.config.data,
            # What fits into memory in training does so here: one device takes no more of them.
            train_config.batch_size // distribution.num_replicas,
            train_config.seed,
            training=False,
            share=Share(distribution.worker, distribution.num_workers),
            with_ignored=train_config.ignore_crowd_overlap > 0,
        )
        every, steps = train_config.validate_every, train_config.steps
        stopping = (distribution, self.start, self.stop_request)
        return ValidationLoss(pipeline, every, steps, *stopping, self.sample)

    def _metrics_log(self, steps_per_epoch: int) -> MetricsLog:
        folder, train_config = self.folder, self.config.train
        return MetricsLog(
            folder.metrics_log,
            folder.events,
            train_config.log_every,
            train_config.steps,
            self.start,
            steps_per_epoch,
        )

    def _guard(self, checkpoints: Checkpoints) -> OnNotFinite:
        """Make what is told of steps that are not finite; the chief sees their whole batches."""
        is_chief = self.distribution.is_chief
        guard = NonFiniteGuard(
            self.trainer,
            self.config,
            self.datasets["train"].examples,
            self.folder.non_finite if is_chief else None,
            checkpoints.on_train_end if is_chief else lambda: None,
        )
        if self.distribution.num_replicas == 1 or not is_chief:
            return guard

        def with_whole_batch(step: int, batch: Any, logs: Mapping[str, float]) -> None:
            (batch,) = self._batches(step - 1, step, Share())
            guard(step, batch, logs)

        return with_whole_batch
