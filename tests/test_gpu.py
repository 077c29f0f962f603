"""What only a GPU can show: that it gives what the processor gives, in each way of computing.

Skipped where TensorFlow sees no GPU. `TF_FRCNN_GPU_TESTS=CPU pytest -m gpu` runs them with the
processor in the place of the GPU: a trial of the tests themselves, of which nothing else follows.
"""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import GPU_KIND
from tests.workers import EVERY_PROPOSAL, ROOT, finish, read_checkpoint, start_train
from tf_frcnn.commands.train import parse_arguments
from tf_frcnn.model import FasterRCNN
from tf_frcnn.ops.roi_pool import MULTISCALE_ROI_OPS, ROI_OPS
from tf_frcnn.training.trainer import FasterRCNNTrainer

pytestmark = pytest.mark.gpu

GPU = f"/{GPU_KIND}:0"
# float32 sums in another order; TensorFloat-32, whose products have three digits, is off.
TOLERANCE = 1e-4
BATCH = {
    "image_sizes": np.float32([[64, 96], [64, 80]]),
    "gt_boxes": np.float32([[[8, 10, 40, 70], [20, 50, 60, 90]], [[5, 5, 50, 30], [0, 0, 0, 0]]]),
    "gt_classes": np.int32([[2, 1], [3, 0]]),
    "seeds": np.int32([[0, 0], [0, 1]]),
}


# === Comparisons ===


