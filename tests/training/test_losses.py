"""The losses: by hand, against loops, and their gradients against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tf_frcnn.training.losses import (
    GIOU_WEIGHT,
    box_loss,
    classification_loss,
    giou_loss,
    objectness_loss,
    samples_an_image,
    smooth_l1,
)

HUGE = 1e20
STD = (0.1, 0.1, 0.2, 0.2)


def own(weights):
    """Count each image's own samples."""
    return samples_an_image(tf.constant(weights, tf.float32), "images")


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


def test_classification_loss_is_the_mean_of_samples_then_of_images():
    # Image 0: two samples, -log 0.25 and -log 0.5, mean (1.386294 + 0.693147) / 2 = 1.039721.
    # Image 1: one sample, -log 0.75 = 0.287682, and one of padding. Mean 0.663701.
    probabilities = np.array([[[0.25, 0.75], [0.5, 0.5]], [[0.25, 0.75], [0.01, 0.99]]])
    loss = classification_loss(
        tf.constant(np.log(probabilities), tf.float32),
        tf.constant([[0, 1], [1, 0]]),
        tf.constant([[1.0, 1.0], [1.0, 0.0]]),
        own([[1, 1], [1, 0]]),
    )
    assert float(loss) == pytest.approx(0.663701, abs=1e-6)


def test_box_loss_is_the_sum_of_objects_over_the_number_of_samples():
    # Sample 0 is an object with errors 0.5, 0, 2, 0: 0.125 + 1.5 = 1.625; sample 1 is background,
    # sample 2 padding: 1.625 / 2 = 0.8125 in image 0; nothing in image 1: mean 0.40625.
    deltas = np.zeros((2, 3, 4), np.float32)
    deltas[0] = [[0.5, 1, 2, 1], [7, 7, 7, 7], [7, 7, 7, 7]]
    targets = np.zeros((2, 3, 4), np.float32)
    targets[0, 0] = [0, 1, 0, 1]
    loss = box_loss(
        tf.constant(deltas),
        tf.constant(targets),
        tf.constant([[1.0, 0, 0], [0, 0, 0]]),
        own([[1, 1, 0], [1, 1, 1]]),
        1.0,
    )
    assert float(loss) == pytest.approx(0.40625)


def test_over_the_batch_an_image_with_more_samples_weighs_more():
    # Image 0 has two samples, image 1 one: 1.5 an image. Over the batch -log 0.25, -log 0.5 and
    # -log 0.75 have the mean (1.386294 + 0.693147 + 0.287682) / 3 = 0.789041.
    weights = tf.constant([[1.0, 1.0], [1.0, 0.0]])
    samples = samples_an_image(weights, "batch")
    np.testing.assert_array_equal(samples, [1.5, 1.5])
    np.testing.assert_array_equal(samples_an_image(weights, "images"), [2, 1])
    probabilities = np.array([[[0.25, 0.75], [0.5, 0.5]], [[0.25, 0.75], [0.01, 0.99]]])
    logits = tf.constant(np.log(probabilities), tf.float32)
    loss = classification_loss(logits, tf.constant([[0, 1], [1, 0]]), weights, samples)
    assert float(loss) == pytest.approx(0.789041, abs=1e-6)
    # The RPN's is the same with the difference of the logits, where column 0 is the object.
    positives = tf.constant([[1.0, 0.0], [0.0, 0.0]])
    loss = objectness_loss(logits[..., 0] - logits[..., 1], positives, weights, samples)
    assert float(loss) == pytest.approx(0.789041, abs=1e-6)
    # One object, off by 2 in one number: (2 - 0.5) / 3.
    deltas = np.zeros((2, 2, 4), np.float32)
    deltas[0, 0, 0] = 2.0
    loss = box_loss(tf.constant(deltas), tf.zeros([2, 2, 4]), positives, samples, 1.0)
    assert float(loss) == pytest.approx(0.5)


def random_mini_batch():
    """Two images of three samples with four classes; the last sample is padding."""
    rng = np.random.default_rng(0)
    return {
        "logits": rng.normal(size=(2, 3, 4)),
        "classes": np.array([[1, 0, 0], [3, 2, 0]]),
        "deltas": rng.normal(0, 0.6, (2, 3, 4)),
        "targets": rng.normal(0, 0.6, (2, 3, 4)),
        "positives": np.array([[1.0, 0, 0], [1, 1, 0]]),
        "weights": np.array([[1.0, 1, 0], [1, 1, 0]]),
        "samples": np.array([2.0, 2.0]),
    }


def test_classification_loss_and_gradient_equal_the_loop():
    batch = random_mini_batch()

    def loop(logits):
        probabilities = oracles.softmax(logits)
        images = [
            sum(-np.log(probabilities[b, s, batch["classes"][b, s]]) for s in range(2)) / 2
            for b in range(2)
        ]
        return sum(images) / 2

    def ours(logits):
        return classification_loss(logits, batch["classes"], batch["weights"], batch["samples"])

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
        return box_loss(deltas, batch["targets"], batch["positives"], batch["samples"], sigma)

    assert float(ours(batch["deltas"])) == pytest.approx(loop(batch["deltas"]))
    expected = oracles.numerical_gradient(loop, batch["deltas"], 1e-6)
    np.testing.assert_allclose(gradient_of(ours, batch["deltas"]), expected, atol=1e-7)


