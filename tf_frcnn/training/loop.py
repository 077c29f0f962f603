"""The training loop: steps in order, ordinary Keras callbacks, and a clean stop on a signal."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import keras
import tensorflow as tf

from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.errors import Terminated
from tf_frcnn.training.distribution import ALONE, Distribution
from tf_frcnn.training.trainer import FasterRCNNTrainer

OnNotFinite = Callable[[int, Mapping[str, tf.Tensor], Mapping[str, float]], None]


class StopRequest:
    """Whether somebody asked the loop to stop after the step that is under way.

    A signal may reach one worker at any moment, also while it waits for the others; it becomes a
    request of all workers when they agree the next time, so that all stop after the same step.

    Attributes:
        received: the signal that this process got, or None.
        signal_number: the signal that all workers stop for, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.signal_number: int | None = None

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """Handle a signal; the second one interrupts at once."""
        if self.received is not None:
            raise _interrupt(signal_number)
        self.received = signal_number

    def agree(self, distribution: Distribution) -> None:
        """Make it a request of all workers if one of them got a signal; each calls this."""
        self.signal_number = int(max(distribution.of_each_worker(self.received or 0))) or None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a `StopRequest` while the block runs.

    Raises:
        KeyboardInterrupt: a signal came after the workers had agreed for the last time.
    """
    request = StopRequest()
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, request) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
    if request.received is not None and request.signal_number is None:
        raise _interrupt(request.received)


def _interrupt(signal_number: int) -> KeyboardInterrupt:
    return Terminated() if signal_number == signal.SIGTERM else KeyboardInterrupt()


def train(
    trainer: FasterRCNNTrainer,
    pipeline: BatchPipeline,
    start: int,
    callbacks: Sequence[keras.callbacks.Callback],
    stop_request: StopRequest,
    on_not_finite: OnNotFinite | None = None,
    distribution: Distribution = ALONE,
) -> int:
    """Run training steps until the pipeline ends, or a signal or a callback asks for a stop.

    Callbacks are told of batches, not of epochs; `logs` holds the losses of the step and its
    `seconds`, the wait for its batch included. They stop the loop as in Keras, by the model's
    `stop_training`, on all workers alike. What one adds to the logs, those behind it see, those of
    the beginning too.

    Args:
        trainer: takes the batches.
        pipeline: batches from step `start` on; with several replicas, this worker's share of them.
        start: steps done before.
        callbacks: called in this order.
        stop_request: looked at before the first step and after each one; gets the signal that
            another worker was sent.
        on_not_finite: told of a step whose update was left out, before the callbacks are: its
            number from 1, its batch (of several replicas this worker's first one's), and what it
            gave. What it raises ends the training.
        distribution: what the steps are spread over.

    Returns:
        The number of steps done in all.

    Raises:
        WorkerLostError: another worker is gone.
    """
    replicas = distribution.replicas_per_worker
    step_function = tf.function(
        lambda *batches: distribution.run(trainer.train_step, batches),
        input_signature=[pipeline.batches.element_spec] * replicas,
    )
    callback_list = keras.callbacks.CallbackList(list(callbacks), model=trainer)
    trainer.stop_training = False
    callback_list.on_train_begin()
    step = start
    began = time.perf_counter()
    with distribution.lost_workers_noticed():
        # No batch is waited for in vain.
        is_stopped = _is_stopped(trainer, stop_request, distribution)
        for batches in () if is_stopped else zip(*[iter(pipeline)] * replicas, strict=True):
            callback_list.on_train_batch_begin(step)
            losses = step_function(*batches)
            logs = {name: float(value) for name, value in losses.items()}
            logs["seconds"] = time.perf_counter() - began
            if on_not_finite is not None and not logs.get("finite", True):
                on_not_finite(step + 1, batches[0], logs)
            callback_list.on_train_batch_end(step, logs)
            step += 1
            if _is_stopped(trainer, stop_request, distribution):
                break
            began = time.perf_counter()
    callback_list.on_train_end()
    return step


def _is_stopped(
    trainer: FasterRCNNTrainer, stop_request: StopRequest, distribution: Distribution
) -> bool:
    stop_request.agree(distribution)
    return stop_request.signal_number is not None or trainer.stop_training
