"""The training loop: steps in order, ordinary Keras callbacks, and a clean stop on a signal.

A device that computes need not wait for the loop: what a step gave is read when the next one was
handed over already, unless somebody looks at the state between the two. So that nothing is lost by
that, a step makes no update where the one before it was not finite; when this is known and dealt
with, it is taken again.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.errors import Terminated
from tf_frcnn.training.distribution import ALONE, Distribution
from tf_frcnn.training.trainer import FasterRCNNTrainer

OnNotFinite = Callable[[int, Mapping[str, tf.Tensor], Mapping[str, float]], None]


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    previous = [signal.signal(number, request) for number in _SIGNALS]
    try:
        yield request
    finally:
        for number, handler in zip(_SIGNALS, previous, strict=True):
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
    reads_state: Callable[[int], bool] = lambda done: True,
) -> int:
    """Run training steps until the pipeline ends, or a signal or a callback asks for a stop.

    Callbacks are told of batches, not of epochs; `logs` holds the losses of the step and its
    `seconds`, the wait for its batch and for its figures included. They stop the loop as in Keras,
    by the model's `stop_training`, on all workers alike. What one adds to the logs, those behind it
    see, those of the beginning too.

    Args:
        trainer: takes the batches.
        pipeline: batches from step `start` on; with several replicas, this worker's share of them.
        start: steps done before.
        callbacks: called in this order.
        stop_request: looked at before the first step and after each one; gets the signal that
            another worker was sent, before the last step or during it.
        on_not_finite: told of a step whose update was left out, before the callbacks are: its
            number from 1, its batch (of several replicas this worker's first one's), and what it
            gave. Weights and optimiser are then as before the step. What it raises ends the
            training.
        distribution: what the steps are spread over.
        reads_state: whether anything that is called here looks at weights or optimiser when so many
            steps are done, or may ask for a stop; the same on all workers. After other steps the
            callbacks are told only when the next step was taken.

    Returns:
        The number of steps done in all.

    Raises:
        WorkerLostError: another worker is gone.
    """
    take = _StepFunction(trainer, pipeline, stop_request, distribution)
    callback_list = keras.callbacks.CallbackList(list(callbacks), model=trainer)

    def end(taken: _Taken) -> bool:
        """Read what a step gave, tell everybody, and say whether it was finite."""
        logs = taken.read()
        take.hear(logs)
        is_finite = bool(logs.get("finite", True))
        if on_not_finite is not None and not is_finite:
            on_not_finite(taken.step + 1, taken.batches[0], logs)
        callback_list.on_train_batch_end(taken.step, logs)
        return is_finite

    trainer.stop_training = False
    callback_list.on_train_begin()
    step = start
    unread: _Taken | None = None
    with distribution.lost_workers_noticed():
        stop_request.agree(distribution)
        batches_of_replicas = [iter(pipeline)] * distribution.replicas_per_worker
        batches_of_steps = distribution.on_devices(zip(*batches_of_replicas, strict=True))
        while not _is_stopped(trainer, stop_request, distribution):
            began = time.perf_counter()
            batches = next(batches_of_steps, None)
            if batches is None:
                break
            callback_list.on_train_batch_begin(step)
            taken = take(step, batches, began, unread)
            if unread is not None and not end(unread):
                taken = take(step, batches, time.perf_counter(), None)  # it made no update
            step, unread = step + 1, taken
            if reads_state(step):
                end(unread)
                unread = None
        if unread is not None:
            end(unread)
    callback_list.on_train_end()
    return step


def _is_stopped(
    trainer: FasterRCNNTrainer, stop_request: StopRequest, distribution: Distribution
) -> bool:
    if distribution.num_workers == 1:  # several have told each other with the step's figures
        stop_request.agree(distribution)
    return stop_request.signal_number is not None or trainer.stop_training


@dataclass(frozen=True)
class _Taken:
    """A step that was handed to the device.

    Attributes:
        step: its number, from 0.
        batches: of this worker's replicas.
        figures: [len(names)] float32, on the device.
        names: of the figures.
        seconds: that it took to get its batch and to hand it over.
    """

    step: int
    batches: tuple[Any, ...]
    figures: tf.Tensor
    names: tuple[str, ...]
    seconds: float

    @property
    def finite(self) -> tf.Tensor:
        """Whether it was finite, 0 or 1, on the device; 1 where the trainer does not say."""
        return self.figures[self.names.index("finite")] if "finite" in self.names else tf.ones([])

    def read(self) -> dict[str, float]:
        """Wait for the figures -> the logs."""
        began = time.perf_counter()
        values = self.figures.numpy().tolist()
        seconds = self.seconds + time.perf_counter() - began
        return {**dict(zip(self.names, values, strict=True)), "seconds": seconds}


class _StepFunction:
    """Takes steps; all that they give is one tensor, over all workers one sum.

    That also tells the workers which signals one of them has got.

    Args of `__init__`: as those of `train`.
    """

    def __init__(
        self,
        trainer: FasterRCNNTrainer,
        pipeline: BatchPipeline,
        stop_request: StopRequest,
        distribution: Distribution,
    ) -> None:
        self._trainer = trainer
        self._stop_request = stop_request
        self._distribution = distribution
        self._names: tuple[str, ...] = ()
        batch = pipeline.batches.element_spec
        self._function = tf.function(
            lambda finite, signals, *batches: distribution.run(
                self._compute, batches, finite, signals
            ),
            input_signature=[
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([len(_SIGNALS)], tf.float32),
                *[batch] * distribution.replicas_per_worker,
            ],
        )

    def __call__(
        self, step: int, batches: tuple[Any, ...], began: float, unread: _Taken | None
    ) -> _Taken:
        """Hand a step over, which makes no update if one that is not read yet was not finite."""
        finite = tf.ones([]) if unread is None else unread.finite
        signals = [float(self._stop_request.received == number) for number in _SIGNALS]
        figures = self._function(finite, tf.constant(signals), *batches)
        return _Taken(step, batches, figures, self._names, time.perf_counter() - began)

    def hear(self, logs: dict[str, float]) -> None:
        """Take out of the logs what the workers tell each other beside the figures."""
        for number in _SIGNALS:
            if logs.pop(number.name) > 0.0:
                self._stop_request.signal_number = int(number)

    def _compute(self, batch: Any, finite: tf.Tensor, signals: tf.Tensor) -> tf.Tensor:
        """Take the step in a replica."""
        results = self._trainer.train_step(batch, finite > 0.0)
        self._names = (*results, *(number.name for number in _SIGNALS))
        return tf.concat([tf.stack(list(results.values())), signals], axis=0)
