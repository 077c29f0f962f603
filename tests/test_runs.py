"""The folder of a run and its files; results of other commands, and what is in their place."""

import dataclasses
import json
from pathlib import Path

import pytest

from tf_frcnn.config import Config
from tf_frcnn.errors import ConfigError, UserError
from tf_frcnn.runs import (
    RunFolder,
    make_writable_folder,
    move_aside,
    prepare_output,
    start_run,
    with_classes,
    write_json,
)


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


# === Other results ===


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.json"]


def test_json_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(UserError, match=r"metrics\.json: cannot be written \(No space left"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.json"]


def test_a_folder_of_results_is_made(tmp_path):
    prepare_output(tmp_path / "a" / "b", overwrite=False)
    assert (tmp_path / "a" / "b").is_dir()
    prepare_output(tmp_path / "a" / "b", overwrite=False)  # empty: nothing can be lost


def test_results_that_are_there_are_refused_or_moved(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("old")
    with pytest.raises(UserError, match=r"out: there is something already.*--overwrite"):
        prepare_output(tmp_path / "out", overwrite=False)
    prepare_output(tmp_path / "out", overwrite=True)
    assert list((tmp_path / "out").iterdir()) == []
    (backup,) = tmp_path.glob("out.bak-*")
    assert (backup / "metrics.json").read_text() == "old"


def test_a_file_in_the_place_of_results_is_refused(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(UserError, match="out: is a file"):
        prepare_output(tmp_path / "out", overwrite=False)
    assert (tmp_path / "out").read_text() == "old"


def test_a_folder_must_take_files(tmp_path):
    make_writable_folder(tmp_path / "a" / "b", "--export-dir")
    assert list((tmp_path / "a" / "b").iterdir()) == []  # the trial leaves nothing
    # /proc refuses files and folders to everyone, the superuser too.
    with pytest.raises(UserError, match="--export-dir /proc: the folder cannot be written to"):
        make_writable_folder(Path("/proc"), "--export-dir")
    with pytest.raises(UserError, match="--output /proc/mine: the folder cannot be made"):
        make_writable_folder(Path("/proc/mine"), "--output")


def test_moving_what_cannot_be_moved_is_told(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(18, "Invalid cross-device link")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("pathlib.PosixPath.rename", refuse)
    with pytest.raises(UserError, match=r"out: cannot be moved to .*Invalid cross-device link"):
        move_aside(tmp_path / "out")
