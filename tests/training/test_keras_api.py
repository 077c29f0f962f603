"""What somebody who knows Keras tries first: presets, compile, fit, save, stages of one's own."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.step_checkpoints import save_checkpoint
from tests.training.test_trainer import TWO_IMAGES, make_batch
from tf_frcnn import Detector, FasterRCNN, FasterRCNNTrainer, export_saved_model
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import Config, DataConfig, ModelConfig, TrainConfig, save_config
from tf_frcnn.errors import ConfigError, DataError, UserError, WeightsError
from tf_frcnn.inference import InferenceModel
from tf_frcnn.layers.preprocessing import Preprocessing
from tf_frcnn.training.tasks.task import Task

NAMES = ("cat", "dog", "duck")
SIZE = (64, 96)


def options_of(config):
    """List the fields of a model's configuration that are not the defaults, as options."""
    values, defaults = dataclasses.asdict(config), dataclasses.asdict(ModelConfig())
    different = {name: value for name, value in values.items() if value != defaults[name]}
    return {name: value for name, value in different.items() if name != "architecture"}


def noise(count=1, size=SIZE):
    random = np.random.default_rng(0)
    return random.uniform(0, 255, (count, *size, 3)).astype(np.float32)


def detect(network):
    return network((tf.constant(noise()), tf.constant([SIZE], tf.float32)))


def assert_same_weights(one, other):
    weights = named_weights(other)
    for name, variable in named_weights(one).items():
        np.testing.assert_array_equal(variable, weights[name], err_msg=name)


# === Presets ===


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory):
    """Write a run of one checkpoint -> (its folder, the network it holds)."""
    folder = tmp_path_factory.mktemp("run")
    save_config(tiny_config, folder / "config.json")
    network = FasterRCNN(tiny_config.model, 3)
    trainer = FasterRCNNTrainer(network, tiny_config.train)
    save_checkpoint(folder / "checkpoints", 4, network, trainer.optimizer)
    return folder, network


def test_an_architecture_with_options(tiny_model_config):
    options = options_of(tiny_model_config)
    network = FasterRCNN.from_preset("vgg16_quarter", num_classes=5, name="mine", **options)
    assert network.config == tiny_model_config and network.name == "mine"
    assert network.num_classes == 5 and network.precision == "float32"
    mixed = FasterRCNN.from_preset("vgg16_quarter", 5, precision="mixed_bfloat16")
    assert mixed.backbone.get_layer("block3_conv1").compute_dtype == "bfloat16"


@pytest.mark.parametrize("place", ["", "checkpoints/step-00000004.h5", "exported"])
def test_a_trained_model(run, place, tiny_config, tmp_path):
    folder, trained = run
    path = folder / place
    if place == "exported":
        network = InferenceModel(trained, tiny_config.data.classes, 64, 96)
        path = export_saved_model(network, tiny_config, tmp_path / "exported").parent
    network = FasterRCNN.from_preset(path, score_threshold=0.25)
    assert_same_weights(network, trained)
    assert network.num_classes == 3
    assert network.config == dataclasses.replace(tiny_config.model, score_threshold=0.25)
    assert network.detection_layer.score_threshold == 0.25


def test_another_number_of_classes_begins_with_random_class_layers(run, caplog):
    folder, trained = run
    with caplog.at_level("WARNING", "tf_frcnn"):  # what Python shows
        network = FasterRCNN.from_preset(str(folder), num_classes=7)
    assert network.num_classes == 7
    weights, started = named_weights(trained), []
    for name, variable in named_weights(network).items():
        if variable.shape == weights[name].shape:
            np.testing.assert_array_equal(variable, weights[name])
        else:
            started.append(name)
    assert set(started) == {
        *("box_classes/kernel", "box_classes/bias", "box_deltas/kernel", "box_deltas/bias")
    }
    assert named_weights(network)["box_classes/kernel"].shape[-1] == 8
    asked = f"{folder}: has 3 classes, and 7 were asked for; {', '.join(started)} start at random"
    assert asked in caplog.text


def test_presets_that_cannot_be_are_told(run, tmp_path):
    with pytest.raises(ConfigError, match="num_classes is missing: vgg16 is an architecture"):
        FasterRCNN.from_preset("vgg16")
    with pytest.raises(ConfigError, match="^anchors: there is no such option. Expected fields of"):
        FasterRCNN.from_preset("vgg16", 3, anchors=(1.0,))
    with pytest.raises(ConfigError, match="--model.nms-iou 2.0: expected"):
        FasterRCNN.from_preset("vgg16", 3, nms_iou=2.0)
    with pytest.raises(WeightsError, match=r"^vgg61: is no architecture \(vgg16, vgg16_quarter"):
        FasterRCNN.from_preset("vgg61", 3)
    with pytest.raises(WeightsError, match=r"holds nothing\. Expected the folder of a training"):
        FasterRCNN.from_preset(tmp_path)
    with pytest.raises(
        WeightsError, match=r"do not fit anchor_sizes = \(16\.0,\); it was trained with"
    ):
        FasterRCNN.from_preset(run[0], anchor_sizes=(16.0,))


