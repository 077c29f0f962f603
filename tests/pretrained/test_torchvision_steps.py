"""Losses, gradients and training steps of torchvision's detectors, with its own proposals.

The fixtures hold what torchvision itself did (`tests/fixtures/make_torchvision_fixtures.py`) with a
batch of two sizes, when sampling takes all anchors and RoIs.
"""

import json

import numpy as np
import pytest

from tests.fixtures.seeded import NUM_COLUMNS, calm, kept_places, named_layers, small_steps
from tests.pretrained.steps import run_steps
from tests.pretrained.test_torchvision import FIXTURES, NAMES, seeded_state
from tf_frcnn.model import FasterRCNN
from tf_frcnn.pretrained.torchvision import load_state_dict


@pytest.fixture(scope="module", params=NAMES)
def both(request):
    """Give a detector's name, what torchvision did, and what is done here."""
    name = request.param
    with np.load(FIXTURES / f"torchvision_{name}.npz") as file:
        shapes = json.loads(str(file["shapes"]))
    with np.load(FIXTURES / f"torchvision_{name}_steps.npz") as file:
        theirs = dict(file)
    state = seeded_state(shapes)
    calm(state)
    network = FasterRCNN.from_preset(name, NUM_COLUMNS - 1)
    load_state_dict(network, state, "seeded")
    proposals = {key: value for key, value in theirs.items() if key.startswith("proposals")}
    return name, theirs, run_steps(network, small_steps(name), proposals)


def test_losses_of_every_step(both):
    _, theirs, ours = both
    np.testing.assert_allclose(ours["losses"][0], theirs["losses"][0], rtol=1e-5)
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-3)
    assert ours["losses"][-1].sum() < 0.98 * ours["losses"][0].sum()


@pytest.mark.parametrize("kind", ["gradient", "change"])
def test_gradients_and_what_three_steps_change(both, kind):
    name, theirs, ours = both
    for parameter in named_layers(name):
        key = f"{kind}/{parameter}"
        found = ours[key].reshape(-1)[kept_places(key, ours[key].size)]
        limit = 1e-3 * float(theirs[f"{key}/largest"])
        assert np.count_nonzero(np.abs(theirs[key]) > limit) > 100
        np.testing.assert_allclose(found, theirs[key], rtol=0, atol=limit, err_msg=key)


@pytest.mark.parametrize("kind", ["gradient", "change"])
def test_every_parameter_is_trained_as_much(both, kind):
    # Rounding turns single ReLUs over, which a norm hardly feels.
    _, theirs, ours = both
    norms = {key.removesuffix("/norm"): value for key, value in theirs.items() if "/norm" in key}
    keys = {key for key in ours if key.startswith(kind)}
    assert keys == {key for key in norms if key.startswith(kind)} and len(keys) > 60
    for key in sorted(keys):
        assert np.linalg.norm(ours[key]) == pytest.approx(float(norms[key]), rel=5e-3), key
