"""The training step: its update in closed form, what it leaves alone, and what it survives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.training.schedule import StepSchedule
from tf_frcnn.training.update import inner_optimizer

LOSSES = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")


def make_batch(boxes_of_images, size=(64, 96), seed=0):
    """Make a batch of noise with boxes, padded with one empty box at least."""
    num_images = len(boxes_of_images)
    num_boxes = 1 + max(len(boxes) for boxes in boxes_of_images)
    gt_boxes = np.zeros((num_images, num_boxes, 4), np.float32)
    gt_classes = np.zeros((num_images, num_boxes), np.int32)
    for image, boxes in enumerate(boxes_of_images):
        gt_boxes[image, : len(boxes)] = np.reshape(boxes, (-1, 4))
        gt_classes[image, : len(boxes)] = 1 + np.arange(len(boxes)) % 3
    images = np.random.default_rng(0).uniform(0, 255, (num_images, *size, 3))
    return {
        "images": tf.constant(images, tf.float32),
        "image_sizes": tf.constant([size] * num_images, tf.float32),
        "gt_boxes": tf.constant(gt_boxes),
        "gt_classes": tf.constant(gt_classes),
        "seeds": tf.constant([[seed, image] for image in range(num_images)]),
    }


def many_boxes(count):
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, [50, 80], (count, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 14, (count, 2))], axis=1)


TWO_IMAGES = [[[10, 20, 40, 80]], [[5, 6, 30, 50], [30, 40, 60, 94]]]


def path_of(variable):
    """Give `LAYER/VARIABLE`; Keras 2 has it, and a number, as the name."""
    return getattr(variable, "path", variable.name).split(":")[0]


def values_of(variables):
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("count", [0, 1, 100])
def test_images_with_no_box_with_one_and_with_a_hundred_train(make_trainer, count):
    trainer, batch = make_trainer(), make_batch([many_boxes(count)])
    variables = trainer.network.trainable_variables
    with tf.GradientTape() as tape:
        losses = trainer.compute_losses(batch, training=True)
        total = tf.add_n(list(losses.values()))
    assert tuple(losses) == LOSSES
    assert all(np.isfinite(value) for value in losses.values())
    assert (float(losses["roi_box"]) > 0) == (count > 0) == (float(losses["rpn_box"]) > 0)
    for gradient in tape.gradient(total, variables):
        assert np.isfinite(gradient).all()
    trainer.train_step(batch)
    assert all(np.isfinite(value).all() for value in values_of(trainer.network.weights))


def test_a_batch_of_an_image_without_boxes_and_one_with_boxes(make_trainer):
    report = make_trainer().train_step(make_batch([[], [[10, 20, 40, 80]]]))
    assert set(report) == {"loss", *LOSSES, "finite"}
    assert all(np.isfinite(value) for value in report.values())
    total = sum(float(report[name]) for name in LOSSES)
    assert float(report["loss"]) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("factor", [1e4, 1e8])
def test_losses_of_extreme_outputs_are_finite(make_trainer, factor):
    trainer, batch = make_trainer(), make_batch(TWO_IMAGES)
    rpn_head, box_head = trainer.network.rpn_head, trainer.network.box_head
    for layer in (rpn_head.objectness, rpn_head.deltas, box_head.classes, box_head.deltas):
        layer.kernel.assign(layer.kernel * factor)
    with tf.GradientTape() as tape:
        losses = trainer.compute_losses(batch, training=True)
        total = tf.add_n(list(losses.values()))
    assert np.isfinite(total)
    for gradient in tape.gradient(total, trainer.network.trainable_variables):
        assert np.isfinite(gradient).all()


def test_pixels_of_uint8_train_as_the_same_numbers_in_float32(make_trainer):
    batch = make_batch(TWO_IMAGES)
    batch["images"] = tf.round(batch["images"])
    whole = {**batch, "images": tf.cast(batch["images"], tf.uint8)}
    reports, weights = [], []
    for one in (batch, whole):
        trainer = make_trainer()
        report = trainer.train_step(one)
        reports.append({name: float(value) for name, value in report.items()})
        weights.append([variable.numpy() for variable in trainer.network.trainable_variables])
    assert reports[0] == reports[1] and reports[0]["finite"] == 1.0
    for ours, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_ten_updates_equal_the_closed_form(make_trainer, monkeypatch):
    # The loss is sum(c w + 0.5 q w^2) over all weights, so the gradient is g = c + q w; then
    # v = m v - lr (g + wd w) for kernels, without wd for everything else, and w = w + v.
    c, q, momentum, decay = 0.3, 0.2, 0.8, 0.05
    schedule = {"learning_rate": 0.1, "warmup_steps": 3, "decay_steps": (6,)}
    trainer = make_trainer(**schedule, momentum=momentum, weight_decay=decay)
    variables = trainer.network.trainable_variables

    def known_losses(batch, training):
        terms = [tf.reduce_sum(c * value + 0.5 * q * value**2) for value in variables]
        return {"known": tf.add_n(terms)}

    monkeypatch.setattr(trainer, "compute_losses", known_losses)
    expected = [value.astype(np.float64) for value in values_of(variables)]
    velocity = [np.zeros_like(value) for value in expected]
    # 0.1 / 3, 0.2 / 3, then 0.1, and 0.01 from step 6 on.
    rates = [0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]
    for rate in rates:
        trainer.train_step({})
        for i, variable in enumerate(variables):
            wd = decay if path_of(variable).endswith("kernel") else 0.0
            gradient = c + q * expected[i] + wd * expected[i]
            velocity[i] = momentum * velocity[i] - rate * gradient
            expected[i] = expected[i] + velocity[i]
    names = {path_of(variable).split("/")[-1] for variable in variables}
    assert names == {"kernel", "bias", "gamma", "beta"}
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-6, err_msg=path_of(variable))
    np.testing.assert_allclose(StepSchedule(**schedule)(5), rates[5])


def test_kernels_of_every_convolution_decay(make_trainer):
    trainer = make_trainer(weight_decay=0.25)
    inputs = tf.zeros((1, 8, 8, 2))
    layers = [
        keras.layers.DepthwiseConv2D(3, bias_initializer="ones"),
        keras.layers.SeparableConv2D(4, 3, bias_initializer="ones"),
        keras.layers.Conv2DTranspose(4, 3, bias_initializer="ones"),
        keras.layers.BatchNormalization(),
    ]
    variables = []
    for layer in layers:
        layer(inputs)
        variables += layer.trainable_variables
    zeros = [tf.zeros(variable.shape) for variable in variables]
    kernels = 0
    for variable, gradient in zip(
        variables, trainer._with_weight_decay(zeros, variables), strict=True
    ):
        # Kernels have four axes, biases and what normalisation learns have one.
        is_kernel = len(variable.shape) == 4
        kernels += is_kernel
        expected = 0.25 * variable.numpy() if is_kernel else 0.0
        np.testing.assert_array_equal(gradient, np.broadcast_to(expected, variable.shape))
    assert kernels == 4  # a separable convolution has two


def test_gradients_are_clipped_to_their_global_norm_before_the_decay(make_trainer, monkeypatch):
    # All gradients are 2; clipped to norm 1 they are 1 / sqrt(number of weights) each. One step of
    # rate 1 without momentum subtracts that, and 0.05 w from kernels.
    trainer = make_trainer(learning_rate=1.0, momentum=0.0, weight_decay=0.05, clip_norm=1.0)
    variables = trainer.network.trainable_variables

    def known_losses(batch, training):
        return {"known": tf.add_n([2.0 * tf.reduce_sum(value) for value in variables])}

    monkeypatch.setattr(trainer, "compute_losses", known_losses)
    before = values_of(variables)
    trainer.train_step({})
    share = 1 / np.sqrt(sum(value.size for value in before))
    for variable, value in zip(variables, before, strict=True):
        decay = 0.05 * value if path_of(variable).endswith("kernel") else 0.0
        np.testing.assert_allclose(variable, value - share - decay, atol=1e-6)


def test_frozen_layers_stay_and_all_others_move(make_trainer):
    trainer, batch = make_trainer(frozen_layers=("block1", "block2")), make_batch(TWO_IMAGES)
    frozen = [
        weight
        for layer in trainer.network.backbone.layers
        if layer.name.startswith(("block1", "block2"))
        for weight in layer.weights
    ]
    trainable = trainer.network.trainable_variables
    assert len(frozen) == 4 * 5  # four convolutions: a kernel and four numbers of normalisation
    frozen_before, trainable_before = values_of(frozen), values_of(trainable)
    trainer.train_step(batch)
    for variable, before in zip(frozen, frozen_before, strict=True):
        np.testing.assert_array_equal(variable, before)
    for variable, before in zip(trainable, trainable_before, strict=True):
        assert np.any(variable.numpy() != before), path_of(variable)


def test_a_step_that_is_not_finite_changes_nothing(make_trainer):
    # Nothing frozen: the fused inference form of a frozen layer makes 0 of NaN.
    trainer, batch = make_trainer(frozen_layers=()), make_batch(TWO_IMAGES)
    step = tf.function(trainer.train_step)
    assert float(step(batch)["finite"]) == 1.0
    # Moving means and momenta too; those of the normalisation move in the forward pass.
    everything = [*trainer.network.weights, *trainer.optimizer.variables]
    before = values_of(everything)
    images = batch["images"].numpy()
    images[0, 5, 7, 2] = np.nan
    report = step({**batch, "images": tf.constant(images)})
    # On some processors max(0, NaN) is 0 in ReLU: then the gradient alone tells.
    assert float(report["finite"]) == 0.0
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)
    assert float(step(batch)["finite"]) == 1.0
    after = values_of(everything)
    assert any(np.any(new != old) for new, old in zip(after, before, strict=True))


def test_a_step_that_may_not_update_leaves_the_statistics_of_normalisation_too(make_trainer):
    trainer, batch = make_trainer(frozen_layers=()), make_batch(TWO_IMAGES)
    everything = [*trainer.network.weights, *trainer.optimizer.variables]
    before = values_of(everything)
    assert float(trainer.train_step(batch, tf.constant(False))["finite"]) == 1.0
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)


@tf.custom_gradient
def with_a_gradient_that_is_not_finite(features):
    """Pass features on; one number of their gradient is NaN."""
    poison = tf.scatter_nd([[0, 0, 0, 0]], [np.nan], tf.shape(features))
    return features, lambda upstream: upstream + tf.cast(poison, upstream.dtype)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_a_gradient_that_turns_nan_in_a_backbone_of_kernels_alone_changes_nothing(
    make_trainer, monkeypatch, precision, clip_norm
):
    # Convolutions without bias under frozen normalisation: below the layer where NaN is born, the
    # fifth of thirteen, nothing but kernels is trained. The losses are finite.
    layers = make_trainer(frozen_layers=()).network.backbone.layers
    norms = tuple(layer.name for layer in layers if layer.name.endswith("_bn"))
    trainer = make_trainer(frozen_layers=norms, precision=precision, clip_norm=clip_norm)
    relu = trainer.network.backbone.get_layer("block3_conv1_relu")
    call = relu.call
    monkeypatch.setitem(
        vars(relu), "call", lambda inputs: with_a_gradient_that_is_not_finite(call(inputs))
    )
    everything = [*trainer.network.weights, *inner_optimizer(trainer.optimizer).variables]
    if precision == "mixed_float16":
        # The loss scale takes it for an overflow: no update, half the scale, and training goes on.
        # Keras 2 counts the step.
        everything = [one for one in everything if not one.name.startswith("iteration")]
    before = values_of(everything)
    report = trainer.train_step(make_batch(TWO_IMAGES))
    assert np.isfinite(report["loss"])
    assert float(report["finite"]) == (1.0 if precision == "mixed_float16" else 0.0)
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)


def test_nothing_is_frozen_when_no_name_is_given(make_trainer):
    backbone = make_trainer(frozen_layers=()).network.backbone
    # Thirteen convolutions: a kernel, a scale and a shift each.
    assert len(backbone.trainable_variables) == 13 * 3


def test_steps_on_one_batch_lower_the_loss(make_trainer):
    trainer, batch = make_trainer(), make_batch(TWO_IMAGES)
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]


def test_losses_depend_on_the_seeds_and_on_nothing_else(make_trainer):
    trainer = make_trainer()
    first, again, other = (
        {
            name: float(value)
            for name, value in trainer.compute_losses(
                make_batch(TWO_IMAGES, seed=seed), training=False
            ).items()
        }
        for seed in (0, 0, 1)
    )
    assert first == pytest.approx(again, rel=1e-6)
    assert any(abs(first[name] - other[name]) > 1e-5 for name in first)


def test_validation_changes_no_weight_and_reports_the_same_losses(make_trainer):
    trainer, batch = make_trainer(), make_batch(TWO_IMAGES)
    before = values_of(trainer.network.weights)
    report = trainer.test_step(batch)
    for value, old in zip(values_of(trainer.network.weights), before, strict=True):
        np.testing.assert_array_equal(value, old)
    losses = trainer.compute_losses(batch, training=False)
    assert set(report) == {"loss", *LOSSES}
    for name, value in losses.items():
        assert float(report[name]) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("loss_mean", ["images", "batch"])
def test_a_validation_loss_does_not_depend_on_the_batches(make_trainer, loss_mean):
    # The second image is so small that most of its anchors are left out, and fewer are sampled:
    # the mean over all samples of the batch would be another one.
    trainer = make_trainer(loss_mean=loss_mean)
    batch = make_batch([TWO_IMAGES[0], [[2, 3, 10, 11]]])
    batch["image_sizes"] = tf.constant([[64.0, 96.0], [12.0, 12.0]])
    together = trainer.test_step(batch)
    alone = [
        trainer.test_step({name: value[row : row + 1] for name, value in batch.items()})
        for row in range(2)
    ]
    of_samples = trainer.compute_losses(batch, training=False, loss_mean="batch")
    for name in ("loss", *LOSSES):
        mean = (float(alone[0][name]) + float(alone[1][name])) / 2
        assert float(together[name]) == pytest.approx(mean, rel=1e-4), name
    differences = [abs(float(of_samples[name]) - float(together[name])) for name in LOSSES]
    assert max(differences) > 1e-3


def test_calling_the_trainer_detects(make_trainer):
    trainer, batch = make_trainer(), make_batch([[]])
    inputs = (batch["images"], batch["image_sizes"])
    for name, value in trainer.network(inputs).items():
        np.testing.assert_allclose(trainer(inputs)[name], value, atol=1e-5)
