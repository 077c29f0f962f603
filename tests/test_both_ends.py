"""Weights saved with TensorFlow 2.15 and Keras 2 load with current ones, and the other way round.

TF_FRCNN_OTHER_PYTHON names the Python of the other environment; `nox` sets it.
"""

import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.other_end import momenta_of_run, outputs_of_model

OTHER_PYTHON = os.environ.get("TF_FRCNN_OTHER_PYTHON")
pytestmark = pytest.mark.skipif(
    OTHER_PYTHON is None,
    reason="TF_FRCNN_OTHER_PYTHON does not name the Python of another environment: see noxfile.py",
)


@pytest.fixture(scope="module")
def other_folder(finished_run, tmp_path_factory):
    """Let the other end read our run and our SavedModel, and make its own -> its folder."""
    folder = tmp_path_factory.mktemp("other")
    models = [finished_run.output, finished_run.export_dir]
    subprocess.run(
        [OTHER_PYTHON, "-m", "tests.other_end", folder, *models],
        cwd=Path(__file__).parents[1],
        check=True,
    )
    return folder


def assert_same(path, expected):
    """Compare with a file of the other end's; rounding differs between their kernels."""
    with np.load(path) as outputs:
        assert set(outputs.files) == set(expected)
        for name, value in expected.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(outputs[name], value, rtol=0, atol=1e-5 * scale)


def test_the_ends_are_two(other_folder):
    there = (other_folder / "keras.txt").read_text()
    assert sorted(version.split(".")[0] for version in (keras.__version__, there)) == ["2", "3"]


@pytest.mark.parametrize("number", [0, 1], ids=["checkpoint", "saved_model"])
def test_our_weights_give_the_same_outputs_there(finished_run, other_folder, number):
    assert_same(other_folder / f"{number}.npz", outputs_of_model(finished_run.output))


@pytest.mark.parametrize("model", ["run", "exported"])
def test_weights_of_there_give_the_same_outputs_here(other_folder, model):
    assert_same(other_folder / "run.npz", outputs_of_model(other_folder / model))


def test_a_run_of_there_goes_on_here_with_its_momenta(other_folder):
    momenta = momenta_of_run(other_folder / "run")
    assert any(np.any(momentum != 0) for momentum in momenta.values())
    with np.load(other_folder / "momenta.npz") as expected:
        assert set(expected.files) == set(momenta)
        for name, momentum in momenta.items():
            np.testing.assert_array_equal(momentum, expected[name], err_msg=name)