def test_without_samples_losses_and_gradients_are_zero():
    nothing = tf.zeros([2, 3])

    def classify(logits):
        return classification_loss(logits, tf.zeros([2, 3], tf.int32), nothing, own(nothing))

    def regress(deltas):
        return box_loss(deltas, tf.zeros([2, 3, 4]), nothing, own(nothing), 3.0)

    ones = np.ones((2, 3, 4), np.float32)
    for function in (classify, regress):
        assert float(function(ones)) == 0.0
        np.testing.assert_array_equal(gradient_of(function, ones), np.zeros((2, 3, 4)))


def test_huge_outputs_give_finite_losses_and_gradients():
    # A difference of 1e20 in a background row must not spoil the mask (0 * inf is NaN).
    positives, weights = tf.constant([[1.0, 0.0]]), tf.ones([1, 2])
    huge = np.full((1, 2, 4), HUGE, np.float32)

    def regress(deltas):
        return box_loss(deltas, tf.zeros([1, 2, 4]), positives, own(weights), 3.0)

    def classify(logits):
        return classification_loss(logits, tf.constant([[3, 0]]), weights, own(weights))

    assert np.isfinite(regress(huge))
    # One object of two samples: 1 / 2 for each of its four numbers.
    np.testing.assert_array_equal(gradient_of(regress, huge), [[[0.5] * 4, [0.0] * 4]])
    logits = huge * [1.0, -1.0, 0.5, 0.0]
    logits = logits.astype(np.float32)
    assert np.isfinite(classify(logits)) and np.isfinite(gradient_of(classify, logits)).all()


# === Generalised IoU ===


def test_giou_loss_by_hand():
    # RoI 20 high, 40 wide. Offsets (1, 0, 0, 0) x 0.1 move it down by 2: 18 of 22 rows overlap, and
    # around both is just their union: GIoU 18 / 22. It is one of two samples of one of two
    # images, the others are background and padding: 5 * (1 - 18 / 22) / 2 / 2.
    rois = tf.constant([[[10.0, 20, 30, 60], [5, 6, 7, 9]], [[5, 5, 9, 9], [0, 0, 0, 0]]])
    deltas = np.zeros((2, 2, 4), np.float32)
    deltas[0, 0, 0], deltas[0, 1], deltas[1] = 1.0, 7.0, -3.0
    positives, samples = tf.constant([[1.0, 0], [0, 0]]), own([[1, 1], [1, 0]])
    loss = giou_loss(tf.constant(deltas), tf.zeros([2, 2, 4]), rois, positives, samples, STD)
    assert float(loss) == pytest.approx(GIOU_WEIGHT * (1 - 18 / 22) / 4, rel=1e-5)
    assert GIOU_WEIGHT == 5.0


def test_both_box_losses_pull_alike_at_the_target():
    # A box of 100 x 100 moved by d of its std, 10 d pixels: IoU (100 - 10 d) / (100 + 10 d), whose
    # slope at 0 is -0.2; smooth L1 of large d has the slope 1.
    one = tf.ones([1, 1])
    roi = tf.constant([[[0.0, 0, 100, 100]]])
    delta = np.array([[[1e-3, 0, 0, 0]]], np.float32)
    gradient = gradient_of(
        lambda x: giou_loss(x, tf.zeros([1, 1, 4]), roi, one, own(one), STD), delta
    )
    assert gradient[0, 0, 0] == pytest.approx(1.0, rel=1e-2)


def test_giou_loss_and_gradient_equal_the_loop():
    # Boxes that overlap their targets, lie in them, and lie apart from them.
    batch = random_mini_batch()
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 40, (2, 3, 2))
    rois = np.concatenate([corner, corner + rng.uniform(8, [20, 40], (2, 3, 2))], axis=-1)
    batch["deltas"][1, 1] += [60, 0, 0, 0]

    def loop(deltas):
        total = 0.0
        for b, s in ((0, 0), (1, 0), (1, 1)):  # the objects
            box = oracles.decode(deltas[b, s], rois[b, s], STD)
            target = oracles.decode(batch["targets"][b, s], rois[b, s], STD)
            total += 5 * (1 - oracles.giou(box, target)) / 2 / 2
        return total

    def ours(deltas):
        rest = (batch["targets"], rois, batch["positives"], batch["samples"], STD)
        return giou_loss(deltas, *rest)

    apart = oracles.iou(
        *(oracles.decode(batch[k][1, 1], rois[1, 1], STD) for k in ("deltas", "targets"))
    )
    assert apart == 0.0
    assert float(ours(batch["deltas"])) == pytest.approx(loop(batch["deltas"]))
    expected = oracles.numerical_gradient(loop, batch["deltas"], 1e-6)
    np.testing.assert_allclose(gradient_of(ours, batch["deltas"]), expected, atol=1e-7)
    assert np.abs(expected[1, 1, 0]) > 1e-3  # apart, and still drawn nearer


@pytest.mark.parametrize("size", [HUGE, -HUGE, 3e38])
def test_giou_of_huge_outputs_is_finite(size):
    # Of an object, of background, and of padding, whose RoI is empty.
    rois = tf.constant([[[10.0, 20, 30, 60], [0, 0, 900, 1400], [0, 0, 0, 0]]])
    positives, samples = tf.constant([[1.0, 0, 0]]), own([[1, 1, 0]])

    def loss(deltas):
        return giou_loss(deltas, tf.zeros([1, 3, 4]), rois, positives, samples, STD)

    huge = np.full((1, 3, 4), size, np.float32)
    assert np.isfinite(loss(huge)) and np.isfinite(gradient_of(loss, huge)).all()
