"""Moving averages of the weights: when they stand in for them, and what a checkpoint keeps."""

import numpy as np
import pytest
import tensorflow as tf

from tests.step_checkpoints import save_checkpoint
from tests.training.states import assert_close, assert_same, state_of
from tests.training.test_trainer import values_of
from tf_frcnn.checkpoints import load_checkpoint


def averaging(make_known):
    """Take two steps with averages of momentum 0.25 -> (trainer, weights, expected averages)."""
    trainer = make_known(ema_momentum=0.25, learning_rate=0.5, momentum=0.0)
    variables = trainer.network.trainable_variables
    first = [value - 0.5 for value in values_of(variables)]
    # Gradients 1 and 2 at a rate of 0.5: w - 0.5 and w - 1.5. The average starts as the first of
    # them and is then 0.25 of itself and 0.75 of the second: w - 0.125 - 1.125.
    for scale in (1.0, 2.0):
        trainer.train_step(tf.constant(scale))
    return trainer, values_of(variables), [value + 0.5 - 1.25 for value in first]


def test_averages_stand_in_for_the_weights_where_they_are_asked_for(make_known):
    trainer, weights, averages = averaging(make_known)
    variables = trainer.network.trainable_variables
    state = state_of(trainer)
    with pytest.raises(KeyError), trainer.averaged_weights():
        assert_close(values_of(variables), averages)
        raise KeyError  # as validation may fail
    assert_same(values_of(variables), weights)
    assert_same(state_of(trainer), state)
    assert trainer.finished_network() is trainer.network
    assert_close(values_of(variables), averages)


def test_without_averages_the_weights_are_what_they_are(make_known):
    for options in ({}, {"ema_momentum": 0.9}):  # and none before the first update
        trainer = make_known(**options)
        before = state_of(trainer)
        with trainer.averaged_weights():
            assert_same(state_of(trainer), before)
        trainer.finished_network()
        assert_same(state_of(trainer), before)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_checkpoint_holds_weights_and_averages(make_known, tmp_path, precision):
    def make():
        return make_known(ema_momentum=0.5, precision=precision)

    trainer = make()
    for scale in (1.0, 2.0):
        trainer.train_step(tf.constant(scale))
    path = save_checkpoint(tmp_path, 2, trainer.network, trainer.optimizer)
    trainer.train_step(tf.constant(0.5))
    never_stopped = state_of(trainer)
    # Going on: bit-equal to never having stopped, averages too.
    trainer = make()
    assert load_checkpoint(path, trainer.network, trainer.optimizer).step == 2
    raw = trainer.network.get_weights()
    finished = trainer.finished_network().get_weights()
    load_checkpoint(path, trainer.network, trainer.optimizer)
    trainer.train_step(tf.constant(0.5))
    assert_same(state_of(trainer), never_stopped)
    # For use: what was evaluated and exported when the training ended with this step.
    used = make().network
    load_checkpoint(path, used)
    assert_same(used.get_weights(), finished)
    assert any(np.any(value != other) for value, other in zip(raw, finished, strict=True))
