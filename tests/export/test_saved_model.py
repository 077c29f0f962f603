"""The SavedModel as files: what travels in it, which version it becomes, what failures leave."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.config import load_config
from tf_frcnn.errors import UserError
from tf_frcnn.export import saved_model
from tf_frcnn.export.saved_model import export_saved_model


def fake_saving(monkeypatch, error=None):
    """Replace the slow parts of the export by a file, or by an error after half of it."""

    def save(module, path, signatures, options):
        with open(f"{path}/saved_model.pb", "w") as file:
            file.write("half")
        if error is not None:
            raise error

    monkeypatch.setattr(saved_model, "make_signatures", lambda *arguments: {})
    monkeypatch.setattr(saved_model.tf.saved_model, "save", save)


# === What is in it ===


def test_variables_are_kept_by_name(inference_model, exported):
    loaded = tf.saved_model.load(str(exported))
    assert set(loaded.weights) == {
        f"{layer.name}/{variable.name.split('/')[-1].removesuffix(':0')}"  # Keras 2: a/kernel:0
        for layer in inference_model.network._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False))
        for variable in layer.weights
    }
    kernel = inference_model.network.backbone.get_layer("block3_conv1").kernel
    np.testing.assert_array_equal(loaded.weights["block3_conv1/kernel"], kernel)


def test_constants_are_in_the_file_once_and_matrices_are_variables(
    inference_model, exported_frozen
):
    kernels = {"fc1/kernel", "fc2/kernel", "box_classes/kernel", "box_deltas/kernel"}
    loaded = tf.saved_model.load(str(exported_frozen))
    assert set(loaded.matrices) == kernels and not hasattr(loaded, "weights")
    np.testing.assert_array_equal(
        loaded.matrices["fc2/kernel"], inference_model.network.box_head.fc2.kernel
    )
    sizes = [int(np.prod(w.shape)) for w in inference_model.network.weights if len(w.shape) != 2]
    # The graph itself, without weights, is less than half a megabyte.
    constants = (exported_frozen / "saved_model.pb").stat().st_size - 4 * sum(sizes)
    assert 0 < constants < 500_000
    variables = sum(path.stat().st_size for path in (exported_frozen / "variables").iterdir())
    matrices = sum(
        int(np.prod(w.shape)) for w in inference_model.network.weights if len(w.shape) == 2
    )
    assert 0 < variables - 4 * matrices < 2000  # an index of names beside them


def test_configuration_labels_and_records_travel_along(exported, tiny_config):
    assets = exported / "assets"
    assert (assets / "labels.txt").read_text() == "cat\ndog\nduck\n"
    assert load_config(assets / "config.json") == tiny_config
    assert json.loads((assets / "dataset.json").read_text()) == {"root": "voc"}
    assert {path.name for path in assets.iterdir()} == {"labels.txt", "config.json", "dataset.json"}


def test_the_configuration_is_that_of_the_network(inference_model, tiny_config, tmp_path):
    # The thresholds of a run may be changed on the way to its export.
    changed = dataclasses.replace(tiny_config.model, max_detections=3)
    config = dataclasses.replace(tiny_config, model=changed)
    version = export_saved_model(inference_model, config, tmp_path)
    assert load_config(version / "assets" / "config.json") == tiny_config


# === Versions ===


def test_foreign_names_do_not_count(exported):
    assert exported.name == "1"
    names = {path.name for path in exported.parent.iterdir()}
    assert names == {"1", "notes", "7b", ".partial-3-left", "readme.txt"}
    inside = {path.name for path in exported.iterdir()}
    assert inside >= {"saved_model.pb", "variables", "assets", "assets.extra"}
    assert not any(name.startswith("tmp") for name in inside)


def test_a_server_may_read_the_folder(exported):
    assert exported.stat().st_mode & 0o777 == 0o755


def test_versions_count_up_from_the_highest(inference_model, tiny_config, tmp_path, monkeypatch):
    fake_saving(monkeypatch)
    names = [
        export_saved_model(inference_model, tiny_config, tmp_path / "new").name for _ in range(3)
    ]
    assert names == ["1", "2", "3"]
    (tmp_path / "new" / "41").mkdir()
    assert export_saved_model(inference_model, tiny_config, tmp_path / "new").name == "42"


def test_an_export_that_came_between_keeps_its_number(
    inference_model, tiny_config, tmp_path, monkeypatch
):
    def save_while_another_does(module, folder, *given):
        (Path(folder) / "saved_model.pb").touch()
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_text("another's")

    fake_saving(monkeypatch)
    monkeypatch.setattr(tf.saved_model, "save", save_while_another_does)
    assert export_saved_model(inference_model, tiny_config, tmp_path).name == "2"
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "another's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
)
def test_a_failure_leaves_the_versions_alone_and_nothing_half(
    inference_model, tiny_config, tmp_path, monkeypatch, error
):
    fake_saving(monkeypatch)
    export_saved_model(inference_model, tiny_config, tmp_path)
    fake_saving(monkeypatch, error)
    with pytest.raises(UserError, match=r"the SavedModel cannot be written \(.*No space.*--export"):
        export_saved_model(inference_model, tiny_config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").is_file()


def test_an_interrupt_leaves_nothing_half(inference_model, tiny_config, tmp_path, monkeypatch):
    fake_saving(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(inference_model, tiny_config, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_told(inference_model, tiny_config, tmp_path):
    (tmp_path / "exported").write_text("mine")
    with pytest.raises(UserError, match="exported: the SavedModel cannot be written"):
        export_saved_model(inference_model, tiny_config, tmp_path / "exported")
    assert (tmp_path / "exported").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 8 MB; the network alone has 18."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a file system that is too small")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_full_disk_is_told_and_left_empty(inference_model, tiny_config, small_disk, frozen):
    with pytest.raises(UserError, match=r"mine: the SavedModel cannot be written \(.*--output"):
        export_saved_model(
            inference_model, tiny_config, small_disk / "mine", frozen=frozen, option="--output"
        )
    assert list(small_disk.iterdir()) == []
