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


def inner_optimizer(optimizer: Optimizer) -> Any:
    """Give the optimiser that updates the weights: what a loss-scaling one wraps, else itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


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


def telling_gradients(gradients: Sequence[tf.Tensor], names: Sequence[str]) -> list[tf.Tensor]:
    """Pick gradients in which a NaN or infinity shows that reaches any of them from above.

    The gradient of a bias is the sum of what reaches its layer from above, so a number there that
    is not finite shows in it, and the kernel beside it need not be gone through: the 103 million
    numbers of VGG16's first FC layer would cost a pass through memory. All others are picked. A
    kernel with no trained bias beside it may be the only one to tell: where a normalisation behind
    it is frozen, nothing else is trained.

    Args:
        gradients: of the loss.
        names: `LAYER/VARIABLE` of each, as `named_weights` has them.
    """
    layers_with_bias = {name.rsplit("/", 1)[0] for name in names if name.endswith("/bias")}
    return [
        gradient
        for gradient, name in zip(gradients, names, strict=True)
        if name.endswith("/bias") or name.rsplit("/", 1)[0] not in layers_with_bias
    ]


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
            arguments = (optimizer, gradients, variables)
            strategy.extended.call_for_each_replica(_apply, args=arguments)
            if _KERAS_2:
                _start_averages(strategy, inner_optimizer(optimizer), variables)

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
            inner = inner_optimizer(optimizer)
            if not hasattr(inner, "_all_reduce_sum_gradients"):  # else they would be summed twice
                raise NotImplementedError(f"Keras {keras.__version__} sums gradients elsewhere")
            inner._all_reduce_sum_gradients = list
    optimizer.apply_gradients(zip(gradients, variables, strict=True), **options)


def _start_averages(
    strategy: tf.distribute.Strategy, optimizer: Any, variables: Sequence[Any]
) -> None:
    """Let moving averages be the weights after the first update, as those of Keras 3 are.

    Keras 2 starts them when the optimiser is built, from weights that are random still. Called
    outside of the replicas.
    """
    averages = getattr(optimizer, "_model_variables_moving_average", [])

    def start() -> None:
        for average, variable in zip(averages, variables, strict=True):
            strategy.extended.update(average, lambda a, v: a.assign(v), args=(variable,))

    if averages:
        tf.cond(tf.equal(optimizer.iterations, 1), start, lambda: None)
