"""The learning rate over the steps: linear warm-up, then a factor at each of some steps."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


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
        rate = tf.constant(self.learning_rate, tf.float32)
        if self.warmup_steps > 0:
            rate *= tf.minimum((step + 1.0) / self.warmup_steps, 1.0)
        for decay_step in self.decay_steps:
            rate *= tf.where(step >= decay_step, self.decay_factor, 1.0)
        return rate

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("learning_rate", "warmup_steps", "decay_steps", "decay_factor")
        return {name: getattr(self, name) for name in names}
