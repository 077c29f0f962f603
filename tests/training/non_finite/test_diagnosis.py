"""A step run once more: what is found in it, and that it leaves no trace."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.non_finite.steps import PATHS, TERMS, make_batch, make_record
from tf_frcnn.training.non_finite.diagnosis import diagnose

BACKBONE = [f"block{block}_conv{conv}" for block, conv in ((1, 1), (1, 2), (2, 1))]


@pytest.fixture(scope="module")
def finite_step(built_trainer, step_config):
    """Diagnose the step with the weights of the start."""
    trainer, weights = built_trainer
    trainer.network.set_weights(weights)
    return diagnose(trainer, make_record(step_config))


def test_a_step_is_described_whole(trainer, finite_step):
    diagnosis = finite_step
    assert diagnosis.is_finite and diagnosis.first_layer is None
    assert (diagnosis.step, diagnosis.learning_rate) == (50, 0.25)
    batch = {name: tf.constant(value) for name, value in make_batch().items()}
    losses = trainer.compute_losses(batch, training=True)
    assert tuple(diagnosis.losses) == TERMS
    for name, value in losses.items():
        np.testing.assert_allclose(diagnosis.losses[name], value, rtol=1e-5)

    first, second = diagnosis.images
    assert (first.path, second.path) == PATHS
    assert (first.size, second.size) == ((64, 96), (64, 80))
    assert first.class_names == ("dog",) and second.class_names == ("cat", "duck")
    assert first.boxes == ((10.0, 20.0, 40.0, 80.0),) and len(second.boxes) == 2
    assert 250 < first.pixels.largest <= 255


def test_layers_stand_in_the_order_of_the_flow_with_their_numbers(trainer, finite_step):
    names = [layer.name for layer in finite_step.layers]
    places = [
        names.index(name)
        for name in ("preprocessing", *BACKBONE, "rpn_conv", "training_proposals", "fc1", "fc2")
    ]
    assert places == sorted(places)
    assert set(names[-2:]) == {"box_classes", "box_deltas"}
    layers = {layer.name: layer for layer in finite_step.layers}
    # Grey is subtracted by channel, 103.939 the least: 255 - 103.939 = 151.061 at most.
    assert 145 < layers["preprocessing"].activation.largest < 151.07
    assert layers["preprocessing"].weight is None and layers["preprocessing"].gradient is None
    kernel = np.abs(np.asarray(trainer.network.box_head.fc1.kernel)).max()
    np.testing.assert_allclose(layers["fc1"].weight.largest, kernel, rtol=1e-6)
    assert layers["fc1"].gradient.largest > 0.0
    assert layers["block1_conv1"].gradient is None  # frozen


def test_gradients_are_those_of_the_sum_of_the_losses(trainer, finite_step):
    batch = {name: tf.constant(value) for name, value in make_batch().items()}
    classes = trainer.network.box_head.classes
    with tf.GradientTape() as tape:
        total = tf.add_n(list(trainer.compute_losses(batch, training=True).values()))
    gradients = tape.gradient(total, [classes.kernel, classes.bias])
    expected = max(float(tf.reduce_max(tf.abs(gradient))) for gradient in gradients)
    layers = {one.name: one for one in finite_step.layers}
    np.testing.assert_allclose(layers["box_classes"].gradient.largest, expected, rtol=1e-4)


def test_no_weight_is_changed_not_even_a_moving_mean(trainer, step_config):
    before = trainer.network.get_weights()
    batch = make_batch()
    batch["images"][0, 3, 4, 1] = np.nan
    diagnosis = diagnose(trainer, make_record(step_config, batch=batch))
    assert not diagnosis.is_finite
    for value, old in zip(trainer.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
    assert not tf.config.functions_run_eagerly()


def test_a_step_with_a_graph_inside_is_run_without_it(trainer, step_config, monkeypatch):
    compute = tf.function(trainer.compute_losses)
    monkeypatch.setattr(trainer, "compute_losses", compute)
    assert len(diagnose(trainer, make_record(step_config)).layers) > 40


def test_the_first_layer_is_the_one_where_it_begins(trainer, step_config):
    kernel = trainer.network.get_layer("backbone").get_layer("block4_conv2").kernel
    values = kernel.numpy()
    values[0, 0, 0, 0] = np.inf
    kernel.assign(values)
    diagnosis = diagnose(trainer, make_record(step_config))
    assert diagnosis.first_layer.name == "block4_conv2"
    assert diagnosis.first_weight.name == diagnosis.first_activation.name == "block4_conv2"
    share = diagnosis.first_weight.weight.not_finite
    np.testing.assert_allclose(share, 1 / values.size)
