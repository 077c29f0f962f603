"""torchvision's weights in the network here: every stage, and what files may be.

The fixtures hold what torchvision itself answered (`tests/fixtures/make_torchvision_fixtures.py`);
weights are drawn anew from their keys.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.seeded import (
    NUM_COLUMNS,
    SMALL_SIZES,
    UNUSED,
    all_images,
    kept_places,
    seeded_array,
)
from tests.pretrained.stages import run_stages
from tf_frcnn.model import FasterRCNN
from tf_frcnn.pretrained.torchvision import load_state_dict

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAMES = ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2")
SHORT_SIDE, LONG_SIDE = 64, 128
# torchvision's counts of what is trained, normalisation included; Keras counts statistics too.
TRAINED = {
    "fasterrcnn_resnet50_fpn": 41_808_406,
    "fasterrcnn_resnet50_fpn_v2": 43_712_278,
}


def seeded_state(shapes):
    state = {key: seeded_array(key, shape) for key, shape in shapes.items()}
    state["roi_heads.box_predictor.cls_score.bias"][list(UNUSED)] = -30.0
    return state


class Case:
    """A detector with seeded weights, and what torchvision answered with the same."""

    def __init__(self, name):
        with np.load(FIXTURES / f"torchvision_{name}.npz") as file:
            self.answers = dict(file)
        self.name = name
        self.shapes = json.loads(str(self.answers.pop("shapes")))
        self.network = FasterRCNN.from_preset(name, NUM_COLUMNS - 1, rpn_post_nms_top_k=40)
        load_state_dict(self.network, seeded_state(self.shapes), "seeded")


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    return Case(request.param)


@pytest.mark.parametrize("batch", SMALL_SIZES)
def test_every_stage_answers_what_torchvisions_does(case, batch):
    images = all_images(SMALL_SIZES)[batch]
    theirs = {
        key.removeprefix(f"{batch}/"): value
        for key, value in case.answers.items()
        if key.startswith(f"{batch}/")
    }
    proposals = [theirs[f"proposals{number}"] for number in range(len(images))]
    ours = run_stages(case.network, images, SHORT_SIDE, LONG_SIDE, proposals)
    np.testing.assert_array_equal(ours.pop("image_sizes"), theirs.pop("image_sizes"))
    np.testing.assert_array_equal(ours.pop("anchors"), theirs.pop("anchors"))
    for number in range(len(images)):
        found = ours.pop(f"proposals{number}")
        expected = theirs.pop(f"proposals{number}")
        assert len(found) == len(expected) == 40
        np.testing.assert_allclose(found, expected, atol=2e-3)
        np.testing.assert_array_equal(ours.pop(f"labels{number}"), theirs.pop(f"labels{number}"))
        assert len(theirs[f"scores{number}"]) > 5
        np.testing.assert_allclose(
            ours.pop(f"scores{number}"), theirs.pop(f"scores{number}"), atol=1e-5
        )
        np.testing.assert_allclose(
            ours.pop(f"boxes{number}"), theirs.pop(f"boxes{number}"), atol=5e-3
        )
    stages = [key for key in theirs if "/" not in key]
    assert sorted(stages) == sorted(ours)
    for stage in stages:
        assert ours[stage].shape == tuple(theirs[f"{stage}/shape"])
        kept = ours[stage].reshape(-1)[kept_places(f"{batch}/{stage}", ours[stage].size)]
        limit = 1e-4 * float(theirs[f"{stage}/largest"])
        np.testing.assert_allclose(kept, theirs[stage], rtol=0, atol=limit, err_msg=stage)
