"""`--data.antialias`: images are made smaller alike in training and wherever a model is used."""

import dataclasses
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.test_detector import assert_same, save_random_run
from tests.test_placement import count
from tf_frcnn import cli
from tf_frcnn.benchmark.stages import time_stages
from tf_frcnn.commands.train import main as run_train
from tf_frcnn.commands.train import parse_arguments
from tf_frcnn.config import DataConfig, config_to_dict, load_config, parse_config
from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.data.preparation import load_dataset, prepare_dataset
from tf_frcnn.data.transforms import resize_images
from tf_frcnn.detector import Detector
from tf_frcnn.errors import UserError
from tf_frcnn.export.low_rank import reduce_head
from tf_frcnn.image_size import check_antialias, default_size, parse_size
from tf_frcnn.inference import InferenceModel, load_network
from tf_frcnn.model_files import find_model
from tf_frcnn.ops.resized_size import resized_size
from tf_frcnn.prediction import Prediction
from tf_frcnn.tflite.conversion import Converter
from tf_frcnn.tflite.network import build_detect

NAMES = ("cat", "dog", "duck")
LARGE = (130, 181)  # enters the network at 64 x 89
IN_NETWORK = (64, 89)


@pytest.fixture(scope="module")
def config(tiny_config):
    data = dataclasses.replace(tiny_config.data, antialias=True)
    return dataclasses.replace(tiny_config, data=data)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """Write a run that was trained with antialiasing."""
    folder = tmp_path_factory.mktemp("antialias") / "run"
    folder.mkdir()
    save_random_run(folder, config, steps=(2,))
    return folder


