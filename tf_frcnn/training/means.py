"""Means of a step's figures, for `fit` and `evaluate`."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


class StepMeans:
    """Means over steps of some of their figures; steps that are not finite are left out.

    Args of `__init__`: `names` of the figures.

    Attributes:
        metrics: as Keras takes them, by the names of the figures.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.metrics = [_Mean(name=name) for name in names]

    def add(self, logs: Mapping[str, tf.Tensor], finite: tf.Tensor) -> None:
        """Take the figures of a step.

        Args:
            logs: scalars float32 by name; the share of finite steps is the mean of `finite`.
            finite: scalar bool: whether the step counts.
        """
        for metric in self.metrics:
            counts = finite | (metric.name == "finite")
            # A weight of 0 alone would not do: 0 times NaN is NaN.
            value = tf.where(counts, logs[metric.name], 0.0)
            metric.update_state(value, tf.cast(counts, tf.float32))


class _Mean(keras.metrics.Mean):
    """Keras' own is 0 where nothing counted, the best that a loss can be; this one is NaN."""

    def result(self) -> Any:
        return tf.convert_to_tensor(self.total) / tf.convert_to_tensor(self.count)
