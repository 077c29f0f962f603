"""The folder of a run and its files."""

import dataclasses
import json

import pytest

from tf_frcnn.config import Config
from tf_frcnn.errors import ConfigError, UserError
from tf_frcnn.files import write_json
from tf_frcnn.run_folder import RunFolder, start_run, with_classes


def make_config(**train):
    """Give a configuration with classes, some training fields replaced."""
    config = with_classes(Config(output="runs/mine"), ("cat", "dog"))
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


@pytest.fixture
def folder(tmp_path):
    """Give the folder of a run that was started."""
    folder = RunFolder(tmp_path / "runs" / "mine")
    folder.path.mkdir(parents=True)
    start_run(folder, make_config())
    return folder


def test_a_folder_that_is_no_run_has_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing: is no training run: expected a folder with"):
        RunFolder(tmp_path / "nothing").load_config()


@pytest.mark.parametrize(
    ("division", "problem"),
    [
        ({"train": ["a", "b"], "val": ["c"], "test": ["b"]}, "test: 'b' is in train too"),
        ({"train": ["a", "b", "a"], "val": []}, "train: 'a' is there twice"),
    ],
)
def test_an_image_in_two_splits_is_named(folder, division, problem):
    write_json(folder.splits_file, division)
    with pytest.raises(
        UserError, match=rf"mine/splits\.json: {problem}.*restore the file.*training's --over"
    ):
        folder.load_division()


def test_a_run_is_finished_when_it_has_its_figures(folder):
    assert not folder.is_finished(make_config())
    write_json(folder.metrics_file, {"coco_ap": 0.5, "per_class": {"cat": None}})
    assert folder.is_finished(make_config())
    assert folder.load_metrics() == {"coco_ap": 0.5, "per_class": {"cat": None}}


@pytest.mark.parametrize(
    "metrics",
    # Early stopping ended the second; the third is from before that was possible.
    [{"steps": 9, "planned_steps": 9}, {"steps": 4, "planned_steps": 9}, {"steps": 9}],
)
def test_a_run_that_is_to_be_longer_is_not_finished(folder, metrics):
    write_json(folder.metrics_file, metrics)
    assert folder.is_finished(make_config(steps=9))
    assert not folder.is_finished(make_config(steps=10))


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_damaged_figures_are_named(folder, content):
    folder.metrics_file.write_text(content)
    with pytest.raises(UserError, match=r"mine/metrics\.json: .*--overwrite"):
        folder.load_metrics()
    assert folder.is_finished(make_config())  # it had them: they are not to be made anew silently


def test_names_that_are_no_text_come_back_from_the_splits(tmp_path):
    folder = RunFolder(tmp_path)
    division = {"train": ["caf\udce9", "größe", "bytes:1"], "val": ["a\nb"]}  # a byte of Latin-1
    start_run(folder, make_config(), division)
    written = json.loads(folder.splits_file.read_bytes().decode("utf-8"))
    assert written["train"] == ["bytes:caf%E9", "größe", "bytes:bytes%3A1"]
    assert folder.load_division() == division