@pytest.fixture(autouse=True)
def without_tensor_float_32():
    """Have products in full float32, which is what is compared."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.fixture(scope="module")
def config(tiny_config):
    """Configure a network and steps in which no order of nearly equal scores decides."""
    options = parse_arguments(["finetune", *EVERY_PROPOSAL]).config
    names = ("rpn_pre_nms_top_k", "rpn_post_nms_top_k", "roi_batch_size", "roi_positive_fraction")
    train = {name: getattr(options.train, name) for name in names}
    return dataclasses.replace(
        tiny_config,
        model=dataclasses.replace(tiny_config.model, rpn_nms_iou=1.0),
        train=dataclasses.replace(
            tiny_config.train, warmup_steps=0, learning_rate=0.01, weight_decay=0.0, **train
        ),
    )


def images():
    """Draw two padded images [2, 64, 96, 3], 0-255."""
    drawn = np.random.default_rng(0).uniform(0, 255, [2, 64, 96, 3]).astype(np.float32)
    drawn[1, :, 80:] = 0
    return drawn


def take_steps(config, device, count=2, **options):
    """Train for some steps on a device -> losses of each, weights before and after."""
    keras.utils.set_random_seed(0)
    train = dataclasses.replace(config.train, **options)
    with tf.device(device):
        network = FasterRCNN(config.model, 3, train.precision)
        trainer = FasterRCNNTrainer(network, train)
        batch = {"images": tf.constant(images())} | {k: tf.constant(v) for k, v in BATCH.items()}
        before = network.get_weights()
        step = tf.function(trainer.train_step)
        losses = [{name: float(value) for name, value in step(batch).items()} for _ in range(count)]
        kernel = tf.convert_to_tensor(network.get_layer("rpn_head").conv.kernel)
    assert device.strip("/") in kernel.device
    return losses, before, network.get_weights()


def changes(before, after):
    """Join what the steps changed in all weights."""
    return np.concatenate([(b - a).ravel() for a, b in zip(before, after, strict=True)])


def assert_same_steps(ours, theirs, tolerance):
    """Compare losses, relative, and changes of weights, relative to the largest."""
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=tolerance, atol=1e-6)
    moved, expected = changes(*ours[1:]), changes(*theirs[1:])
    largest = np.abs(expected).max()
    assert largest > 1e-4  # the steps did something
    # Momentum and two steps double it; a ReLU on its edge may fall on the other side.
    np.testing.assert_allclose(moved, expected, rtol=0, atol=10 * tolerance * largest)


# === Training ===


@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_are_the_processors(config, jit_compile):
    ours = take_steps(config, GPU, jit_compile=jit_compile)
    assert_same_steps(ours, take_steps(config, "/CPU:0"), TOLERANCE)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_steps_in_mixed_precision_are_near_those_in_float32(config, precision):
    losses, before, after = take_steps(config, GPU, precision=precision)
    expected, _, _ = take_steps(config, "/CPU:0")
    # Eight bits are a share of 2 ** -8 each; the first step is from equal weights.
    for name, value in expected[0].items():
        assert losses[0][name] == pytest.approx(value, rel=0.05, abs=0.01)
    assert all(np.isfinite(list(one.values())).all() for one in losses)
    assert np.abs(changes(before, after)).max() > 1e-5


def train_command(folder, voc_folder, tiny_options, *more):
    """Run train.py whole -> the arrays of its last checkpoint."""
    folder.mkdir()
    options = [*tiny_options, "--data.root", voc_folder, "--data.test-split", "none", *more]
    options += ["--output", folder / "run", "--export-dir", folder / "exported"]
    ((status, output),) = finish([start_train(options, folder)])
    assert status == 0, output
    return read_checkpoint(folder / "run" / "checkpoints" / "step-00000004.h5")


def test_deterministic_trainings_have_the_same_bits(tmp_path, voc_folder, tiny_options):
    first, second = (
        train_command(tmp_path / name, voc_folder, tiny_options, "--train.deterministic")
        for name in ("first", "second")
    )
    assert first.keys() == second.keys() and first
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_replicas_on_two_halves_of_a_gpu_train_as_one(voc_folder):
    command = [sys.executable, "-m", "tests.training.two_devices", GPU_KIND, str(voc_folder), "3"]
    command += ["--train.clip-norm", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    both = json.loads(done.stdout.splitlines()[-1])
    assert both["replicas"] == [1, 2]
    assert both["losses"][1] == pytest.approx(both["losses"][0], rel=10 * TOLERANCE)
    assert both["difference"] < TOLERANCE < both["change"]


# === Operators ===


def pooled_with_gradient(pool, maps, boxes, *options):
    """Pool maps -> the features, and what a gradient of many values gives the maps."""
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = pool(maps, boxes, *options)
        weights = tf.reshape(tf.linspace(-1.0, 1.0, tf.size(pooled)), tf.shape(pooled))
        total = tf.reduce_sum(pooled * weights)
    gradient = tape.gradient(total, maps)
    return [pooled, *(tf.convert_to_tensor(one) for one in tf.nest.flatten(gradient))]


def boxes_of_all_kinds(random):
    """Draw [2, 40, 4] boxes in 160 x 240 pixels, over its edges, and two empty ones."""
    corners = random.uniform(-20, 200, (2, 40, 2, 2))
    boxes = np.concatenate([corners.min(2), corners.max(2)], -1)
    boxes[:, -2:] = 0
    return tf.constant(boxes, tf.float32)


def assert_same_on_both(run):
    with tf.device(GPU):
        ours = run()
    with tf.device("/CPU:0"):
        theirs = run()
    assert GPU.strip("/") in ours[0].device and "CPU:0" in theirs[0].device
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", sorted(ROI_OPS))
def test_pooling_and_its_gradient_are_the_processors(name):
    random = np.random.default_rng(1)
    features = tf.constant(random.permutation(2 * 10 * 15 * 8).reshape(2, 10, 15, 8) / 2400.0)
    features, boxes = tf.cast(features, tf.float32), boxes_of_all_kinds(random)
    pool = tf.function(lambda maps, rois: pooled_with_gradient(ROI_OPS[name], maps, rois, 16))
    assert_same_on_both(lambda: pool(tf.identity(features), tf.identity(boxes)))


@pytest.mark.parametrize("name", sorted(MULTISCALE_ROI_OPS))
def test_pooling_of_several_maps_and_its_gradient_are_the_processors(name):
    random = np.random.default_rng(2)
    maps = [
        tf.constant(random.normal(size=(2, 160 // stride, 240 // stride, 8)), tf.float32)
        for stride in (4, 8, 16, 32)
    ]
    boxes = boxes_of_all_kinds(random)
    pool = tf.function(
        lambda maps, rois: pooled_with_gradient(
            MULTISCALE_ROI_OPS[name], maps, rois, (4, 8, 16, 32)
        )
    )
    assert_same_on_both(lambda: pool([tf.identity(one) for one in maps], tf.identity(boxes)))
