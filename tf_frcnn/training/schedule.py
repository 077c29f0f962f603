"""The learning rate over the steps: linear warm-up, then a decay in steps or along a cosine."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.config import TrainConfig


@keras.saving.register_keras_serializable(package="tf_frcnn")
class StepSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Warms up to `learning_rate`, then multiplies it by `decay_factor` at each of `decay_steps`.

    During the warm-up the rate of step s (from 0) is `learning_rate * (s + 1) / warmup_steps`.
    """

    def __init__(
        self,
        learning_rate: float,
        warmup_steps: int = 0,
        decay_steps: Sequence[int] = (),
        decay_factor: float = 0.1,
    ) -> None:
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.decay_steps = tuple(decay_steps)
        self.decay_factor = decay_factor

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Compute the rate of a step.

        Args:
            step: scalar integer, from 0.

        Returns:
            Scalar float32.
        """
        step = tf.cast(step, tf.float32)
        rate = self.learning_rate * _warm_up(step, self.warmup_steps)
        for decay_step in self.decay_steps:
            rate *= tf.where(step >= decay_step, self.decay_factor, 1.0)
        return rate

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("learning_rate", "warmup_steps", "decay_steps", "decay_factor")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="tf_frcnn")
class CosineSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Warms up as `StepSchedule` does, then falls along half a cosine, to 0 at step `steps`.

    After the warm-up the rate of step s (from 0) is
    `learning_rate * (1 + cos(pi * (s - warmup_steps) / (steps - warmup_steps))) / 2`.

    Args of `__init__`: `learning_rate` at the top, `steps` in all, more than `warmup_steps`.
    """

    def __init__(self, learning_rate: float, steps: int, warmup_steps: int = 0) -> None:
        self.learning_rate = learning_rate
        self.steps = steps
        self.warmup_steps = warmup_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Compute the rate of a step; 0 from step `steps` on.

        Args:
            step: scalar integer, from 0.

        Returns:
            Scalar float32.
        """
        step = tf.cast(step, tf.float32)
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        cosine = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0)))
        return self.learning_rate * _warm_up(step, self.warmup_steps) * cosine

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {name: getattr(self, name) for name in ("learning_rate", "steps", "warmup_steps")}


def build_learning_rate(
    config: TrainConfig,
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Build the configured schedule; a rate that stays is a number, so that callbacks can set it.

    `keras.callbacks.ReduceLROnPlateau`, for one, cannot set the rate of a schedule.
    """
    if not has_schedule(config):
        return config.learning_rate
    if config.schedule == "cosine":
        return CosineSchedule(config.learning_rate, config.steps, config.warmup_steps)
    return StepSchedule(
        config.learning_rate, config.warmup_steps, config.decay_steps, config.decay_factor
    )


def has_schedule(config: TrainConfig) -> bool:
    """Tell whether the learning rate changes by itself in the course of the steps."""
    return config.schedule != "step" or config.warmup_steps > 0 or bool(config.decay_steps)


def _warm_up(step: tf.Tensor, warmup_steps: int) -> tf.Tensor:
    """Compute the share of the rate that a step's (scalar float32) place in the warm-up gives."""
    return tf.minimum((step + 1.0) / max(warmup_steps, 1), 1.0)
