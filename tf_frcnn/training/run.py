"""A training run in its folder: resume, train, keep what is needed to go on."""

import logging
from collections.abc import Mapping

import keras

from tf_frcnn.checkpoints import restore_latest
from tf_frcnn.config import Config
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.errors import UserError
from tf_frcnn.model import FasterRCNN
from tf_frcnn.runs import RunFolder
from tf_frcnn.training.callbacks import (
    Checkpoints,
    MetricsLog,
    ProgressBar,
    ValidationLoss,
)
from tf_frcnn.training.loop import stop_on_signals, train
from tf_frcnn.training.non_finite.guard import NonFiniteGuard
from tf_frcnn.training.trainer import FasterRCNNTrainer
from tf_frcnn.weights.keras_applications import load_backbone_weights

logger = logging.getLogger(__name__)


class TrainingInterrupted(UserError):
    """Ctrl-C or SIGTERM stopped the run after it was saved."""

    label = "stopped"

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


def train_detector(
    config: Config, datasets: Mapping[str, Dataset], folder: RunFolder
) -> FasterRCNN:
    """Train a detector, from its start or from the last checkpoint of the run.

    Args:
        config: of the run, classes filled in.
        datasets: "train", and "val" where there is one.
        folder: prepared for this configuration; gets checkpoints, metrics.jsonl and events.

    Returns:
        The detector with the weights of the last step, or their moving averages.

    Raises:
        TrainingInterrupted: a signal stopped the run; a checkpoint of its last step was saved.
        NonFiniteLossError: a loss or gradient was NaN or infinite, and `on_nan` is not to go on.
        UserError: weights, a picture or a checkpoint cannot be read or written.
    """
    detector = FasterRCNN(config.model, len(config.data.classes), config.train.precision)
    trainer = FasterRCNNTrainer(detector, config.train)
    start = restore_latest(folder.checkpoints, detector, trainer.optimizer)
    if start:
        logger.info("going on from the checkpoint of step %d", start)
    else:
        report = load_backbone_weights(detector, config.model.backbone_weights)
        logger.info("%s", report)
    steps, seed, batch_size = config.train.steps, config.train.seed, config.train.batch_size
    pipeline = BatchPipeline(datasets["train"], config.data, batch_size, seed, start, steps)
    callbacks: list[keras.callbacks.Callback] = []
    if "val" in datasets:
        validation = BatchPipeline(datasets["val"], config.data, seed=seed, training=False)
        callbacks.append(ValidationLoss(validation, config.train.validate_every, steps))
    checkpoints = Checkpoints(
        folder.checkpoints, config.train.checkpoint_every, config.train.keep_checkpoints, start
    )
    callbacks += [
        MetricsLog(folder.metrics_log, folder.events, config.train.log_every, steps, start),
        checkpoints,
    ]
    guard = NonFiniteGuard(
        trainer, config, datasets["train"].examples, folder.non_finite, checkpoints.on_train_end
    )
    with ProgressBar(steps, start, batch_size) as progress, stop_on_signals() as stop_request:
        callbacks.append(progress)
        done = train(trainer, pipeline, start, callbacks, stop_request, guard)
    if stop_request.signal_number is not None:
        raise TrainingInterrupted(
            stop_request.signal_number,
            f"after step {done} of {steps}; saved to {folder.checkpoints}, from where the same "
            "command goes on.",
        )
    return trainer.finished_detector()
