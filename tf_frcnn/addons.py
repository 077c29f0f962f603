"""Optimisers of TensorFlow Addons, by name: what it has and Keras lacks.

Its last release, 0.23, imports only beside TensorFlow 2.15 or older and Keras 2, and there will be
no other. Nothing else in the package needs it: the one other thing that we take from it, its GIoU
loss, is the oracle of our own in the tests.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.errors import ConfigError, UserError, install_command

# Those that need nothing but a learning rate. Left out: wrappers of other optimisers, what treats
# sparse gradients alone in another way, what has no rate, and what Keras has too (AdamW, SGDW).
ADDONS_OPTIMIZERS = (
    "AdaBelief",
    "LAMB",
    "NovoGrad",
    "ProximalAdagrad",
    "RectifiedAdam",
    "Yogi",
)
_EXTRA = f"{install_command('addons', in_new=True)} in a new environment with Python 3.10 or 3.11"


class _LikeKeras:
    """What training asks of an optimiser, for those of Addons, which are of Keras' older kind."""

    _create_all_weights: Callable[[Sequence[tf.Variable]], None]
    _decayed_lr: Callable[[tf.DType], tf.Tensor]

    @property
    def learning_rate(self) -> tf.Tensor:
        """The rate of the next step, a scalar float32, where the older kind has the schedule."""
        return self._decayed_lr(tf.float32)

    def build(self, variables: Sequence[tf.Variable]) -> None:
        """Make the state that belongs to the variables."""
        self._create_all_weights(variables)

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]],
        name: str | None = None,
        skip_gradients_aggregation: bool = False,
        **kwargs: Any,
    ) -> None:
        """Update the variables; also from outside of the replicas, as Keras' own can."""
        kwargs.setdefault("experimental_aggregate_gradients", not skip_gradients_aggregation)
        pairs = list(grads_and_vars)

        def apply() -> None:
            super(_LikeKeras, self).apply_gradients(pairs, name, **kwargs)  # type: ignore[misc]

        if tf.distribute.in_cross_replica_context():
            tf.distribute.get_strategy().extended.call_for_each_replica(apply)
        else:
            apply()


def build_addons_optimizer(
    name: str, learning_rate: float | keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """Build an optimiser of Addons, its other options being Addons' own defaults.

    Args:
        name: one of `ADDONS_OPTIMIZERS`.
        learning_rate: or its schedule.

    Raises:
        ConfigError: there is none of this name.
        UserError: Addons is not installed, or cannot be used with the TensorFlow that is.
    """
    option = f"--train.optimizer addons:{name}"
    optimizers = import_addons(option).optimizers
    if name not in ADDONS_OPTIMIZERS:
        names = ", ".join(f"addons:{known}" for known in ADDONS_OPTIMIZERS)
        raise ConfigError(f"{option}: expected one of {names}.")
    return type(name, (_LikeKeras, getattr(optimizers, name)), {})(learning_rate=learning_rate)


def import_addons(purpose: str) -> ModuleType:
    """Import TensorFlow Addons, without the notice of its end, which our README gives.

    Args:
        purpose: what it is needed for, such as an option; begins the message of an error.

    Raises:
        UserError: Addons is not installed, or cannot be used with the TensorFlow that is.
    """
    if not keras.__version__.startswith("2."):
        raise UserError(
            f"{purpose}: TensorFlow Addons works with TensorFlow 2.15 and Keras 2, here are "
            f"TensorFlow {tf.__version__} and Keras {keras.__version__}. Use an optimiser of "
            f"Keras, or start anew with {_EXTRA}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow_addons
    except ImportError as error:
        raise UserError(
            f"{purpose}: TensorFlow Addons cannot be imported ({error}). Expected "
            f"what comes with {_EXTRA}."
        ) from None
    return tensorflow_addons
