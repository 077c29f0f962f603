"""The optimisers by name; SGD with momentum has its update fused into one pass over a variable."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from tf_frcnn.addons import build_addons_optimizer
from tf_frcnn.config import ADDONS_PREFIX, TrainConfig
from tf_frcnn.errors import ConfigError
from tf_frcnn.training.schedule import build_learning_rate

Optimizer: TypeAlias = keras.optimizers.Optimizer
LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable(package="tf_frcnn")
class FusedSGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` with momentum, same state and values, in half of the time.

    Keras writes the update as five operations, each of which goes through memory once more: with
    the 103 million weights of the first FC layer that is a twentieth of a training step.
    """

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any = None) -> None:
        """Update one variable: m = momentum * m - rate * gradient, then variable += m.

        Args:
            gradient: of the loss, weight decay included.
            variable: what is updated.
            learning_rate: scalar; given by Keras 3 alone.
        """
        # Keras 2 passes no rate, and a strategy's variables are many under one name.
        if learning_rate is None or not self.momentum or tf.distribute.has_strategy():
            rate = () if learning_rate is None else (learning_rate,)
            super().update_step(gradient, variable, *rate)
            return
        momentum = self.momentums[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=momentum.value.handle,
            lr=tf.cast(learning_rate, gradient.dtype),
            grad=gradient,
            momentum=tf.constant(self.momentum, gradient.dtype),
        )


def build_optimizer(config: TrainConfig) -> Optimizer:
    """Build the configured optimiser with its learning rate, averaging and accumulation.

    Weight decay and clipping are the trainer's, but for those in `DECOUPLED_DECAY`.

    Raises:
        ConfigError: there is no such optimiser, or Keras lacks an option, here or with several
            replicas.
    """
    options: dict[str, Any] = {}
    if config.ema_momentum > 0:
        options |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    if config.gradient_accumulation_steps > 1:
        _check_accumulation(config.gradient_accumulation_steps)
        options["gradient_accumulation_steps"] = config.gradient_accumulation_steps
    if config.optimizer.startswith(ADDONS_PREFIX):
        return _build_addons(config)
    if config.optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"--train.optimizer {config.optimizer}: expected one of {', '.join(OPTIMIZERS)}."
        )
    optimizer = OPTIMIZERS[config.optimizer](config, build_learning_rate(config), options)
    if config.precision == "mixed_float16":  # bfloat16 has the range of float32
        return keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def _check_accumulation(steps: int) -> None:
    if int(keras.__version__.split(".")[0]) < 3:
        raise ConfigError(
            f"--train.gradient-accumulation-steps {steps}: Keras {keras.__version__} has no "
            "gradient accumulation, Keras 3 has. Leave the option out, or give a larger "
            "--train.batch-size."
        )
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        raise ConfigError(
            f"--train.gradient-accumulation-steps {steps}: Keras adds up gradients on one device "
            "only. Leave the option out: several devices make a larger --train.batch-size possible."
        )


def _build_addons(config: TrainConfig) -> Optimizer:
    """Build an optimiser of TensorFlow Addons; they are of Keras' older kind, with less in it."""
    for option, value, there in (
        ("ema-momentum", config.ema_momentum, config.ema_momentum > 0),
        ("precision", config.precision, config.precision == "mixed_float16"),
    ):
        if there:
            raise ConfigError(
                f"--train.{option} {value}: not with --train.optimizer {config.optimizer}, which "
                "has no such thing. Leave the option out, or take an optimiser of Keras."
            )
    name = config.optimizer.removeprefix(ADDONS_PREFIX)
    return build_addons_optimizer(name, build_learning_rate(config))


def _build_sgd(config: TrainConfig, rate: LearningRate, options: dict[str, Any]) -> Optimizer:
    return FusedSGD(rate, momentum=config.momentum, **options)


def _build_adam(config: TrainConfig, rate: LearningRate, options: dict[str, Any]) -> Optimizer:
    return keras.optimizers.Adam(rate, **options)


def _build_adamw(config: TrainConfig, rate: LearningRate, options: dict[str, Any]) -> Optimizer:
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


OPTIMIZERS: dict[str, Callable[[TrainConfig, LearningRate, dict[str, Any]], Optimizer]] = {
    "sgd": _build_sgd,
    "adam": _build_adam,
    "adamw": _build_adamw,
}
# These take the decay from the weights themselves; for all others it is a part of the gradient.
DECOUPLED_DECAY = ("adamw",)