@pytest.fixture(scope="module")
def network(run):
    return load_network(find_model(run)).network


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).integers(0, 256, (*LARGE, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(network, image):
    """Detect in the image at its size in the network, and scale the boxes back."""
    resized = tf.image.resize(image[None], IN_NETWORK, antialias=True)
    found = network((resized, tf.constant([IN_NETWORK], tf.float32)))
    count = int(found["num_detections"][0])
    assert count > 0, "the comparison needs detections"
    classes = found["detection_classes"][0, :count].numpy()
    ratio = np.tile(np.array(LARGE) / IN_NETWORK, 2)
    return Prediction(
        (found["detection_boxes"][0, :count] * ratio).numpy(),
        found["detection_scores"][0, :count].numpy(),
        classes,
        tuple(NAMES[number - 1] for number in classes),
    )


# === In training ===


def test_training_sees_what_pillow_gives_and_boxes_move_as_before(voc_folder):
    # Images of 72 x 96 at 32 x 43; flips are off.
    dataset = load_dataset(voc_folder, "train")
    plain = DataConfig(short_side=32, long_side=64, horizontal_flip=0.0)
    antialiased = dataclasses.replace(plain, antialias=True)
    for training in (True, False):
        pairs = zip(
            *(
                BatchPipeline(dataset, one, stop=6, training=training)
                for one in (antialiased, plain)
            ),
            strict=True,
        )
        for batch, other in pairs:
            (index,) = batch["indices"].numpy()
            file = Image.open(dataset.examples[index].image_path)
            theirs = np.asarray(file.resize((43, 32), Image.Resampling.BILINEAR), np.float32)
            np.testing.assert_allclose(batch["images"][0], theirs, atol=1.001)
            assert np.abs(other["images"][0] - theirs).max() > 10
            for name in batch.keys() - {"images"}:
                np.testing.assert_array_equal(batch[name], other[name])


def test_batches_for_keras_take_it_too(voc_folder):
    dataset = load_dataset(voc_folder, "val")
    sizes = {"short_side": 32, "long_side": 64, "training": False}
    for batch in prepare_dataset(dataset, antialias=True, **sizes):
        (index,) = batch["indices"].numpy()
        file = np.asarray(Image.open(dataset.examples[index].image_path))
        expected = resize_images(file, (32, 43), antialias=True)
        np.testing.assert_array_equal(batch["images"][0], expected)


# === Where a model is used ===


@pytest.fixture(scope="module", params=["network", "run", "export", "frozen"])
def detector(request, run, network, tmp_path_factory):
    """Give the model in one of its forms."""
    if request.param == "network":
        return Detector.from_network(network, NAMES, 64, 96, antialias=True)
    found = Detector.load(run)
    if request.param == "run":
        return found
    folder = tmp_path_factory.mktemp("exported")
    return Detector.load(found.export(folder, frozen=request.param == "frozen"))


def test_every_form_of_a_model_makes_images_smaller_alike(detector, network, image, expected):
    assert detector.config.data.antialias
    assert_same(detector(image), expected)
    # As evaluation has it, in a batch with another image.
    batches = detector.in_batches()
    prepared = [batches.prepare(one) for one in (image, image[:, ::-1])]
    boxes, scores, class_ids = batches.detect(prepared)[0]
    assert_same(Prediction(boxes, scores, class_ids, expected.class_names), expected)
    # It makes a difference.
    plain = Detector.from_network(network, NAMES, 64, 96)(image)
    assert len(plain) != len(expected) or not np.allclose(plain.scores, expected.scores, atol=1e-3)


@pytest.mark.parametrize("frozen", [False, True])
def test_all_signatures_do_it_inside(run, image, expected, tmp_path, frozen):
    version = Detector.load(run).export(tmp_path, frozen=frozen)
    signatures = tf.saved_model.load(str(version)).signatures
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    for name, inputs in (
        ("serving_default", {"images": tf.constant(image[None])}),
        ("serve_float", {"images": tf.constant(image[None], tf.float32)}),
        ("serve_encoded", {"image_bytes": tf.constant([file.getvalue()])}),
    ):
        answer = {key: value[0].numpy() for key, value in signatures[name](**inputs).items()}
        count = answer["num_detections"]
        found = [answer[f"detection_{key}"][:count] for key in ("boxes", "scores", "classes")]
        assert_same(Prediction(*found, expected.class_names), expected)


def test_images_that_are_enlarged_are_answered_as_without_it(network):
    image = np.random.default_rng(4).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    found, plain = (
        Detector.from_network(network, NAMES, 64, 96, antialias=antialias).detect(image)
        for antialias in (True, False)
    )
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_head_of_low_rank_keeps_it(run):
    assert reduce_head(load_network(find_model(run)), 5).antialias


def test_stages_are_timed_with_it(run, image, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "tf_frcnn.benchmark.stages.resize_images",
        lambda images, size, antialias: (
            seen.append(antialias) or resize_images(images, size, antialias)
        ),
    )
    time_stages(load_network(find_model(run)), tf.constant(image[None]), 0, 1)
    assert seen == [True]


def test_a_whole_job_keeps_it(tiny_options, voc_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*tiny_options, "--data.root", str(voc_folder), "--data.antialias"]
    assert run_train([*options, "--output", "run", "--export-dir", "out"]) == 0
    for file in ("run/config.json", "out/1/assets/config.json"):
        assert load_config(tmp_path / file).data.antialias
    # What the job found while it had the network is what its run and its export find.
    found = json.loads((tmp_path / "run" / "detections.json").read_text())
    for model in ("run", "out/1"):
        assert cli.main(["evaluate", model, "--output", f"figures/{model}"]) == 0
        again = json.loads((tmp_path / "figures" / model / "detections.json").read_text())
        assert len(again) == len(found) > 0
        for one, other in zip(again, found, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
            np.testing.assert_allclose(one["bbox"], other["bbox"], atol=0.1)
    # A training that starts from it sees images alike; the preset's own would not.
    assert parse_arguments(["finetune", "--train.start-from", "run"]).config.data.antialias
    assert not parse_arguments(["finetune"]).config.data.antialias


def test_old_configurations_are_without_it(config):
    values = config_to_dict(config)
    assert parse_config(json.dumps(values), "new").data.antialias
    del values["data"]["antialias"]
    assert not parse_config(json.dumps(values), "old").data.antialias


def test_on_a_gpu_it_alone_is_the_processors():
    images, size = tf.TensorSpec([1, None, None, 3], tf.float32), tf.TensorSpec([2], tf.int32)
    with_it = count(lambda images, size: resize_images(images, size, antialias=True), images, size)
    assert dict(with_it.without_kernel) == {"ScaleAndTranslate(float32)": 1}
    without = count(lambda images, size: resize_images(images, size), images, size)
    assert dict(without.without_kernel) == {}


# === TFLite ===


def test_a_file_that_makes_nothing_smaller_is_the_models_own(network):
    model = InferenceModel(network, NAMES, 64, 96, antialias=True)
    images = np.random.default_rng(5).integers(0, 256, (1, 50, 70, 3)).astype(np.uint8)
    expected = model.detect(tf.constant(images))
    found = build_detect(model, (50, 70))(tf.constant(images))
    assert int(found["num_detections"][0]) > 0
    np.testing.assert_allclose(found["detection_boxes"], expected["detection_boxes"], atol=1e-2)
    np.testing.assert_allclose(found["detection_scores"], expected["detection_scores"], atol=1e-4)
    assert Converter(model, (50, 70)).convert("none")


def test_the_converter_never_leaves_it_out(network):
    # Python's own way to it, which `check_antialias` does not guard.
    model = InferenceModel(network, NAMES, 64, 96, antialias=True)
    with pytest.raises(UserError, match="cannot be converted to TFLite's builtin operators"):
        Converter(model, LARGE).convert("none")


def test_sizes_that_would_be_made_smaller_are_refused_with_the_one_to_take():
    data = DataConfig(short_side=600, long_side=1000, antialias=True)
    # 1200 x 1600 enters at 600 x 800.
    with pytest.raises(
        UserError,
        match=r"^--size 1200x1600: the model was trained with --data\.antialias and sees such "
        r"images at 600 x 800 pixels; .* Expected --size 600x800: resize",
    ):
        check_antialias((1200, 1600), data)
    check_antialias((1200, 1600), dataclasses.replace(data, antialias=False))
    for size in ((600, 800), (300, 400), default_size(data)):
        check_antialias(size, data)


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.integers(1, 900), st.integers(0, 900)),
    st.sampled_from(["nearest", "floor"]),
)
@settings(max_examples=200)
def test_the_size_that_is_told_is_accepted(size, sides, rounding):
    short_side, more = sides
    data = DataConfig(
        short_side=short_side,
        long_side=short_side + more,
        resize_rounding=rounding,
        antialias=True,
    )
    try:
        check_antialias(size, data)
    except UserError as error:
        told = parse_size(str(error).split("Expected --size ")[1].split(":")[0])
        assert told == resized_size(size, short_side, short_side + more, rounding)
        check_antialias(told, data)


def test_the_command_refuses_before_tensorflow_is_loaded(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "tf_frcnn.commands.tflite.set_up_tensorflow", lambda: pytest.fail("TensorFlow is loaded")
    )
    output = tmp_path / "out" / "m.tflite"
    assert cli.main(["tflite", str(run), "--output", str(output), "--size", "130x181"]) == 2
    assert "Expected --size 64x89: resize images to that" in capsys.readouterr().err
    assert not output.parent.exists()
