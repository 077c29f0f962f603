"""From an image to detections in its own pixels, whatever the network's input is."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.step_checkpoints import save_checkpoint
from tf_frcnn.checkpoints import BEST_FILE, best_progress, take_snapshot, write_snapshot
from tf_frcnn.config import save_config
from tf_frcnn.errors import WeightsError
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.files import write_json
from tf_frcnn.inference import InferenceModel, load_network
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import find_model
from tf_frcnn.model_weights import outcome_so_far
from tf_frcnn.run_folder import RunFolder
from tf_frcnn.training.trainer import FasterRCNNTrainer


class PartOfTheImage:
    """Stands for a network: finds rows 0.1 to 0.5 and columns 0.2 to 0.9, class 2, and padding."""

    def __init__(self):
        self.image_shapes = []

    def __call__(self, inputs):
        images, image_sizes = inputs
        self.image_shapes.append(tuple(images.shape))
        height, width = image_sizes[:, 0], image_sizes[:, 1]
        box = tf.stack([0.1 * height, 0.2 * width, 0.5 * height, 0.9 * width], axis=-1)
        batch = tf.shape(images)[0]
        return {
            "detection_boxes": tf.stack([box, tf.zeros_like(box)], axis=1),  # [B, 2, 4]
            "detection_scores": tf.tile([[0.75, 0.0]], [batch, 1]),
            "detection_classes": tf.tile([[2, 0]], [batch, 1]),
            "num_detections": tf.ones([batch], tf.int32),
        }


@pytest.fixture
def part_detector():
    return InferenceModel(PartOfTheImage(), ("cat", "dog"), short_side=20, long_side=50)


def test_boxes_are_in_pixels_of_the_image_that_was_given(part_detector):
    # 40 x 60 enters as 20 x 30; the box [2, 6, 10, 27] there is [4, 12, 20, 54] in the image.
    detections = part_detector.detect(tf.zeros([3, 40, 60, 3], tf.uint8))
    assert part_detector.network.image_shapes == [(3, 20, 30, 3)]
    assert detections["detection_boxes"].shape == (3, 2, 4)
    for boxes in detections["detection_boxes"]:
        np.testing.assert_allclose(boxes, [[4, 12, 20, 54], [0, 0, 0, 0]], rtol=1e-6)


def test_names_go_with_classes_and_padding_has_none(part_detector):
    detections = part_detector.detect(tf.zeros([1, 40, 60, 3], tf.uint8))
    assert detections["detection_names"].numpy().tolist() == [[b"dog", b""]]


def test_one_image_gives_what_was_found_without_padding(part_detector):
    boxes, scores, classes = part_detector(np.zeros((100, 10, 3), np.uint8))
    # 100 x 10: scale min(20 / 10, 50 / 100) = 0.5, so the network sees 50 x 5.
    np.testing.assert_allclose(boxes, [[10, 2, 50, 9]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.75])
    assert classes.tolist() == [2]
    assert boxes.dtype == np.float32 and scores.dtype == np.float32


def test_images_of_many_sizes_do_not_trace_again(part_detector):
    for size in [(40, 60), (41, 7), (5, 5)]:
        part_detector(np.zeros((*size, 3), np.uint8))
    assert len(part_detector.network.image_shapes) == 1


# === With the real network ===


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory):
    """Write a run of one checkpoint -> (its folder, the network it holds)."""
    folder = tmp_path_factory.mktemp("run")
    save_config(tiny_config, folder / "config.json")
    trainer = FasterRCNNTrainer(FasterRCNN(tiny_config.model, 3), tiny_config.train)
    save_checkpoint(folder / "checkpoints", 4, trainer.network, trainer.optimizer)
    return folder, trainer.network


@pytest.fixture(scope="module")
def exported(run, tiny_config, tmp_path_factory):
    """Export the run's network -> the version's folder; tests only look at it."""
    detector = load_network(find_model(run[0]))
    return export_saved_model(detector, tiny_config, tmp_path_factory.mktemp("exported"))


def assert_same_weights(network, expected):
    for value, other in zip(network.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize("place", ["", "checkpoints/step-00000004.h5"])
def test_the_weights_of_a_run_are_found(place, run, tiny_config):
    folder, network = run
    detector = load_network(find_model(folder / place))
    assert_same_weights(detector.network, network)
    assert detector.class_names == tiny_config.data.classes
    assert (detector.short_side, detector.long_side) == (64, 96)


def test_the_weights_of_an_export_are_found(exported, run, tiny_config):
    detector = load_network(find_model(exported))
    assert_same_weights(detector.network, run[1])
    assert detector.class_names == tiny_config.data.classes
    assert (detector.short_side, detector.long_side) == (64, 96)


def test_thresholds_may_be_others_than_those_of_the_run(run, tiny_config):
    model = dataclasses.replace(tiny_config.model, score_threshold=0.25)
    changed = dataclasses.replace(tiny_config, model=model)
    network = load_network(find_model(run[0]), changed).network
    assert network.detection_layer.score_threshold == 0.25
    assert_same_weights(network, run[1])


def test_what_is_taken_of_an_unfinished_run_is_said(run, caplog):
    folder, _ = run
    model = find_model(folder)
    load_network(model)
    assert f"{folder}: the run is not finished; taking what it has, the weights of" in caplog.text
    assert f"step 4 of {model.load_config().train.steps}" in caplog.text
    steps = {"steps": 4, "planned_steps": model.load_config().train.steps, "exported_step": 4}
    assert outcome_so_far(model) == steps
    caplog.clear()
    metrics_file = RunFolder(folder).metrics_file
    write_json(metrics_file, {"steps": 4})
    try:
        load_network(model)
    finally:
        metrics_file.unlink()
    assert "not finished" not in caplog.text


def test_of_an_unfinished_run_the_best_weights_may_be_those_taken(run, tiny_config, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    train = dataclasses.replace(tiny_config.train, steps=9, export="best", validate_every=2)
    save_config(dataclasses.replace(tiny_config, train=train), folder.path / "config.json")
    model = find_model(folder.path)
    assert outcome_so_far(model) == {"steps": 4, "planned_steps": 9, "exported_step": 4}
    best = take_snapshot(best_progress(2, 0.5), load_network(model).network)
    write_snapshot(folder.checkpoints / BEST_FILE, best)
    assert outcome_so_far(model) == {"steps": 4, "planned_steps": 9, "exported_step": 2}
    # The latest cannot be read: what is taken is the one before, of which there is none here.
    (folder.checkpoints / "step-00000004.h5").write_bytes(b"cut")
    assert outcome_so_far(model) == {"steps": 0, "planned_steps": 9, "exported_step": 2}


def test_a_run_without_checkpoint_is_told(tiny_config, tmp_path):
    save_config(tiny_config, tmp_path / "config.json")
    with pytest.raises(WeightsError, match=r"checkpoints: holds no checkpoint"):
        load_network(find_model(tmp_path))


def test_an_export_without_its_variables_is_told(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "variables")
    with pytest.raises(WeightsError, match=r"1: the SavedModel cannot be read: the files in its"):
        load_network(find_model(tmp_path))


def test_variables_of_another_network_are_told(exported, tiny_config, tmp_path):
    # Six anchors a cell become three, whose offsets need 12 kernels instead of 24 and whose scores
    # need 6 instead of 12; which of them is found first is up to Keras.
    shutil.copytree(exported, tmp_path / "1")
    model = dataclasses.replace(tiny_config.model, anchor_sizes=(16.0,))
    other = dataclasses.replace(tiny_config, model=model)
    save_config(other, tmp_path / "1" / "assets" / "config.json")
    deltas = r"rpn_deltas/kernel is of shape \[1, 1, 128, 24\], expected .* \[1, 1, 128, 12\]"
    scores = r"rpn_objectness/kernel is of shape \[1, 1, 128, 12\], expected .* \[1, 1, 128, 6\]"
    with pytest.raises(WeightsError, match=f"1: variable ({deltas}|{scores})"):
        load_network(find_model(tmp_path))


def test_an_export_of_constants_names_what_to_give_instead(tiny_config, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    save_config(
        dataclasses.replace(tiny_config, output="runs/mine"),
        tmp_path / "1" / "assets" / "config.json",
    )
    with pytest.raises(WeightsError, match=r"1: is a frozen export.*Give the run .* \(runs/mine\)"):
        load_network(find_model(tmp_path))


def test_a_batch_gives_what_single_images_give(tiny_config):
    keras.utils.set_random_seed(0)
    network = FasterRCNN(tiny_config.model, 3)
    kernel = network.box_head.classes.kernel
    kernel.assign(0.1 * kernel)  # as drawn, most scores are exactly 1, and ties come in any order
    detector = InferenceModel(network, ("cat", "dog", "duck"), 64, 96)
    images = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3)).astype(np.uint8)
    together = detector.detect(tf.constant(images))
    for index, image in enumerate(images):
        boxes, scores, classes = detector(image)
        count = int(together["num_detections"][index])
        assert count == len(boxes) > 0
        np.testing.assert_allclose(together["detection_scores"][index, :count], scores, atol=1e-5)
        np.testing.assert_allclose(together["detection_boxes"][index, :count], boxes, atol=1e-3)
        np.testing.assert_array_equal(together["detection_classes"][index, :count], classes)
        assert np.all(boxes >= 0) and np.all(boxes <= [50, 70, 50, 70])
