"""The fused SGD against Keras' own, and the optimisers by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.config import OPTIMIZER_NAMES, TrainConfig
from tf_frcnn.errors import ConfigError
from tf_frcnn.training.optimizer import OPTIMIZERS, FusedSGD, build_optimizer
from tf_frcnn.training.schedule import StepSchedule

SHAPES = ((3, 2), (4,))


def run(optimizer, steps=4, in_graph=True, strategy=None):
    """Update two variables with gradients of 0.1 * step -> (variables, momenta)."""
    layer = keras.layers.Layer()  # makes variables as either Keras wants them
    ones = keras.initializers.Ones()
    variables = [
        layer.add_weight(name=str(i), shape=s, initializer=ones) for i, s in enumerate(SHAPES)
    ]
    optimizer.build(variables)

    def step(scale):
        gradients = [tf.fill(shape, scale) for shape in SHAPES]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    run_step = step if strategy is None else lambda scale: strategy.run(step, args=(scale,))
    run_step = tf.function(run_step) if in_graph else run_step
    for number in range(steps):
        run_step(tf.constant(0.1 * number))
    return [np.asarray(v) for v in variables], [np.asarray(m) for m in optimizer.momentums]


def test_two_updates_by_hand():
    # m = 0.9 m - 0.5 g, v = v + m. g = 0: m = 0, v = 1. g = 0.1: m = -0.05, v = 0.95.
    # g = 0.2: m = -0.045 - 0.1 = -0.145, v = 0.805.
    variables, momenta = run(FusedSGD(0.5, momentum=0.9), steps=3)
    np.testing.assert_allclose(variables[0], np.full((3, 2), 0.805), rtol=1e-6)
    np.testing.assert_allclose(momenta[1], np.full(4, -0.145), rtol=1e-6)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_keras_with_a_schedule(momentum, in_graph):
    ours, theirs = (
        run(kind(StepSchedule(0.3, 2, (3,)), momentum=momentum), in_graph=in_graph)
        for kind in (FusedSGD, keras.optimizers.SGD)
    )
    for computed, expected in zip(ours, theirs, strict=True):
        for one, other in zip(computed, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_equals_keras_under_a_strategy():
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        ours, _ = run(FusedSGD(0.5, momentum=0.9), strategy=strategy)
    theirs, _ = run(keras.optimizers.SGD(0.5, momentum=0.9))
    for computed, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(computed, expected, rtol=1e-6)


def test_survives_its_configuration():
    copy = FusedSGD.from_config(FusedSGD(0.25, momentum=0.75).get_config())
    assert (float(copy.learning_rate), copy.momentum) == (0.25, 0.75)


# === By name ===


def test_every_name_of_the_option_has_an_optimiser():
    assert tuple(OPTIMIZERS) == OPTIMIZER_NAMES
    kinds = {name: type(build_optimizer(TrainConfig(optimizer=name))) for name in OPTIMIZERS}
    assert kinds == {
        "sgd": FusedSGD,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
    }


def test_adamw_takes_the_decay_from_kernels_alone():
    # Without a gradient Adam moves nothing; a kernel of 1 loses 0.5 * 0.1 of itself at each step.
    config = TrainConfig(optimizer="adamw", learning_rate=0.5, weight_decay=0.1)
    optimizer = build_optimizer(config)
    layers = [keras.layers.Dense(2), keras.layers.BatchNormalization()]
    for layer in layers:
        layer.build((None, 3))
        layer.set_weights([np.ones(tuple(weight.shape)) for weight in layer.weights])
    variables = [v for layer in layers for v in layer.trainable_variables]
    optimizer.build(variables)
    for _ in range(2):
        gradients = [np.zeros(tuple(variable.shape), np.float32) for variable in variables]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    kernel, *others = (np.asarray(variable) for variable in variables)
    np.testing.assert_allclose(kernel, np.full((3, 2), 0.95**2), rtol=1e-6)
    assert len(others) == 3 and all((value == 1.0).all() for value in others)


def test_accumulation_on_keras_2_is_refused(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(ConfigError) as caught:
        build_optimizer(TrainConfig(gradient_accumulation_steps=4))
    assert str(caught.value) == (
        "--train.gradient-accumulation-steps 4: Keras 2.15.0 has no gradient accumulation, Keras 3 "
        "has. Leave the option out, or give a larger --train.batch-size."
    )


def test_a_float16_optimiser_scales_the_loss_and_no_other_does():
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        optimizer = build_optimizer(TrainConfig(precision=precision, learning_rate=0.25))
        scales = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
        assert scales == (precision == "mixed_float16")
        assert float(optimizer.learning_rate) == 0.25
