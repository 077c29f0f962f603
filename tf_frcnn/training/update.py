"""The update of the weights: scaled losses, sums over replicas, and none if not all is finite.

What Keras 2 and Keras 3 write differently in this, stands here and nowhere else.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Optimizer: TypeAlias = keras.optimizers.Optimizer
LossScaleOptimizer = keras.mixed_precision.LossScaleOptimizer

_KERAS_2 = keras.__version__.startswith("2.")


def scale_loss(optimizer: Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """Multiply a loss by the scale of a loss-scaling optimiser; any other leaves it as it is."""
    if not isinstance(optimizer, LossScaleOptimizer):
        return loss
    return optimizer.get_scaled_loss(loss) if _KERAS_2 else optimizer.scale_loss(loss)


def unscale_gradients(optimizer: Optimizer, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Divide the gradients of a scaled loss by the scale; scales are powers of two: exact."""
    if not isinstance(optimizer, LossScaleOptimizer):
        return list(gradients)
    if _KERAS_2:
        return optimizer.get_unscaled_gradients(list(gradients))
    scale = tf.convert_to_tensor(optimizer.dynamic_scale)
    return [gradient / scale for gradient in gradients]


def sum_over_replicas(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Sum each tensor over the replicas; every replica gets the sums. Called in each of them."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return list(tensors)
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors))


def apply_where(
    finite: tf.Tensor,
    optimizer: Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[Any],
) -> None:
    """Let the optimiser update the variables, or leave both as they are. Called in each replica.

    Args:
        finite: scalar bool, the same in every replica: whether to update.
        optimizer: built for the variables.
        gradients: summed over the replicas already, not scaled.
        variables: one for each gradient.
    """

    def update(strategy: tf.distribute.Strategy, finite: Any, gradients: list[Any]) -> None:
        def apply() -> None:
            call = _apply_scaled if isinstance(optimizer, LossScaleOptimizer) else _apply_summed
            strategy.extended.call_for_each_replica(call, args=(optimizer, gradients, variables))

        tf.cond(strategy.experimental_local_results(finite)[0], apply, lambda: None)

    # A replica's code cannot hold a condition with an update of mirrored variables inside.
    tf.distribute.get_replica_context().merge_call(update, args=(finite, list(gradients)))


def _apply_summed(optimizer: Optimizer, gradients: list[Any], variables: Sequence[Any]) -> None:
    """Hand gradients to an optimiser that would sum them over the replicas once more."""
    options = {"skip_gradients_aggregation": True} if _KERAS_2 else {}
    if not _KERAS_2 and tf.distribute.get_strategy().num_replicas_in_sync > 1:
        if not hasattr(optimizer, "_all_reduce_sum_gradients"):  # else they would be summed twice
            raise NotImplementedError(f"Keras {keras.__version__} sums gradients elsewhere")
        optimizer._all_reduce_sum_gradients = list
    optimizer.apply_gradients(zip(gradients, variables, strict=True), **options)


def _apply_scaled(optimizer: Optimizer, gradients: list[Any], variables: Sequence[Any]) -> None:
    """Hand gradients to a loss-scaling optimiser, which skips those that are not finite.

    It sums them over the replicas once more, and that of Keras 3 divides them by the scale.
    """
    factor = tf.constant(1.0 / tf.distribute.get_strategy().num_replicas_in_sync)
    if not _KERAS_2:
        factor *= tf.convert_to_tensor(optimizer.dynamic_scale)
    scaled = [gradient * factor for gradient in gradients]
    optimizer.apply_gradients(zip(scaled, variables, strict=True))
