"""The file of a step: what goes in comes out, and what is no such file is told."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf

from tests.training.non_finite.steps import NAN_TERMS, PATHS, make_batch, make_record
from tf_frcnn.config import Config
from tf_frcnn.errors import UserError
from tf_frcnn.training.non_finite.record import load_step, load_weights, save_step

WEIGHTS = {"conv/kernel": np.float32([[1.5, -2.0]]), "conv/bias": np.float32([np.nan, 3.0])}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "non_finite" / "step-00000050.h5"
    save_step(path, make_record(Config()), WEIGHTS)
    return path


def test_what_is_saved_is_loaded(saved):
    record = load_step(saved)
    assert (record.step, record.learning_rate, record.paths) == (50, 0.25, PATHS)
    assert record.class_names == ("cat", "dog", "duck")
    assert record.config == dataclasses.replace(
        Config(), data=dataclasses.replace(Config().data, classes=("cat", "dog", "duck"))
    )
    assert list(record.losses) == list(NAN_TERMS) and all(map(np.isnan, record.losses.values()))
    for name, value in make_batch().items():
        assert record.batch[name].dtype == value.dtype
        np.testing.assert_array_equal(record.batch[name], value)
    variables = {name: tf.Variable(tf.zeros(value.shape)) for name, value in WEIGHTS.items()}
    load_weights(saved, variables)
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(variables[name], value)


def test_a_step_with_a_configuration_of_an_older_format_is_loaded(saved):
    text = (Path(__file__).parents[2] / "fixtures" / "config_format_1.json").read_text()
    set_attribute("config", text)(saved)
    config = load_step(saved).config
    assert (config.model.architecture, config.train.start_from) == ("vgg16_quarter", "none")


def test_a_file_is_written_all_or_not_at_all(saved, monkeypatch):
    before = saved.read_bytes()

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        save_step(saved, make_record(Config(), step=51), WEIGHTS)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["step-00000050.h5"]


def change(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_batch(name, value):
    def edit(file):
        del file["batch/" + name]
        if value is not None:
            file["batch/" + name] = value

    return lambda path: change(path, edit)


def set_attribute(name, value):
    return lambda path: change(path, lambda file: file.attrs.update({name: value}))


DAMAGE = [
    pytest.param(lambda path: path.unlink(), "there is no such file", id="missing"),
    pytest.param(cut, "cannot be read", id="cut short"),
    pytest.param(lambda path: path.write_text("not HDF5"), "is no HDF5 file", id="text"),
    pytest.param(lambda path: path.write_bytes(b""), "the file is empty", id="empty"),
    pytest.param(set_attribute("format", "other"), "of another kind", id="other format"),
    pytest.param(
        set_attribute("format_version", 2),
        "format version 2, and this release reads version 1",
        id="version",
    ),
    pytest.param(set_attribute("config", "{}x"), "config: is no JSON", id="no JSON"),
    pytest.param(
        set_attribute("config", '{"train": {"sigma": 1}}'), "config: train.sigma", id="field"
    ),
    pytest.param(set_attribute("config", "{}"), "data.classes is empty", id="no classes"),
    pytest.param(replace_batch("seeds", None), "batch/seeds is missing", id="no seeds"),
    pytest.param(
        replace_batch("gt_boxes", np.zeros((2, 3, 5), np.float32)),
        r"batch/gt_boxes is float32 \[2, 3, 5\], expected float32 \[2, any, 4\] for 2 image",
        id="boxes of five numbers",
    ),
    pytest.param(
        replace_batch("image_sizes", np.zeros((1, 2), np.float32)), "batch/image_sizes", id="one"
    ),
    pytest.param(
        replace_batch("images", np.zeros((2, 9, 9, 3), np.uint8)), "images is uint8", id="uint8"
    ),
    pytest.param(
        lambda path: change(path, lambda file: file.attrs.pop("step")), "cannot be read", id="step"
    ),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_what_is_no_such_file_is_told(saved, damage, message):
    damage(saved)
    with pytest.raises(UserError, match=message) as caught:
        load_step(saved)
    text = str(caught.value)
    assert text.startswith(f"{saved}: ")
    assert "RUN/non_finite/" in text or "written by tf_frcnn 0" in text  # what to do


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        load_step(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("conv/kernel", (2, 2), r"weights/conv/kernel has shape \(1, 2\), expected .* \(2, 2\)"),
        ("other/kernel", (1, 2), "weights/other/kernel is missing"),
    ],
)
def test_weights_of_another_network_are_not_assigned(saved, name, shape, message):
    variables = {"conv/bias": tf.Variable([7.0, 7.0]), name: tf.Variable(tf.zeros(shape))}
    with pytest.raises(UserError, match=message):
        load_weights(saved, variables)
    np.testing.assert_array_equal(variables["conv/bias"], [7.0, 7.0])


def test_boxes_to_ignore_are_kept_and_asked_for_where_a_step_needs_them(tmp_path):
    train = dataclasses.replace(Config().train, ignore_crowd_overlap=0.5)
    config = dataclasses.replace(Config(), train=train)
    boxes = np.float32([[[0, 0, 9, 9], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    path = tmp_path / "step-00000050.h5"
    save_step(path, make_record(config, batch=make_batch() | {"ignored_boxes": boxes}), WEIGHTS)
    np.testing.assert_array_equal(load_step(path).batch["ignored_boxes"], boxes)
    save_step(path, make_record(config), WEIGHTS)
    with pytest.raises(
        UserError,
        match=r"batch/ignored_boxes is missing, expected float32 \[2, any, 4\] for 2 images",
    ):
        load_step(path)
