"""Two replicas train as one device does: the same global batches, the same weights."""

import json
import os
import subprocess
import sys

import pytest

from tests.training.test_ignored_boxes import make_difficult
from tests.workers import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def train_both(tmp_path_factory):
    """Train some steps on one logical device and on two, in another process."""
    from tests.conftest import write_voc_folder

    folder = write_voc_folder(tmp_path_factory.mktemp("replicas") / "voc")

    def train(*options, folder=folder, steps=10):
        command = [sys.executable, "-m", "tests.training.two_devices", "CPU"]
        command += [str(folder), str(steps), *options]
        without_gpus = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(
            command, cwd=ROOT, env=without_gpus, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return train


@pytest.fixture(scope="module")
def both(train_both):
    return train_both("--train.clip-norm", "1")


def test_two_replicas_end_at_the_weights_of_one_device(both):
    # Gradients of every step are clipped, so that a norm of half of them would show; batch
    # normalisation is trained, so that means over half of the images would show.
    assert both["replicas"] == [1, 2]
    assert both["difference"] < 1e-5
    assert both["change"] > 1e-3


def test_losses_are_means_over_all_replicas(both):
    assert len(both["losses"][0]) == 10
    assert both["losses"][1] == pytest.approx(both["losses"][0], rel=1e-4)


@pytest.mark.release
def test_losses_over_the_batch_count_the_samples_of_all_replicas(train_both):
    # Fewer anchors of an image are inside it than are to be drawn, so that images differ.
    both = train_both("--train.loss-mean", "batch", "--train.rpn-batch-size", "1000")
    assert both["replicas"] == [1, 2]
    assert both["difference"] < 1e-5
    assert both["losses"][1] == pytest.approx(both["losses"][0], rel=1e-4)


@pytest.mark.release
def test_the_scale_of_a_loss_in_float16_is_taken_out_once(train_both):
    # Not clipped, which would hide a gradient that is scaled. Activations have 11 bits, so that
    # another order of additions shows in one of two thousand parts of how far the weights went; a
    # gradient counted twice, or half of it, would be the whole way or half of it.
    both = train_both("--train.precision", "mixed_float16")
    assert both["replicas"] == [1, 2]
    assert both["difference"] < 0.01 * both["change"]
    assert both["losses"][1] == pytest.approx(both["losses"][0], rel=1e-3)


@pytest.mark.release
def test_replicas_compile_with_frozen_normalisation(train_both):
    # Images of several sizes are padded to one: each is compiled anew, for minutes.
    options = ("--train.jit-compile", "--train.normalization", "frozen", "--data.pad-to", "128")
    both = train_both(*options, "--train.learning-rate", "1e-4", steps=4)
    assert both["replicas"] == [1, 2]
    assert both["difference"] < 1e-5
    assert both["losses"][1] == pytest.approx(both["losses"][0], rel=1e-4)


@pytest.mark.release
def test_replicas_ignore_what_is_inside_of_difficult_boxes_as_one_device_does(
    train_both, voc_folder
):
    make_difficult(voc_folder)  # in every other image: replicas pad their numbers by themselves
    # Clipped as above: ten free steps turn the last digits of sums into 3e-5 on some processors.
    clipped = ("--train.clip-norm", "1")
    both = train_both("--train.ignore-crowd-overlap", "0.3", *clipped, folder=voc_folder)
    assert both["replicas"] == [1, 2]
    assert both["difference"] < 1e-5
    assert both["change"] > 1e-3
    assert both["losses"][1] == pytest.approx(both["losses"][0], rel=1e-4)
    off = train_both(*clipped, folder=voc_folder)
    assert off["losses"][0] != pytest.approx(both["losses"][0], rel=1e-3)
