"""The update of the weights: scaled losses, sums over replicas, and none if not all is finite.

What Keras 2 and Keras 3 write differently in this, stands here and nowhere else.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

LossScaleOptimizer = keras.mixed_precision.LossScaleOptimizer

_KERAS_2 = keras.__version__.startswith("2.")


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> Any:
    """Give the optimiser that updates the weights: what a loss-scaling one wraps, else itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def scale_loss(optimizer: keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """Multiply a loss by the scale of a loss-scaling optimiser; any other leaves it as it is."""
    if not isinstance(optimizer, LossScaleOptimizer):
        return loss
    return optimizer.get_scaled_loss(loss) if _KERAS_2 else optimizer.scale_loss(loss)


def unscale_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
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
    optimizer: keras.optimizers.Optimizer,
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
            arguments = (optimizer, gradients, variables)
            strategy.extended.call_for_each_replica(_apply, args=arguments)

        tf.cond(strategy.experimental_local_results(finite)[0], apply, lambda: None)

    # A replica's code cannot hold a condition with an update of mirrored variables inside.
    tf.distribute.get_replica_context().merge_call(update, args=(finite, list(gradients)))


def _apply(optimizer: Any, gradients: list[tf.Tensor], variables: Sequence[Any]) -> None:
    """Update the variables of a replica, without another sum of the gradients."""
    options = {}
    if _KERAS_2:
        options["skip_gradients_aggregation"] = True
    else:
        if isinstance(optimizer, LossScaleOptimizer):  # it is this one that divides by the scale
            scale = tf.convert_to_tensor(optimizer.dynamic_scale)
            gradients = [gradient * scale for gradient in gradients]
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:  # Keras 3 has no option for it
            inner_optimizer(optimizer)._all_reduce_sum_gradients = list
    optimizer.apply_gradients(zip(gradients, variables, strict=True), **options)
