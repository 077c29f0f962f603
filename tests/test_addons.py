"""TensorFlow Addons: its optimisers by name, and what is said where it cannot be used."""

import importlib.util
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.step_checkpoints import save_checkpoint
from tf_frcnn.addons import ADDONS_OPTIMIZERS, build_addons_optimizer
from tf_frcnn.checkpoints import load_checkpoint
from tf_frcnn.errors import ConfigError, UserError
from tf_frcnn.training.schedule import StepSchedule

with_addons = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_addons") is None,
    reason="needs TensorFlow Addons: the extra [addons], which brings TensorFlow 2.15",
)


def make_model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])


def take_steps(optimizer, model, first, last, outside_replicas=False):
    """Apply gradients of 0.1 * (step + 1) in a graph, as the trainer does."""
    variables = model.trainable_variables

    @tf.function
    def take_step(scale):
        gradients = [tf.fill(variable.shape, scale) for variable in variables]

        def update(strategy, gradients):
            pairs = zip(gradients, variables, strict=True)
            tf.cond(
                scale > 0,
                lambda: optimizer.apply_gradients(pairs, skip_gradients_aggregation=True),
                lambda: None,
            )

        if outside_replicas:
            tf.distribute.get_replica_context().merge_call(update, args=(gradients,))
        else:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for step in range(first, last):
        take_step(tf.constant(0.1 * (step + 1)))


@with_addons
def test_an_unknown_name_is_refused_with_the_list():
    expected = "addons:Lamb: expected one of addons:AdaBelief, addons:LAMB, .*addons:Yogi"
    with pytest.raises(ConfigError, match=expected):
        build_addons_optimizer("Lamb", 0.1)


def test_keras_3_is_told_where_addons_works(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.99.0")
    expected = (
        r"--train\.optimizer addons:LAMB: .* TensorFlow 2\.15 and Keras 2, here are TensorFlow "
        r".* and Keras 3\.99\.0.*pip install -e '\.\[addons\]'.*Python 3\.10 or 3\.11"
    )
    with pytest.raises(UserError, match=expected):
        build_addons_optimizer("LAMB", 0.1)


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)  # its import fails
    with pytest.raises(UserError, match=r"cannot be imported.*pip install -e '\.\[addons\]'"):
        build_addons_optimizer("LAMB", 0.1)


@with_addons
def test_lamb_by_hand():
    # Weights 2, gradient 0.1, rate 0.5. Corrected moments of the first step: m = g, v = g^2, so
    # the direction is g / (|g| + 1e-6) = 1 nearly; the ratio of norms scales it to |w| = 2:
    # w = 2 - 0.5 * 2 * 1 = 1.
    variable = tf.Variable([2.0, 2.0, 2.0])
    optimizer = build_addons_optimizer("LAMB", 0.5)
    optimizer.build([variable])
    optimizer.apply_gradients([(tf.constant([0.1, 0.1, 0.1]), variable)])
    np.testing.assert_allclose(variable, [1.0, 1.0, 1.0], rtol=1e-4)  # for the 1e-6


@with_addons
def test_the_rate_is_that_of_the_next_step():
    # From step 2 on a tenth of 0.5.
    model, optimizer = make_model(), build_addons_optimizer("LAMB", StepSchedule(0.5, 0, (2,)))
    optimizer.build(model.trainable_variables)
    rates = []
    for step in range(3):
        rates.append(float(optimizer.learning_rate))
        take_steps(optimizer, model, step, step + 1)
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.05], rtol=1e-6)


@with_addons
@pytest.mark.parametrize("name", ADDONS_OPTIMIZERS)
def test_every_name_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path, name):
    model, optimizer = make_model(), build_addons_optimizer(name, StepSchedule(0.1, 0, (3,)))
    optimizer.build(model.trainable_variables)
    take_steps(optimizer, model, 0, 2)
    save_checkpoint(tmp_path, 2, model, optimizer)
    before = model.get_weights()
    take_steps(optimizer, model, 2, 5)

    resumed, other = make_model(), build_addons_optimizer(name, StepSchedule(0.1, 0, (3,)))
    other.build(resumed.trainable_variables)
    assert load_checkpoint(tmp_path / "step-00000002.h5", resumed, other).step == 2
    take_steps(other, resumed, 2, 5)
    assert int(other.iterations) == 5
    for weight, expected, old in zip(
        resumed.get_weights(), model.get_weights(), before, strict=True
    ):
        np.testing.assert_array_equal(weight, expected)
        assert np.any(weight != old)


@with_addons
def test_updates_from_outside_of_the_replicas_are_the_same():
    plain, optimizer = make_model(), build_addons_optimizer("Yogi", 0.1)
    start = plain.get_weights()
    optimizer.build(plain.trainable_variables)
    take_steps(optimizer, plain, 0, 3)

    model, optimizer = make_model(), build_addons_optimizer("Yogi", 0.1)
    model.set_weights(start)
    optimizer.build(model.trainable_variables)
    take_steps(optimizer, model, 0, 3, outside_replicas=True)
    for weight, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