@pytest.mark.parametrize("number", [0, -1, 2.5, "3", True, None])
def test_a_number_of_classes_that_is_none_is_told(number, tiny_model_config):
    with pytest.raises(ConfigError, match="^num_classes = .*: expected a whole number above 0"):
        FasterRCNN(tiny_model_config, number)
    assert FasterRCNN(tiny_model_config, np.int64(2)).get_config()["num_classes"] == 2


# === Saving ===


def make_backbone(alpha=0.35):
    return keras.applications.MobileNetV2(
        input_shape=(None, None, 3), alpha=alpha, weights=None, include_top=False
    )


STAGES = {
    "plain": lambda: {},
    "mixed": lambda: {"precision": "mixed_bfloat16"},
    "own": lambda: {
        "backbone": make_backbone(),
        # MobileNetV2 is made for pixels from -1 to 1.
        "preprocessing": Preprocessing("rgb", [127.5] * 3, [127.5] * 3, 32, name="pixels"),
    },
}

LOAD = """
import json, sys
import keras, numpy as np, tensorflow as tf
import tf_frcnn
tf_frcnn.FasterRCNN  # imports the package's layers
with np.load("expected.npz") as file:
    inputs, expected = (tf.constant(file["images"]), tf.constant([[64.0, 96.0]])), dict(file)
del expected["images"]
for name in sys.argv[1:]:
    network = keras.saving.load_model(f"{name}.keras")
    found = {f"{name}/{key}": value.numpy() for key, value in network(inputs).items()}
    same = [np.array_equal(value, expected[key]) for key, value in found.items()]
    print(json.dumps([name, all(same), len(same), network.precision, network.given_stages]))
"""


def test_a_saved_network_is_loaded_by_a_new_process(tiny_model_config, tmp_path):
    expected = {"images": noise()}
    for name, make in STAGES.items():
        network = FasterRCNN(tiny_model_config, 3, **make())
        network.save(tmp_path / f"{name}.keras")
        found = detect(network)
        assert int(found["num_detections"][0]) > 0
        expected |= {f"{name}/{key}": value.numpy() for key, value in found.items()}
    np.savez(tmp_path / "expected.npz", **expected)
    command = [sys.executable, "-c", LOAD, *STAGES]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert [json.loads(line) for line in answer.stdout.splitlines()] == [
        ["plain", True, 4, "float32", []],
        ["mixed", True, 4, "mixed_bfloat16", []],
        ["own", True, 4, "float32", ["backbone", "preprocessing"]],
    ]


def test_a_checkpoint_of_fit_is_the_network(make_trainer, tmp_path):
    trainer = make_trainer(ema_momentum=0.5)
    batches = tf.data.Dataset.from_tensors(make_batch(TWO_IMAGES)).repeat(2)
    path = tmp_path / "{epoch}.keras"
    raw = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: raw.append(np.asarray(trainer.network.box_head.fc1.bias))
    )
    checkpoint = keras.callbacks.ModelCheckpoint(str(path))
    trainer.fit(batches, epochs=1, verbose=0, callbacks=[checkpoint, keep])
    loaded = keras.saving.load_model(tmp_path / "1.keras")
    assert isinstance(loaded, FasterRCNN)
    # Keras leaves the averages in the network at the end; the checkpoint has them already.
    assert_same_weights(loaded, trainer.network)
    assert not np.array_equal(raw[0], loaded.box_head.fc1.bias)


# === What is no network ===


def test_what_is_no_network_is_told(make_trainer):
    trainer = make_trainer()
    for make in (FasterRCNNTrainer, lambda network: Detector.from_network(network, NAMES)):
        with pytest.raises(ConfigError) as caught:
            make(keras.Sequential())
        assert str(caught.value) == "network is a Sequential: expected a FasterRCNN."
        with pytest.raises(ConfigError) as caught:
            make(trainer)
        assert str(caught.value) == (
            "network is a FasterRCNNTrainer: expected a FasterRCNN. Pass its network: "
            "trainer.network."
        )


