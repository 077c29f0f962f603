"""`Detector`: the same answers from a run and its export; what it takes and refuses."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tf_frcnn
from tests.step_checkpoints import save_checkpoint
from tf_frcnn.checkpoints import load_checkpoint, named_weights
from tf_frcnn.config import load_config, save_config
from tf_frcnn.detector import Detector
from tf_frcnn.errors import ConfigError, UserError, WeightsError
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.inference import InferenceModel, load_network
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import find_model
from tf_frcnn.prediction import Prediction
from tf_frcnn.run_folder import with_classes
from tf_frcnn.training.trainer import FasterRCNNTrainer


class Models(NamedTuple):
    """One untrained network in all the forms that can be loaded; tests only look at them."""

    run: Path
    old_checkpoint: Path
    versions: Path
    latest: InferenceModel


def save_random_run(run, config, steps):
    """Write a run whose checkpoints hold one network with different last layers."""
    save_config(config, run / "config.json")
    keras.utils.set_random_seed(1)
    network = FasterRCNN(config.model, len(config.data.classes))
    trainer = FasterRCNNTrainer(network, config.train)
    for step in steps:
        random = np.random.default_rng(step)
        # As they are drawn, features of a fresh backbone drive most scores to exactly 1.0, and ties
        # may come in any order. These leave at least 2e-4 between neighbours.
        for name, scale in (("rpn_objectness", 1e-4), ("box_classes", 1e-3)):
            kernel = named_weights(network)[f"{name}/kernel"]
            kernel.assign(random.normal(0.0, scale, kernel.shape))
        save_checkpoint(run / "checkpoints", step, network, trainer.optimizer)


def test_images_are_read_as_those_of_training(tiny_config, tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    network = FasterRCNN(tiny_config.model, 3)
    for exif_choice, expected in (
        (None, pixels[::-1, ::-1]),
        ("apply", pixels[::-1, ::-1]),
        ("ignore", pixels),
    ):
        given = {} if exif_choice is None else {"exif": exif_choice}
        detector = Detector.from_network(network, ("a", "b", "c"), **given)
        for file in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes()):
            np.testing.assert_array_equal(detector.read_image(file), expected)


@pytest.fixture(scope="module")
def models(tiny_config, tmp_path_factory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    run, versions = folder / "run", folder / "exported"
    run.mkdir()
    save_random_run(run, tiny_config, steps=(2, 4))
    latest = load_network(find_model(run))
    export_saved_model(latest, tiny_config, versions)
    return Models(run, run / "checkpoints" / "step-00000002.h5", versions, latest)


@pytest.fixture(scope="module")
def run_detector(models):
    return Detector.load(models.run)


@pytest.fixture(scope="module")
def images():
    """Three images of noise; the first and the last have one size."""
    noise = np.random.default_rng(3).integers(0, 256, (2, 50, 70, 3)).astype(np.uint8)
    return [noise[0], noise[0][:33, :64], noise[1]]


def assert_same(found: Prediction, expected: Prediction):
    assert found.class_names == expected.class_names
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)


@pytest.fixture
def part_detector(tiny_config):
    """Find rows 10 % to 50 % and columns 20 % to 90 %, class 2 (dog), score R / 255 of a corner."""

    def detect_batch(images):
        calls.append(tuple(images.shape))
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        box = tf.concat([size * [0.1, 0.2], size * [0.5, 0.9]], axis=0)
        batch = images.shape[0]
        return {
            "detection_boxes": tf.tile([[box, tf.zeros(4)]], [batch, 1, 1]),
            "detection_scores": images[:, 0, :2, 0] / 255.0,
            "detection_classes": tf.tile([[2, 0]], [batch, 1]),
            "num_detections": tf.ones([batch], tf.int32),
        }

    def no_network():
        raise AssertionError("nothing is exported here")

    calls: list[tuple[int, ...]] = []
    detector = Detector(detect_batch, tiny_config, no_network)
    return detector, calls


# === What comes back ===


def test_padding_is_cut_and_classes_are_named(part_detector):
    detector, _ = part_detector
    found = detector(np.full((40, 60, 3), 51, np.uint8))
    # Rows 0.1 * 40 to 0.5 * 40, columns 0.2 * 60 to 0.9 * 60; 51 / 255 = 0.2.
    np.testing.assert_allclose(found.boxes, [[4, 12, 20, 54]], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [0.2], rtol=1e-6)
    assert found.class_ids.tolist() == [2] and found.class_names == ("dog",)
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    assert found.class_ids.dtype == np.int32
    assert len(found) == 1


def test_images_of_one_size_in_the_network_go_together_and_come_back_in_order(part_detector):
    detector, calls = part_detector
    # The sides become 64 and at most 96: all but one enter the network at 64 x 96.
    sizes = [(40, 60), (20, 30), (40, 60), (60, 40)]
    images = [
        np.full((*size, 3), 10 * number, np.uint8) for number, size in enumerate(sizes, start=1)
    ]
    found = detector(images)
    assert sorted(calls) == [(1, 96, 64, 3), (3, 64, 96, 3)]
    scores = [float(prediction.scores[0]) for prediction in found]
    np.testing.assert_allclose(scores, np.array([10, 20, 30, 40]) / 255, rtol=1e-6)
    # Each box is in its own image's pixels: rows 10 % to 50 %, columns 20 % to 90 %.
    np.testing.assert_allclose(found[0].boxes, [[4, 12, 20, 54]], rtol=1e-6)
    np.testing.assert_allclose(found[1].boxes, [[2, 6, 10, 27]], rtol=1e-6)
    np.testing.assert_allclose(found[3].boxes, [[6, 8, 30, 36]], rtol=1e-6)


def test_a_batch_has_at_most_so_many_images(part_detector):
    detector, calls = part_detector
    images = np.stack([np.full((40, 60, 3), value, np.uint8) for value in range(10)])
    found = detector(images, batch_size=4)
    assert [size[0] for size in calls] == [4, 4, 2]
    scores = [float(prediction.scores[0]) for prediction in found]
    np.testing.assert_allclose(scores, np.arange(10) / 255, rtol=1e-6)
    calls.clear()
    detector(list(images))
    assert [size[0] for size in calls] == [8, 2]
    for value in (0, "x", 2.5, None):
        with pytest.raises(ValueError) as caught:
            detector(images, batch_size=value)
        assert str(caught.value) == f"batch_size = {value!r}: expected a whole number, 1 or more."


def test_an_array_of_images_is_a_batch(part_detector):
    detector, calls = part_detector
    images = np.zeros((2, 40, 60, 3), np.uint8)
    assert [len(prediction) for prediction in detector(images)] == [1, 1]
    assert [len(prediction) for prediction in detector(tuple(images))] == [1, 1]
    assert calls == [(2, 64, 96, 3)] * 2
    assert detector([]) == [] and detector(images[:0]) == []


def test_evaluation_gets_the_arrays_of_one_image(part_detector):
    detector, _ = part_detector
    boxes, scores, class_ids = detector.detect(np.full((40, 60, 3), 51, np.uint8))
    np.testing.assert_allclose(boxes, [[4, 12, 20, 54]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.2], rtol=1e-6)
    assert class_ids.tolist() == [2]
    with pytest.raises(ValueError, match="image has type float64: expected uint8 RGB"):
        detector.detect(np.zeros((40, 60, 3)))


# === Where models lie ===


def test_run_export_and_its_parent_agree(models, run_detector, images, tiny_config):
    expected = run_detector(images)
    assert all(len(prediction) > 0 for prediction in expected)
    exported = Detector.load(models.versions)
    for found, wanted in zip(exported(images), expected, strict=True):
        assert_same(found, wanted)
    for detector in (run_detector, exported, Detector.load(str(models.versions / "1"))):
        assert detector.config == tiny_config
        assert detector.class_names == ("cat", "dog", "duck")


def test_a_batch_gives_what_single_images_give(run_detector, models, tiny_config, images):
    # The second enters the network at 50 x 96, the others at 64 x 90; and so does a smaller one.
    several = [*images, images[2][::2, ::2]]
    for image, found in zip(several, run_detector(several), strict=True):
        boxes, scores, class_ids = models.latest(image)
        names = tuple(tiny_config.data.classes[class_id - 1] for class_id in class_ids)
        assert_same(found, Prediction(boxes, scores, class_ids, names))


def test_a_checkpoint_is_taken_by_itself(models, run_detector, images, monkeypatch):
    monkeypatch.chdir(models.old_checkpoint.parent)  # a name alone must find its run as well
    old = Detector.load(models.old_checkpoint.name)(images[0])
    network = models.latest.network
    load_checkpoint(models.old_checkpoint, network)
    expected = models.latest(images[0])
    load_checkpoint(models.old_checkpoint.with_name("step-00000004.h5"), network)
    latest = run_detector(images[0])
    assert_same(old, Prediction(*expected, old.class_names))
    assert not np.allclose(old.scores, latest.scores, atol=1e-2)


def test_the_newest_version_is_the_highest_number(models, tiny_config, tmp_path):
    # 10 comes after 9, though "10" < "9"; a version that is not whole yet is none.
    shutil.copytree(models.versions / "1", tmp_path / "9")
    shutil.copytree(models.versions / "1", tmp_path / "10")
    (tmp_path / "11").mkdir()
    of_ten = dataclasses.replace(tiny_config, output="of ten")
    save_config(of_ten, tmp_path / "10/assets/config.json")
    assert Detector.load(tmp_path).config.output == "of ten"


def test_a_run_that_is_to_export_its_best_is_its_best(models, tiny_config, images, tmp_path):
    shutil.copytree(models.run, tmp_path / "run")
    shutil.copy(models.old_checkpoint, tmp_path / "run" / "checkpoints" / "best.h5")
    train = dataclasses.replace(tiny_config.train, export="best")
    save_config(dataclasses.replace(tiny_config, train=train), tmp_path / "run" / "config.json")
    old = Detector.load(models.old_checkpoint)
    assert_same(Detector.load(tmp_path / "run")(images[0]), old(images[0]))
    (tmp_path / "run" / "checkpoints" / "best.h5").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"best\.h5: the checkpoint cannot be read"):
        Detector.load(tmp_path / "run")


# === Networks in memory, and exports ===


def test_a_network_in_memory_answers_as_its_run_does(models, run_detector, images, tmp_path):
    names = ["cat", "dog", "duck"]
    detector = Detector.from_network(models.latest.network, names, short_side=64, long_side=96)
    assert detector.class_names == ("cat", "dog", "duck")
    version = detector.export(tmp_path / "mine")
    assert version == tmp_path / "mine" / "1"
    exported = Detector.load(version)
    assert exported.config.model == models.latest.network.config
    for found, again, wanted in zip(
        detector(images), exported(images), run_detector(images), strict=True
    ):
        assert_same(found, wanted)
        assert_same(again, wanted)
    default = Detector.from_network(models.latest.network, names).config.data
    assert (default.short_side, default.long_side) == (600, 1000)


def test_a_network_of_torchvisions_sees_images_at_its_sizes():
    network = FasterRCNN.from_preset("fasterrcnn_mobilenet_v3_large_320_fpn", 2)
    data = Detector.from_network(network, ("a", "b")).config.data
    assert (data.short_side, data.long_side, data.resize_rounding) == (320, 640, "floor")
    data = Detector.from_network(network, ("a", "b"), short_side=240).config.data
    assert (data.short_side, data.long_side, data.resize_rounding) == (240, 640, "floor")


@pytest.mark.parametrize(
    ("names", "sizes", "message"),
    [
        (("a", "b"), {}, r"class_names a, b: the network has 3 classes\. Expected a name for each"),
        ((), {}, r"class_names \(nothing\): the network has 3 classes"),
        ("abc", {}, r"class_names 'abc': the network has 3 classes"),
        (None, {}, r"class_names None: the network has 3 classes\. Expected a name for each"),
        (7, {}, r"class_names 7: the network has 3 classes"),
        ((1, 2), {}, r"class_names 1, 2: the network has 3 classes"),
        ((1, 2, 3), {}, r"^class_names 1: expected a string"),
        (("a", "b", "a"), {}, r"^class_names a b a: expected every class name once"),
        (("a", "b", "c"), {"short_side": 0}, r"^short_side 0: expected a number above 0"),
        (
            ("a", "b", "c"),
            {"short_side": 96, "long_side": 64},
            r"^long_side 64: expected at least short_side, which is 96",
        ),
    ],
)
def test_names_and_sizes_that_do_not_fit_the_network(names, sizes, message, models):
    with pytest.raises(ConfigError, match=message):
        Detector.from_network(models.latest.network, names, **sizes)


@pytest.mark.parametrize("form", ["run", "old_checkpoint", "versions"])
def test_what_was_loaded_is_exported_with_its_configuration(form, models, tmp_path, images):
    detector = Detector.load(getattr(models, form))
    detector.export(tmp_path / "mine")
    again = Detector.load(detector.export(str(tmp_path / "mine")))
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["1", "2"]
    assert again.config == detector.config
    for found, wanted in zip(again(images), detector(images), strict=True):
        assert_same(found, wanted)


def test_records_of_a_model_go_along(models, tmp_path):
    shutil.copytree(models.versions / "1", tmp_path / "1")
    (tmp_path / "1" / "assets" / "metrics.json").write_text('{"voc_map": 0.5}')
    version = Detector.load(tmp_path / "1").export(tmp_path / "mine")
    assert (version / "assets" / "metrics.json").read_text() == '{\n  "voc_map": 0.5\n}\n'


def test_a_frozen_export_answers_and_cannot_be_exported(models, run_detector, images, tmp_path):
    frozen = Detector.load(run_detector.export(tmp_path / "frozen", frozen=True))
    for found, wanted in zip(frozen(images), run_detector(images), strict=True):
        assert_same(found, wanted)
    with pytest.raises(WeightsError, match=r"frozen/1: is a frozen export, .* cannot be taken out"):
        frozen.export(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_folder_of_something_else_is_not_exported_to(models, run_detector):
    with pytest.raises(UserError, match=r"run: holds checkpoints, config\.json\. Expected the f"):
        run_detector.export(models.run)


# === What is no model ===


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        ([], "nowhere", r"nowhere: there is no such file or folder\. Expected the folder of a"),
        (["empty/"], "empty", r"empty: holds nothing\. Expected the folder of a training run"),
        (
            ["full/c.txt", "full/b.txt", "full/a.txt", "full/d", "full/e", "full/f", "full/g"],
            "full",
            r"full: holds a\.txt, b\.txt, c\.txt, d, e and 2 more\. Expected",
        ),
        (["cat.jpg"], "cat.jpg", r"cat\.jpg: is a file, but no checkpoint in the folder of a run"),
        (["c/step-1.h5"], "c/step-1.h5", r"step-1\.h5: is a file, .*config\.json must tell"),
        (["other/saved_model.pb"], "other", r"other: is a SavedModel without assets/config\.json"),
    ],
)
def test_a_path_that_is_no_model(names, given, message, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=message):
        Detector.load(tmp_path / given)


def test_broken_models_are_named(models, tmp_path):
    export, run = tmp_path / "export", tmp_path / "run"
    shutil.copytree(models.versions / "1", export)
    (export / "saved_model.pb").write_bytes(b"\xff\xffbroken")
    with pytest.raises(WeightsError, match=r"export: the SavedModel cannot be read: saved_"):
        Detector.load(export)
    shutil.copytree(models.run, run)
    checkpoint = run / "checkpoints" / "step-00000004.h5"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"step-00000004\.h5: the checkpoint cannot be read \("):
        Detector.load(checkpoint)
    (run / "config.json").write_text('{"epochs": 3}')
    with pytest.raises(ConfigError, match=r"run/config\.json: epochs: "):
        Detector.load(run)


@pytest.fixture
def export(models, tmp_path):
    """Give a copy of an export, whose files may be removed and made anew, but not changed."""
    return shutil.copytree(models.versions / "1", tmp_path / "1", copy_function=os.link)


def start_from(path):
    return load_network(find_model(path))


INDEX, VALUES = "variables.index", "variables.data-00000-of-00001"
DAMAGE = {
    "no index": (INDEX, None),
    "an empty index": (INDEX, lambda content: b""),
    "half an index": (INDEX, lambda content: content[: len(content) // 2]),
    "an overwritten index": (INDEX, lambda content: bytes(100) + content[100:]),
    "no values": (VALUES, None),
    "half of the values": (VALUES, lambda content: content[: len(content) // 2]),
    "an overwritten value": (VALUES, lambda content: b"\x7f" * 100 + content[100:]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_variables_are_told_in_words(damage, export):
    name, change = DAMAGE[damage]
    path = export / "variables" / name
    content = path.read_bytes()
    path.unlink()
    if change:
        path.write_bytes(change(content))
    for load in (Detector.load, start_from):
        with pytest.raises(WeightsError) as caught:
            load(export)
        assert str(caught.value) == (
            f"{export}: the SavedModel cannot be read: the files in its folder variables are "
            "missing, damaged or cut short. Expected all files of the export; copy the whole "
            "folder again, or export anew."
        )


def test_a_pipe_among_a_saved_models_files_is_not_waited_for(export, tmp_path):
    index = tmp_path / "1" / "variables" / "variables.index"
    index.unlink()
    os.mkfifo(index)
    with pytest.raises(WeightsError, match=r"variables\.index: it is a named pipe, not a file"):
        Detector.load(tmp_path)


def write_labels(assets, classes):
    (assets / "labels.txt").unlink()
    (assets / "labels.txt").write_text("".join(f"{name}\n" for name in classes))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat", "dog"], r"labels\.txt: names 2 classes, and there are 3 in config\.json"),
        (["cat", "cow", "duck"], r"labels\.txt: names class 2 'cow', and it is 'dog' in config"),
    ],
)
def test_labels_that_are_not_the_configurations(classes, message, export):
    write_labels(export / "assets", classes)
    for load in (Detector.load, start_from):
        with pytest.raises(WeightsError, match=message):
            load(export)


def test_labels_with_decomposed_accents_are_the_same(export):
    # Of exports of earlier versions, which kept names as the data had them.
    config_file = export / "assets" / "config.json"
    config = with_classes(load_config(config_file), ("caf\u00e9", "dog", "duck"))
    config_file.unlink()
    save_config(config, config_file)
    write_labels(export / "assets", ("cafe\u0301", "dog", "duck"))
    assert find_model(export).load_config().data.classes[0] == "caf\u00e9"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("cat", "dog"), r"config\.json: names 2 classes, and there are 3 in the graph"),
        (
            ("cat", "cow", "duck"),
            r"json: names class 2 'cow', and it is 'dog' in the graph of",
        ),
    ],
)
def test_assets_that_are_not_the_graphs(classes, message, export):
    config_file = export / "assets" / "config.json"
    config = with_classes(load_config(config_file), classes)
    config_file.unlink()
    save_config(config, config_file)
    write_labels(export / "assets", classes)
    if len(classes) == 3:  # of another number the variables have other shapes, which is told first
        with pytest.raises(WeightsError, match=message):
            start_from(export)
    with pytest.raises(WeightsError, match=message):
        Detector.load(export)


def test_a_saved_model_with_other_signatures(tiny_config, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    save_config(tiny_config, tmp_path / "assets" / "config.json")
    with pytest.raises(WeightsError, match=r"has the signatures \[\], not 'serve_float'"):
        Detector.load(tmp_path)


# === What is no image ===


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 6, 3)), r"image has type float64: expected uint8 RGB.*np\.round\(255 \* im"),
        (np.zeros((4, 6, 3), np.int64), r"image has type int64: .* from 0 to 255\.$"),
        (np.zeros((4, 6), np.uint8), r"image has shape \(4, 6\): expected \[height, width, 3\]"),
        (np.zeros((3, 4, 6), np.uint8), r"image has shape \(3, 4, 6\): expected"),
        (np.zeros((4, 6, 4), np.uint8), r"image has shape \(4, 6, 4\): expected"),
        (np.zeros((0, 6, 3), np.uint8), r"image has shape \(0, 6, 3\).* at least one pixel"),
        (np.zeros((1, 1, 4, 6, 3), np.uint8), r"image has shape \(1, 1, 4, 6, 3\): expected"),
        (np.zeros((2, 4, 6, 3), np.float32), r"images has type float32: expected uint8"),
        (
            [np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 1), np.uint8)],
            r"images\[1\] has shape \(4, 6, 1\): expected",
        ),
    ],
)
def test_arrays_that_are_no_image(images, message, part_detector):
    detector, calls = part_detector
    with pytest.raises(ValueError, match=message):
        detector(images)
    assert not calls


# === supervision ===

TWO_FOUND = Prediction(
    boxes=np.array([[1, 2, 11, 32], [5, 6, 7, 8]], np.float32),
    scores=np.array([0.75, 0.5], np.float32),
    class_ids=np.array([3, 1], np.int32),
    class_names=("duck", "cat"),
)


def test_supervision_gets_x_first_and_classes_from_0():
    pytest.importorskip("supervision", reason="supervision is not installed")
    found = TWO_FOUND.to_supervision()
    assert found.xyxy.tolist() == [[2, 1, 32, 11], [6, 5, 8, 7]]
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_id.tolist() == [2, 0]
    assert found["class_name"].tolist() == ["duck", "cat"]
    assert found.area.tolist() == [30 * 10, 2 * 2]


def test_supervision_gets_nothing_where_nothing_was_found():
    pytest.importorskip("supervision", reason="supervision is not installed")
    nothing = np.zeros(0, np.float32)
    empty = Prediction(np.zeros((0, 4), np.float32), nothing, nothing.astype(np.int32), ())
    assert len(empty.to_supervision()) == 0


def test_without_supervision_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r"needs the package supervision.*pip install superv"):
        TWO_FOUND.to_supervision()


# === The package's names ===


def test_the_public_names_are_there():
    assert tf_frcnn.Detector is Detector and tf_frcnn.FasterRCNN is FasterRCNN
    assert all(hasattr(tf_frcnn, name) for name in tf_frcnn.__all__)
    assert set(tf_frcnn.__all__) <= set(dir(tf_frcnn)) and len(tf_frcnn.__all__) <= 10
    with pytest.raises(AttributeError, match="'tf_frcnn' has no attribute 'Detektor'"):
        _ = tf_frcnn.Detektor


def test_importing_the_package_does_not_import_tensorflow():
    code = (
        "import sys, tf_frcnn; from tf_frcnn import PRESETS; sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
