"""The losses: by hand, against loops, and their gradients against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tf_frcnn.training.losses import box_loss, classification_loss, smooth_l1

HUGE = 1e20


def gradient_of(function, point):
    point = tf.constant(point)
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = function(point)
    return tape.gradient(value, point).numpy()


def test_smooth_l1_worked_by_hand():
    # Sigma 1: 0.5 * 0.5^2 = 0.125; at the knee 1 - 0.5 = 0.5; 3 - 0.5 = 2.5.
    values = smooth_l1(tf.constant([0.0, 0.5, -0.5, 1.0, -1.0, 3.0]), 1.0)
    np.testing.assert_allclose(values, [0, 0.125, 0.125, 0.5, 0.5, 2.5])
    # Sigma 3, knee at 1/9: 0.5 * 9 * 0.1^2 = 0.045; at 1/9: 1/9 - 1/18 = 1/18; 1 - 1/18 = 17/18.
    values = smooth_l1(tf.constant([0.1, 1 / 9, -1.0]), 3.0)
    np.testing.assert_allclose(values, [0.045, 1 / 18, 17 / 18], rtol=1e-6)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_smooth_l1_gradient_equals_finite_differences(sigma):
    knee = 1 / sigma**2
    points = [0.0, 1e-3, -1e-3, 0.5 * knee, -0.5 * knee, knee, -knee]
    points += [0.999 * knee, 1.001 * knee, -0.999 * knee, -1.001 * knee, 2 * knee, -5.0]
    points = np.array(points)

    def total(values):
        return sum(oracles.smooth_l1(value, sigma) for value in values)

    # Across the knee the slope changes by sigma^2 * step at most.
    expected = oracles.numerical_gradient(total, points, 1e-7)
    computed = gradient_of(lambda x: smooth_l1(x, sigma), points)
    np.testing.assert_allclose(computed, expected, atol=2e-6)
    np.testing.assert_allclose(smooth_l1(points, sigma), [total([x]) for x in points], atol=1e-12)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_smooth_l1_of_huge_differences_has_a_gradient_of_one(sigma):
    points = np.array([HUGE, -HUGE, 3e38, -3e38], np.float32)
    assert np.isfinite(smooth_l1(tf.constant(points), sigma)).all()
    gradient = gradient_of(lambda x: smooth_l1(x, sigma), points)
    np.testing.assert_array_equal(gradient, [1, -1, 1, -1])


def test_classification_loss_is_the_mean_of_samples_then_of_pictures():
    # Picture 0: two samples, -log 0.25 and -log 0.5, mean (1.386294 + 0.693147) / 2 = 1.039721.
    # Picture 1: one sample, -log 0.75 = 0.287682, and one of padding. Mean 0.663701.
    probabilities = np.array([[[0.25, 0.75], [0.5, 0.5]], [[0.25, 0.75], [0.01, 0.99]]])
    loss = classification_loss(
        tf.constant(np.log(probabilities), tf.float32),
        tf.constant([[0, 1], [1, 0]]),
        tf.constant([[1.0, 1.0], [1.0, 0.0]]),
    )
    assert float(loss) == pytest.approx(0.663701, abs=1e-6)


def test_box_loss_is_the_sum_of_objects_over_the_number_of_samples():
    # Sample 0 is an object with errors 0.5, 0, 2, 0: 0.125 + 1.5 = 1.625; sample 1 is background,
    # sample 2 padding: 1.625 / 2 = 0.8125 in picture 0; nothing in picture 1: mean 0.40625.
    deltas = np.zeros((2, 3, 4), np.float32)
    deltas[0] = [[0.5, 1, 2, 1], [7, 7, 7, 7], [7, 7, 7, 7]]
    targets = np.zeros((2, 3, 4), np.float32)
    targets[0, 0] = [0, 1, 0, 1]
    loss = box_loss(
        tf.constant(deltas),
        tf.constant(targets),
        tf.constant([[1.0, 0, 0], [0, 0, 0]]),
        tf.constant([[1.0, 1, 0], [1, 1, 1]]),
        1.0,
    )
    assert float(loss) == pytest.approx(0.40625)


def random_mini_batch():
    """Two pictures of three samples with four classes; the last sample is padding."""
    rng = np.random.default_rng(0)
    return {
        "logits": rng.normal(size=(2, 3, 4)),
        "classes": np.array([[1, 0, 0], [3, 2, 0]]),
        "deltas": rng.normal(0, 0.6, (2, 3, 4)),
        "targets": rng.normal(0, 0.6, (2, 3, 4)),
        "positives": np.array([[1.0, 0, 0], [1, 1, 0]]),
        "weights": np.array([[1.0, 1, 0], [1, 1, 0]]),
    }


def test_classification_loss_and_gradient_equal_the_loop():
    batch = random_mini_batch()

    def loop(logits):
        probabilities = oracles.softmax(logits)
        pictures = [
            sum(-np.log(probabilities[b, s, batch["classes"][b, s]]) for s in range(2)) / 2
            for b in range(2)
        ]
        return sum(pictures) / 2

    def ours(logits):
        return classification_loss(logits, batch["classes"], batch["weights"])

    assert float(ours(batch["logits"])) == pytest.approx(loop(batch["logits"]))
    expected = oracles.numerical_gradient(loop, batch["logits"], 1e-5)
    np.testing.assert_allclose(gradient_of(ours, batch["logits"]), expected, atol=1e-8)
    assert not expected[:, 2].any()  # padding


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_box_loss_and_gradient_equal_the_loop(sigma):
    batch = random_mini_batch()

    def loop(deltas):
        total = 0.0
        for b, s in ((0, 0), (1, 0), (1, 1)):  # the objects
            errors = deltas[b, s] - batch["targets"][b, s]
            total += sum(oracles.smooth_l1(error, sigma) for error in errors) / 2 / 2
        return total

    def ours(deltas):
        return box_loss(deltas, batch["targets"], batch["positives"], batch["weights"], sigma)

    assert float(ours(batch["deltas"])) == pytest.approx(loop(batch["deltas"]))
    expected = oracles.numerical_gradient(loop, batch["deltas"], 1e-6)
    np.testing.assert_allclose(gradient_of(ours, batch["deltas"]), expected, atol=1e-7)


def test_without_samples_losses_and_gradients_are_zero():
    nothing = tf.zeros([2, 3])

    def classify(logits):
        return classification_loss(logits, tf.zeros([2, 3], tf.int32), nothing)

    def regress(deltas):
        return box_loss(deltas, tf.zeros([2, 3, 4]), nothing, nothing, 3.0)

    ones = np.ones((2, 3, 4), np.float32)
    for function in (classify, regress):
        assert float(function(ones)) == 0.0
        np.testing.assert_array_equal(gradient_of(function, ones), np.zeros((2, 3, 4)))


def test_huge_outputs_give_finite_losses_and_gradients():
    # A difference of 1e20 in a background row must not spoil the mask (0 * inf is NaN).
    positives, weights = tf.constant([[1.0, 0.0]]), tf.ones([1, 2])
    huge = np.full((1, 2, 4), HUGE, np.float32)

    def regress(deltas):
        return box_loss(deltas, tf.zeros([1, 2, 4]), positives, weights, 3.0)

    def classify(logits):
        return classification_loss(logits, tf.constant([[3, 0]]), weights)

    assert np.isfinite(regress(huge))
    # One object of two samples: 1 / 2 for each of its four numbers.
    np.testing.assert_array_equal(gradient_of(regress, huge), [[[0.5] * 4, [0.0] * 4]])
    logits = huge * [1.0, -1.0, 0.5, 0.0]
    logits = logits.astype(np.float32)
    assert np.isfinite(classify(logits)) and np.isfinite(gradient_of(classify, logits)).all()
