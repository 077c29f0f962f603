"""The SavedModel: alone in a fresh process it answers what the Keras model does."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.config import load_config
from tf_frcnn.errors import UserError
from tf_frcnn.export import saved_model
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.inference import PictureDetector
from tf_frcnn.model import FasterRCNN

CLASS_NAMES = ("cat", "dog", "duck")

# Runs without this project: from the root of the file system, with TensorFlow alone (which may
# import Keras by itself).
LOAD_AND_ANSWER = """
import sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
assert not any(name.split(".")[0] == "tf_frcnn" for name in sys.modules)
with np.load(sys.argv[2]) as batches:
    for name in batches.files:
        answer = model.signatures["serving_default"](images=tf.constant(batches[name]))
        np.savez(f"{sys.argv[3]}/{name}.npz", **{key: x.numpy() for key, x in answer.items()})
"""


@pytest.fixture(scope="module")
def detector(tiny_config):
    """Build an untrained detector, its logits brought down to the size of trained ones."""
    keras.utils.set_random_seed(0)
    network = FasterRCNN(tiny_config.model, 3)
    kernel = network.box_head.classes.kernel
    kernel.assign(0.1 * kernel)  # rounding errors of scores grow with the logits
    return PictureDetector(network, CLASS_NAMES, 64, 96)


@pytest.fixture(scope="module")
def exported(detector, tiny_config, tmp_path_factory):
    """Export once, into a folder with foreign names in it -> the version's folder."""
    export_dir = tmp_path_factory.mktemp("exported")
    for name in ("notes", "7b", ".partial-3-left"):
        (export_dir / name).mkdir()
    (export_dir / "readme.txt").write_text("mine")
    return export_saved_model(detector, tiny_config, export_dir)


def fake_saving(monkeypatch, error=None):
    """Replace the slow part of the export by a file, or by an error after half of it."""

    def save(module, path, signatures):
        with open(f"{path}/saved_model.pb", "w") as file:
            file.write("half")
        if error is not None:
            raise error

    monkeypatch.setattr(saved_model.tf.saved_model, "save", save)


# === What it answers ===


def test_a_fresh_process_answers_the_same(detector, exported, tmp_path):
    random = np.random.default_rng(3)
    batches = {
        f"batch_{batch}_{height}x{width}": random.integers(
            0, 256, (batch, height, width, 3), dtype=np.uint8
        )
        for height, width in ((50, 70), (121, 64))
        for batch in (1, 3)
    }
    np.savez(tmp_path / "batches.npz", **batches)
    arguments = [str(exported), str(tmp_path / "batches.npz"), str(tmp_path)]
    subprocess.run([sys.executable, "-I", "-c", LOAD_AND_ANSWER, *arguments], check=True, cwd="/")
    for name, images in batches.items():
        expected = {key: x.numpy() for key, x in detector.detect(tf.constant(images)).items()}
        with np.load(tmp_path / f"{name}.npz", allow_pickle=True) as answer:
            assert set(answer.files) == set(expected)
            counts = expected["num_detections"]
            np.testing.assert_array_equal(answer["num_detections"], counts)
            assert np.all(counts > 0), "the comparison needs detections"
            for key, atol in (("detection_boxes", 1e-3), ("detection_scores", 1e-5)):
                np.testing.assert_allclose(answer[key], expected[key], atol=atol, err_msg=name)
            for key in ("detection_classes", "detection_names"):
                np.testing.assert_array_equal(answer[key], expected[key], err_msg=name)


def test_the_signature_takes_pictures_of_any_number_and_size(exported):
    loaded = tf.saved_model.load(str(exported))
    signature = loaded.signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    assert spec.dtype == tf.uint8 and spec.shape.as_list() == [None, None, None, 3]
    assert spec.name == "images"
    assert set(signature.structured_outputs) == {
        "detection_boxes",
        "detection_scores",
        "detection_classes",
        "detection_names",
        "num_detections",
    }


def test_variables_are_kept_by_name(detector, exported):
    loaded = tf.saved_model.load(str(exported))
    assert set(loaded.weights) == {
        f"{layer.name}/{variable.name}"
        for layer in detector.detector._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False))
        for variable in layer.weights
    }
    kernel = detector.detector.backbone.get_layer("block3_conv1").kernel
    np.testing.assert_array_equal(loaded.weights["block3_conv1/kernel"], kernel)


def test_configuration_and_labels_travel_along(exported, tiny_config):
    assert (exported / "assets" / "labels.txt").read_text() == "cat\ndog\nduck\n"
    assert load_config(exported / "assets" / "config.json") == tiny_config
    json.loads((exported / "assets" / "config.json").read_text())


# === Versions ===


def test_foreign_names_do_not_count(exported):
    assert exported.name == "1"
    names = {path.name for path in exported.parent.iterdir()}
    assert names == {"1", "notes", "7b", ".partial-3-left", "readme.txt"}


def test_a_server_may_read_the_folder(exported):
    assert exported.stat().st_mode & 0o777 == 0o755


def test_versions_count_up_from_the_highest(detector, tiny_config, tmp_path, monkeypatch):
    fake_saving(monkeypatch)
    names = [export_saved_model(detector, tiny_config, tmp_path / "new").name for _ in range(3)]
    assert names == ["1", "2", "3"]
    (tmp_path / "new" / "41").mkdir()
    assert export_saved_model(detector, tiny_config, tmp_path / "new").name == "42"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
)
def test_a_failure_leaves_the_versions_alone_and_nothing_half(
    detector, tiny_config, tmp_path, monkeypatch, error
):
    fake_saving(monkeypatch)
    export_saved_model(detector, tiny_config, tmp_path)
    fake_saving(monkeypatch, error)
    with pytest.raises(UserError, match=r"the SavedModel cannot be written \(.*No space.*--export"):
        export_saved_model(detector, tiny_config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").is_file()


def test_an_interrupt_leaves_nothing_half(detector, tiny_config, tmp_path, monkeypatch):
    fake_saving(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(detector, tiny_config, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_told(detector, tiny_config, tmp_path):
    (tmp_path / "exported").write_text("mine")
    with pytest.raises(UserError, match="exported: the SavedModel cannot be written"):
        export_saved_model(detector, tiny_config, tmp_path / "exported")
    assert (tmp_path / "exported").read_text() == "mine"
