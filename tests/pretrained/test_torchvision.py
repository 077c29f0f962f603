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
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.errors import WeightsError
from tf_frcnn.model import FasterRCNN
from tf_frcnn.pretrained.torchvision import find_key, load_state_dict

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAMES = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
)
SHORT_SIDE, LONG_SIDE = 64, 128
# torchvision's counts of what is trained, normalisation included; Keras counts statistics too.
TRAINED = {
    "fasterrcnn_resnet50_fpn": 41_808_406,
    "fasterrcnn_resnet50_fpn_v2": 43_712_278,
    "fasterrcnn_mobilenet_v3_large_fpn": 19_410_754,
}


OTHER_EPSILON = 1e-3


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


@pytest.fixture
def state(case):
    return seeded_state(case.shapes)


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
        assert len(found) == len(expected) > 10
        np.testing.assert_allclose(found, expected, atol=2e-3)
        # Label, score and box in a row each; scores that are as good as equal change places.
        found, expected = (
            np.concatenate(
                [
                    answers.pop(f"labels{number}")[:, None],
                    1000 * answers.pop(f"scores{number}")[:, None],
                    answers.pop(f"boxes{number}"),
                ],
                axis=1,
            )
            for answers in (ours, theirs)
        )
        assert len(found) == len(expected) > 5
        distances = np.abs(found[:, None] - expected[None]).max(axis=2)
        nearest = distances.argmin(axis=0)
        assert sorted(nearest) == list(range(len(found)))
        np.testing.assert_allclose(found[nearest, :2], expected[:, :2], atol=0.02)
        # RoIs within one cell of stride 32 have the same features, and so the same scores: which of
        # them NMS keeps is open.
        for row in np.flatnonzero(distances.min(axis=0) >= 0.02):
            logits = ours["class_logits"][:, int(expected[row, 0])]
            scores = softmax(ours["class_logits"])[:, int(expected[row, 0])]
            twins = np.abs(1000 * scores - expected[row, 1]) < 0.01
            assert twins.sum() > 1 and np.ptp(logits[twins]) < 1e-4
    stages = [key for key in theirs if "/" not in key]
    assert sorted(stages) == sorted(ours)
    for stage in stages:
        assert ours[stage].shape == tuple(theirs[f"{stage}/shape"])
        kept = ours[stage].reshape(-1)[kept_places(f"{batch}/{stage}", ours[stage].size)]
        limit = 1e-4 * float(theirs[f"{stage}/largest"])
        np.testing.assert_allclose(kept, theirs[stage], rtol=0, atol=limit, err_msg=stage)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_parameters_are_as_many_as_published(case):
    statistics = sum(
        weight.shape[0]
        for name, weight in named_weights(case.network).items()
        if name.split("/")[1].startswith("moving_")
    )
    assert case.network.count_params() - statistics == TRAINED[case.name]


def test_every_variable_has_a_key_of_its_own(case):
    names = named_weights(case.network)
    keys = {find_key(name, case.network.box_head.num_fcs) for name in names}
    assert len(keys) == len(names)
    assert keys == {key for key in case.shapes if not key.endswith("num_batches_tracked")}


SMALLEST = pytest.mark.parametrize("case", NAMES[-1:], indirect=True)
OLDEST = pytest.mark.parametrize("case", NAMES[:1], indirect=True)


@SMALLEST
def test_unused_columns_take_part_in_the_softmax_and_are_no_class(case):
    options = {"rpn_post_nms_top_k": 40, "unused_columns": UNUSED}
    network = FasterRCNN.from_preset(case.name, NUM_COLUMNS - 1 - len(UNUSED), **options)
    load_state_dict(network, seeded_state(case.shapes), "seeded")
    images = all_images(SMALL_SIZES)["lying"]
    ours = run_stages(network, images, SHORT_SIDE, LONG_SIDE)
    assert ours["class_logits"].shape == (40, NUM_COLUMNS)
    # torchvision's labels are columns; classes here are counted without those that nothing has.
    columns = [one for one in range(1, NUM_COLUMNS) if one not in UNUSED]
    labels = np.array(columns)[ours["labels0"] - 1]
    np.testing.assert_array_equal(labels, case.answers["lying/labels0"])
    np.testing.assert_allclose(ours["scores0"], case.answers["lying/scores0"], atol=1e-5)


@OLDEST
def test_keys_of_older_versions_and_counters_of_batches(case, state):
    before = weights_of(case.network)
    old = {
        key.replace("_blocks.0.0.", "_blocks.0.")
        .replace("_blocks.1.0.", "_blocks.1.")
        .replace("_blocks.2.0.", "_blocks.2.")
        .replace("_blocks.3.0.", "_blocks.3.")
        .replace("head.conv.0.0.", "head.conv."): value
        for key, value in state.items()
    }
    old["backbone.body.bn1.num_batches_tracked"] = np.array(7)
    load_state_dict(case.network, old, "old")
    assert_same(before, weights_of(case.network))


@OLDEST
def test_another_epsilon_is_made_up_for_by_the_scale(case, state):
    """Frozen, (x - mean) / sqrt(var + eps) * scale is the same with either pair of the two."""
    load_state_dict(case.network, state, "seeded", epsilon=OTHER_EPSILON)
    layer = case.network.backbone.get_layer("bn_layer1_0_conv2")
    x = np.random.default_rng(0).normal(0, 2, (2, 3, 3, 64)).astype(np.float32)
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, scale, shift = (state[f"backbone.body.layer1.0.bn2.{name}"] for name in names)
    expected = (x - mean) / np.sqrt(var + OTHER_EPSILON) * scale + shift
    np.testing.assert_allclose(layer(x, training=False), expected, atol=1e-5)
    load_state_dict(case.network, state, "seeded")


@OLDEST
def test_a_variance_that_cannot_be_divided_by_is_named(case, state):
    before = weights_of(case.network)
    variance = state["backbone.body.layer1.0.bn2.running_var"]
    message = r"a.pth: backbone.body.layer1.0.bn2.running_var goes down to {}, which .* of {} can"
    variance[3] = 0.0  # sqrt((0 + 1e-5) / 0)
    with pytest.raises(WeightsError, match=message.format(0, 0)):
        load_state_dict(case.network, state, "a.pth", epsilon=0.0)
    variance[3] = -1e-3
    with pytest.raises(WeightsError, match=message.format("-0.001", "1e-05")):
        load_state_dict(case.network, state, "a.pth")
    assert_same(before, weights_of(case.network))


@SMALLEST
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("rpn.head.bbox_pred.bias"),
            r"a.pth: lacks rpn.head.bbox_pred.bias. Expected the weights",
        ),
        (
            lambda state: state.update({"backbone.body.fc.weight": np.zeros(3)}),
            r"a.pth: has, beyond what the network holds, backbone.body.fc.weight. Expected",
        ),
        (
            lambda state: state.update(
                {"roi_heads.box_predictor.cls_score.weight": np.zeros((4, 1024), np.float32)}
            ),
            r"a.pth: roi_heads.box_predictor.cls_score.weight has the shape \(4, 1024\), which is "
            r"\(1024, 4\) here; the network's box_classes/kernel has \(1024, 91\)",
        ),
        (
            lambda state: state["backbone.body.0.0.weight"].fill(np.nan),
            r"a.pth: backbone.body.0.0.weight holds numbers that are NaN or infinite",
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(case, state, change, message):
    before = weights_of(case.network)
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_state_dict(case.network, state, "a.pth")
    assert_same(before, weights_of(case.network))


def weights_of(network):
    return {name: np.asarray(value).copy() for name, value in named_weights(network).items()}


def assert_same(before, after):
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