def test_a_network_of_which_nothing_is_trainable_is_told(make_trainer):
    trainer = make_trainer()
    message = "^network: nothing of it is trainable. .*: set network.trainable = True, or that of"
    trainer.network.trainable = False
    with pytest.raises(ConfigError, match=message):
        trainer.fit(tf.data.Dataset.from_tensors(make_batch(TWO_IMAGES)))
    with pytest.raises(ConfigError, match=message):
        trainer.train_on_batch(make_batch(TWO_IMAGES))
    for options in ({}, {"config": TrainConfig(frozen_layers=("block1",))}):
        with pytest.raises(ConfigError, match=message):
            FasterRCNNTrainer(trainer.network, **options)


# === compile ===


def kernel_after_a_step(trainer, gradient=0.0):
    """Update once, every gradient being the same -> the kernel before, and after."""
    kernel = trainer.network.box_head.fc2.kernel
    before = np.asarray(kernel)
    trainer.train_step(tf.constant(gradient))
    return before, np.asarray(kernel)


def test_a_new_trainer_trains_all_layers_with_the_papers_options(networks):
    network, _ = networks("float32")
    for layer in network._flatten_layers():
        layer.trainable = True
    trainer = FasterRCNNTrainer(network)
    assert trainer.train_config == TrainConfig(frozen_layers=())
    assert len(trainer.network.trainable_variables) == len(network.trainable_variables) > 40


def test_decay_of_ones_own_optimiser_is_applied_once(make_known):
    # SGD: kernel - 0.5 * 0.01 * kernel. Keras' own decay: kernel - 0.5 * 0.02 * kernel.
    trainer = make_known()
    trainer.compile(keras.optimizers.SGD(0.5), weight_decay=0.01)
    before, after = kernel_after_a_step(trainer)
    np.testing.assert_allclose(after, 0.995 * before, rtol=1e-6)
    trainer.compile(keras.optimizers.SGD(0.5, weight_decay=0.02))
    before, after = kernel_after_a_step(trainer)
    np.testing.assert_allclose(after, 0.99 * before, rtol=1e-6)


def test_without_a_decay_that_of_the_configuration_holds(make_trainer):
    trainer = make_trainer(weight_decay=0.25, clip_norm=3.0)
    trainer.compile("sgd")
    assert (trainer._weight_decay, trainer._clip_norm) == (0.25, 3.0)
    trainer.compile(keras.optimizers.AdamW(1e-4))
    assert (trainer._weight_decay, trainer._clip_norm) == (0.0, 3.0)


def test_two_decays_are_refused(make_trainer):
    with pytest.raises(ConfigError) as caught:
        make_trainer().compile(keras.optimizers.AdamW(weight_decay=0.25), weight_decay=5e-4)
    assert str(caught.value) == (
        "compile: weight_decay = 0.0005, and the optimiser AdamW has weight_decay = 0.25 of its "
        "own: weights would decay twice. Expected one of them: leave weight_decay out here, or "
        "give the optimiser weight_decay=None."
    )
    for name, value, told in (
        ("weight_decay", -0.5, "-0.5"),
        ("clip_norm", float("nan"), "nan"),
        ("clip_norm", "x", "'x'"),
        ("weight_decay", True, "True"),
    ):
        with pytest.raises(ConfigError) as caught:
            make_trainer().compile("sgd", **{name: value})
        assert str(caught.value) == f"compile: {name} = {told}: expected a number, 0 or more."
    make_trainer().compile("sgd", weight_decay=np.float32(0.5), clip_norm=0)


def test_gradients_are_clipped_to_the_norm_that_was_asked_for(make_known):
    trainer = make_known()
    trainer.compile(keras.optimizers.SGD(0.5), clip_norm=2.0)
    count = sum(int(np.prod(one.shape)) for one in trainer.network.trainable_variables)
    before, after = kernel_after_a_step(trainer, gradient=7.0)
    # All gradients are 7, their norm 7 * sqrt(count): clipped, each is 2 / sqrt(count).
    np.testing.assert_allclose(before - after, 0.5 * 2.0 / np.sqrt(count), rtol=1e-2)


# === fit ===


