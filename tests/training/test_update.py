"""The update: none where something is not finite, and under a loss scale."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.states import assert_same, state_of
from tests.training.test_loop import ListPipeline
from tests.training.test_trainer import values_of
from tf_frcnn.training.loop import StopRequest, train
from tf_frcnn.training.update import telling_gradients

KERAS_3 = not keras.__version__.startswith("2.")


@pytest.mark.parametrize(("clip_norm", "in_graph"), [(0.0, True), (10.0, False)])
def test_a_loss_that_is_not_finite_changes_nothing(make_known, clip_norm, in_graph):
    trainer = make_known(clip_norm=clip_norm, ema_momentum=0.5)
    step = tf.function(trainer.train_step) if in_graph else trainer.train_step
    assert float(step(tf.constant(0.5))["finite"]) == 1.0
    before = state_of(trainer)
    for scale in (np.nan, np.inf):
        report = step(tf.constant(scale, tf.float32))
        assert float(report["finite"]) == 0.0 and not np.isfinite(report["loss"])
        assert_same(state_of(trainer), before)
    assert float(step(tf.constant(0.5))["finite"]) == 1.0
    assert np.any(state_of(trainer)[-1] != before[-1])


def test_a_step_that_may_not_update_changes_nothing_and_still_says_how_it_went(make_known):
    trainer = make_known(ema_momentum=0.5)
    step = tf.function(trainer.train_step)
    before = state_of(trainer)
    report = step(tf.constant(0.5), tf.constant(False))
    assert float(report["finite"]) == 1.0 and np.isfinite(report["loss"])
    assert_same(state_of(trainer), before)
    assert float(step(tf.constant(np.nan, tf.float32), tf.constant(False))["finite"]) == 0.0
    # The same step later is the one that would have been taken at once.
    step(tf.constant(0.5), tf.constant(True))
    other = make_known(ema_momentum=0.5)
    other.train_step(tf.constant(0.5))
    for value, expected in zip(state_of(trainer), state_of(other), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, 10.0])
def test_a_gradient_that_is_not_finite_changes_nothing(make_known, clip_norm):
    # The square root of 0 is finite, its slope is not: in the last layer's bias alone.
    def root(scale, values):
        return tf.sqrt(values[-1][0]) + 0.0 * sum(tf.reduce_sum(value) for value in values)

    trainer = make_known(root, clip_norm=clip_norm)
    bias = trainer.network.trainable_variables[-1]
    assert "bias" in bias.name and not np.asarray(bias).any()
    before = state_of(trainer)
    report = trainer.train_step(tf.constant(1.0))
    assert float(report["loss"]) == 0.0 and float(report["finite"]) == 0.0
    assert_same(state_of(trainer), before)


def test_steps_that_are_read_late_leave_the_same_state_as_those_that_are_read_at_once(make_known):
    states = []
    for reads_state in (lambda done: True, lambda done: False):
        trainer = make_known(ema_momentum=0.5)
        pipeline = ListPipeline(0.5, np.nan, 0.25, np.nan, np.nan, 2.0)
        told = []
        train(
            trainer,
            pipeline,
            0,
            [],
            StopRequest(),
            lambda step, *given, told=told: told.append(step),
            reads_state=reads_state,
        )
        assert told == [2, 4, 5]
        states.append([value.copy() for value in state_of(trainer)])
    assert_same(*states)


def test_what_has_no_trained_bias_beside_it_is_judged_itself():
    # Of the names' layers only the first has a trained bias: it stands for its kernel.
    names = ["fc1/kernel", "fc1/bias", "stem/conv/kernel", "stem/norm/gamma", "stem/norm/beta"]
    gradients = [tf.constant(float(number)) for number in range(len(names))]
    assert [float(one) for one in telling_gradients(gradients, names)] == [1.0, 2.0, 3.0, 4.0]
    without_bias = telling_gradients([gradients[0], gradients[2]], [names[0], names[2]])
    assert [float(one) for one in without_bias] == [0.0, 2.0]


# === Loss scale ===


def test_an_overflow_of_float16_halves_the_scale_and_is_no_stop(make_known):
    # A gradient of 1e35 is finite, times the scale of 2^15 it is beyond float32.
    trainer = make_known(precision="mixed_float16")
    before = values_of(trainer.network.trainable_variables)
    report = trainer.train_step(tf.constant(1e35))
    assert float(report["finite"]) == 1.0  # there is nothing to stop for
    assert_same(values_of(trainer.network.trainable_variables), before)
    trainer.train_step(tf.constant(2.0))
    # The rate is 0.01: one step of 0.01 * 2, the scale taken out again.
    bias = trainer.network.trainable_variables[-1].numpy()
    np.testing.assert_allclose(bias, before[-1] - 0.02, rtol=1e-6)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 keeps the scale elsewhere")
def test_the_scale_goes_down_by_halves(make_known):
    trainer = make_known(precision="mixed_float16")
    trainer.train_step(tf.constant(1e35))
    assert float(trainer.optimizer.dynamic_scale) == 2.0**14


def test_gradients_are_clipped_at_their_true_size_under_a_scale(make_known):
    # All gradients are 2; clipped to norm 1 they are 1 / sqrt(number of weights) each.
    trainer = make_known(precision="mixed_float16", clip_norm=1.0, learning_rate=1.0)
    before = values_of(trainer.network.trainable_variables)
    trainer.train_step(tf.constant(2.0))
    share = 1 / np.sqrt(sum(value.size for value in before))
    for variable, value in zip(trainer.network.trainable_variables, before, strict=True):
        np.testing.assert_allclose(variable, value - share, atol=1e-6)
