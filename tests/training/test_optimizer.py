"""The fused SGD against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.training.optimizer import FusedSGD
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
