"""The training loop: steps in order, ordinary Keras callbacks, and a clean stop on a signal."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import keras
import tensorflow as tf

from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.training.trainer import FasterRCNNTrainer


class StopRequest:
    """Whether somebody asked the loop to stop after the step that is under way.

    Attributes:
        signal_number: the signal that asked, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """Handle a signal; the second one interrupts at once."""
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = signal_number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a `StopRequest` while the block runs."""
    request = StopRequest()
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, request) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def train(
    trainer: FasterRCNNTrainer,
    pipeline: BatchPipeline,
    start: int,
    callbacks: Sequence[keras.callbacks.Callback],
    stop_request: StopRequest,
    on_not_finite: Callable[[int, Mapping[str, tf.Tensor], Mapping[str, float]], None]
    | None = None,
) -> int:
    """Run training steps until the pipeline ends or a stop is requested.

    Callbacks are told of batches, not of epochs; `logs` holds the losses of the step and its
    `seconds`, the wait for its batch included.

    Args:
        trainer: takes the batches.
        pipeline: batches from step `start` on.
        start: steps done before.
        callbacks: called in this order.
        stop_request: looked at after each step.
        on_not_finite: told of a step whose update was left out, before the callbacks are: its
            number from 1, its batch, and what it gave. What it raises ends the training.

    Returns:
        The number of steps done in all.
    """
    step_function = tf.function(trainer.train_step, input_signature=[pipeline.batches.element_spec])
    callback_list = keras.callbacks.CallbackList(list(callbacks), model=trainer)
    callback_list.on_train_begin()
    step = start
    began = time.perf_counter()
    for batch in pipeline:
        callback_list.on_train_batch_begin(step)
        losses = step_function(batch)
        logs = {name: float(value) for name, value in losses.items()}
        logs["seconds"] = time.perf_counter() - began
        if on_not_finite is not None and not logs.get("finite", True):
            on_not_finite(step + 1, batch, logs)
        callback_list.on_train_batch_end(step, logs)
        step += 1
        if stop_request.signal_number is not None:
            break
        began = time.perf_counter()
    callback_list.on_train_end()
    return step