def test_histories_have_the_means_of_the_finite_steps(make_known):
    trainer = make_known(
        loss=lambda scale, values: scale + 0.0 * sum(tf.reduce_sum(one) for one in values)
    )
    trainer.tasks = (Task(("known",), trainer.compute_losses),)
    losses = tf.data.Dataset.from_tensor_slices(np.float32([1.0, np.nan, 2.0, 6.0]))
    validation = tf.data.Dataset.from_tensor_slices(np.float32([2.0, 4.0]))
    history = trainer.fit(losses, validation_data=validation, epochs=2, verbose=0).history
    # (1 + 2 + 6) / 3 and (2 + 4) / 2; three steps of four were finite.
    losses = dict.fromkeys(("loss", "known", "val_loss", "val_known"), [3.0, 3.0])
    assert history == {**losses, "finite": [0.75, 0.75]}
    found = trainer.evaluate(validation, verbose=0, return_dict=True)
    assert found == {"loss": 3.0, "known": 3.0}
    nothing = tf.data.Dataset.from_tensor_slices(np.float32([np.nan]))
    history = trainer.fit(nothing, validation_data=nothing, verbose=0).history
    assert np.isnan(history["loss"]).all() and np.isnan(history["val_loss"]).all()
    assert history["finite"] == [0.0]


@pytest.mark.parametrize(
    ("batches", "given"),
    [
        (np.zeros(3), "ndarray"),
        (tf.data.Dataset.from_tensors({"images": 0, "boxes": 0}), "images, boxes"),
        (make_batch(TWO_IMAGES), "dict"),
    ],
)
def test_what_is_not_prepared_is_told(batches, given, make_trainer):
    trainer = make_trainer()
    good = tf.data.Dataset.from_tensors(make_batch(TWO_IMAGES))
    message = rf"^{{}} \({given}\): expected a tf\.data\.Dataset of batches with .*prepare_dataset"
    with pytest.raises(DataError, match=message.format("x")):
        trainer.fit(batches)
    with pytest.raises(DataError, match=message.format("x")):
        trainer.evaluate(batches)
    with pytest.raises(DataError, match=message.format("validation_data")):
        trainer.fit(good, validation_data=batches)


def test_a_class_that_the_network_does_not_have_is_told(make_trainer):
    trainer = make_trainer()
    batch = make_batch(TWO_IMAGES)
    batch["gt_classes"] = tf.where(batch["gt_classes"] > 0, 4, 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="network has 3, and the data have"):
        trainer.fit(tf.data.Dataset.from_tensors(batch), verbose=0)


# === A backbone of one's own ===


def test_a_network_with_keras_mobilenet_trains_is_exported_and_converted(
    tiny_model_config, tmp_path
):
    from tf_frcnn.tflite.conversion import Converter
    from tf_frcnn.tflite.interpreter import FileRunner

    keras.utils.set_random_seed(0)
    network = FasterRCNN(tiny_model_config, 3, **STAGES["own"]())
    assert network.roi_pooling.strides == (32,)
    trainer = FasterRCNNTrainer(network)
    trainer.compile(keras.optimizers.SGD(0.01, momentum=0.9), clip_norm=10.0)
    batches = tf.data.Dataset.from_tensors(make_batch(TWO_IMAGES)).repeat(10)
    losses = trainer.fit(batches, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[1] < losses[0]
    assert int(trainer.optimizer.iterations) == 20

    network = InferenceModel(trainer.finished_network(), NAMES, *SIZE)
    image = noise()[0].astype(np.uint8)
    boxes, scores, classes = network(image)
    assert len(boxes) > 0
    config = Config(data=DataConfig(classes=NAMES), model=tiny_model_config)
    folder = export_saved_model(network, config, tmp_path / "exported")
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = served(images=tf.constant(image[None]))
    np.testing.assert_allclose(found["detection_boxes"][0, : len(boxes)], boxes, atol=1e-2)
    np.testing.assert_allclose(found["detection_scores"][0, : len(scores)], scores, atol=1e-4)

    converter = Converter(network, SIZE)
    lite = FileRunner(converter.convert("none", None)).detect(image)
    assert len(lite[0]) == len(boxes)
    np.testing.assert_allclose(lite[1], scores, atol=1e-4)
    for box, number in zip(boxes, classes, strict=True):  # scores that nearly tie change places
        others = lite[0][lite[2] == number]
        assert np.abs(others - box).max(axis=1).min() < 0.05


def test_stages_of_ones_own_survive_the_end_of_a_mixed_training(tiny_model_config):
    network = FasterRCNN(tiny_model_config, 3, precision="mixed_bfloat16", **STAGES["own"]())
    finished = FasterRCNNTrainer(network).finished_network()
    assert finished.precision == "float32" and finished.given_stages == network.given_stages
    assert_same_weights(finished, network)


def test_a_name_that_is_no_stage_is_told(tiny_model_config):
    with pytest.raises((ValueError, UserError), match="neck is no stage: expected some of prepr"):
        FasterRCNN(tiny_model_config, 3, neck=make_backbone())
