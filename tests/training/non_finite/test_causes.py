"""Each rule about the cause of a step that is not finite, provoked."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.training.non_finite.steps import PATHS, make_batch, make_record
from tf_frcnn.training.non_finite.causes import find_causes
from tf_frcnn.training.non_finite.diagnosis import diagnose
from tf_frcnn.training.non_finite.layers import Magnitude


@pytest.fixture
def causes_of(trainer, step_config):
    """Run a step and list its causes."""
    return lambda batch=None: find_causes(diagnose(trainer, make_record(step_config, batch=batch)))


def scale(layer, factor):
    layer.kernel.assign(layer.kernel * factor)


def test_pixels_that_are_not_finite(causes_of):
    batch = make_batch()
    batch["images"][1, 3, 4, 1] = np.nan
    (cause,) = causes_of(batch=batch)
    # One of 64 * 96 * 3 = 18432 numbers: 0.005 %.
    assert cause.startswith(f"{PATHS[1]}: 0.01% of its pixels are not finite")


def test_pixels_that_are_none(trainer, causes_of):
    scale(trainer.network.box_head.fc1, 1e30)  # else the normalisation brings them to size
    scale(trainer.network.box_head.fc2, 1e30)
    batch = make_batch()
    batch["images"][0] *= 1e6
    causes = causes_of(batch=batch)
    assert causes[0].startswith(f"{PATHS[0]}: its pixels reach 2.55e+08, expected 0 to 255")
    assert not any("grow" in cause for cause in causes)


def test_weights_that_are_not_finite(trainer, step_config):
    bias = trainer.network.rpn_head.conv.bias
    bias.assign(tf.fill(bias.shape, np.nan))
    diagnosis = diagnose(trainer, make_record(step_config))
    for step, expected in (
        (1, "no update had been made: give --train.start-from"),
        (2, "the update of a step before was too large for float32"),
    ):
        (cause,) = find_causes(dataclasses.replace(diagnosis, step=step))
        assert cause.startswith("weights of layer rpn_conv were not finite before the step")
        assert expected in cause


def test_a_term_that_overflows_at_a_box_without_area(trainer, causes_of, monkeypatch):
    # This project's own offsets are finite for such boxes; a loss of somebody else's may not be.
    compute = trainer.compute_losses

    def logarithm_of_sides(batch, training):
        losses = compute(batch, training)
        sides = batch["gt_boxes"][1, 0, 2:] - batch["gt_boxes"][1, 0, :2]
        return {**losses, "rpn_box": tf.reduce_sum(tf.math.log(sides))}

    batch = make_batch()
    batch["gt_boxes"][1, 0] = [5.0, 30.0, 20.0, 30.0]
    assert "has no area" not in causes_of(batch=batch)[0]
    monkeypatch.setattr(trainer, "compute_losses", logarithm_of_sides)
    cause = causes_of(batch=batch)[0]
    expected = "the box [5, 30, 20, 30] (cat) has no area, and rpn_box overflowed on it"
    assert cause.startswith(f"{PATHS[1]}: {expected}")


def test_a_box_that_is_not_finite(causes_of):
    batch = make_batch()
    batch["gt_boxes"][0, 0] = [10.0, 20.0, np.inf, 80.0]
    cause = causes_of(batch=batch)[0]
    assert cause.startswith(f"{PATHS[0]}: the box [10, 20, inf, 80] (dog) has sides that are not")


def test_float16_that_overflowed(trainer, step_config):
    kernel = trainer.network.backbone.get_layer("block2_conv1").kernel
    kernel.assign(tf.fill(kernel.shape, 1e38))  # finite, and float32 ends at 3.4e38
    diagnosis = diagnose(trainer, make_record(step_config))
    assert diagnosis.first_layer.name == "block2_conv1"
    half = [dataclasses.replace(layer, dtype="float16") for layer in diagnosis.layers]
    causes = find_causes(dataclasses.replace(diagnosis, layers=tuple(half)))
    assert causes[0].startswith("layer block2_conv1 computes in float16, which ends at 65504")
    assert "--train.precision mixed_bfloat16 or float32" in causes[0]
    assert not any("float16" in cause for cause in find_causes(diagnosis))
    # With weights that are not finite, these are the cause.
    place = next(i for i, layer in enumerate(half) if layer.name == "block2_conv1")
    half[place] = dataclasses.replace(half[place], weight=Magnitude(1.0, 0.5))
    (cause,) = find_causes(dataclasses.replace(diagnosis, layers=tuple(half)))
    assert cause.startswith("weights of layer block2_conv1")


def test_numbers_that_grow_over_the_layers(trainer, step_config):
    head = trainer.network.box_head
    scale(head.fc1, 1e25)
    scale(head.fc2, 1e25)
    diagnosis = diagnose(trainer, make_record(step_config))
    for step, weights, expected, unexpected in (
        (1, "vgg.h5", "weights at the start are not those of this network", "learning-rate"),
        (3, "vgg.h5", "if that changes nothing, give --train.start-from", "at the start"),
        (3, "none", "the weights have diverged", "--train.start-from"),
        (50, "vgg.h5", "too high (it is 0.25). Lower --train.learning-rate", "start-from"),
    ):
        here = dataclasses.replace(diagnosis, step=step, start_from=weights)
        (cause,) = find_causes(here)
        assert cause.startswith("the numbers grow from layer to layer, from 15") and "fc1" in cause
        assert expected in cause and unexpected not in cause


def test_a_gradient_that_is_not_finite_though_the_loss_is(trainer, step_config, monkeypatch):
    compute = trainer.compute_losses
    weight = trainer.network.box_head.fc1.kernel

    def with_a_root(batch, training):  # the slope of the root at 0 is infinite
        losses = compute(batch, training)
        root = tf.sqrt(0.0 * tf.reduce_sum(tf.convert_to_tensor(weight)))
        return {**losses, "roi_box": losses["roi_box"] + root}

    monkeypatch.setattr(trainer, "compute_losses", with_a_root)
    diagnosis = diagnose(trainer, make_record(step_config))
    assert not diagnosis.is_finite and diagnosis.first_activation is None
    (cause,) = find_causes(diagnosis)
    assert "the loss is finite, but its gradient is not, from layer fc1 backwards" in cause
    half = tuple(dataclasses.replace(layer, dtype="float16") for layer in diagnosis.layers)
    (cause,) = find_causes(dataclasses.replace(diagnosis, layers=half))
    assert "the gradient overflowed in layer fc1, which computes in float16" in cause


def test_a_step_that_is_finite_the_second_time(causes_of):
    (cause,) = causes_of()
    assert cause.startswith(
        "none that a second run shows: operation by operation, the step is finite"
    )


def test_a_cause_that_no_rule_knows(trainer, causes_of, monkeypatch):
    compute = trainer.compute_losses
    nan = tf.constant(np.nan)
    monkeypatch.setattr(
        trainer, "compute_losses", lambda *given, **named: {**compute(*given, **named), "roi": nan}
    )
    (cause,) = causes_of()
    assert cause.startswith("none of the known ones")
