"""The folder of a run: new, gone on with, of another configuration, moved aside."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from tf_frcnn.config import Config, load_config
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

BACKUP = re.compile(r"\.bak-\d{8}-\d{6}(-\d+)?$")


def make_config(**train):
    """Give a configuration with classes, some training fields replaced."""
    config = with_classes(Config(output="runs/mine"), ("cat", "dog"))
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "mine")


@pytest.fixture
def unfinished(folder):
    """Give the folder of a run that was started, with something of value in it."""
    folder.prepare(make_config(), overwrite=False)
    start_run(folder, make_config())
    folder.checkpoints.mkdir()
    (folder.checkpoints / "step-00000004.h5").write_bytes(b"days of work")
    return folder


def backups(folder):
    return [path for path in folder.path.parent.iterdir() if BACKUP.search(path.name)]


def test_a_new_run_gets_its_folder_and_configuration(folder):
    folder.prepare(make_config(), overwrite=False)
    assert folder.path.is_dir() and not folder.is_finished
    start_run(folder, make_config())
    assert folder.load_config() == make_config()


def test_an_empty_folder_is_as_good_as_none(folder):
    folder.path.mkdir(parents=True)
    folder.prepare(make_config(), overwrite=False)


def test_an_unfinished_run_of_the_same_configuration_goes_on(unfinished):
    before = unfinished.config_file.read_text()
    unfinished.prepare(make_config(), overwrite=False)
    start_run(unfinished, make_config())
    assert unfinished.config_file.read_text() == before
    assert (unfinished.checkpoints / "step-00000004.h5").read_bytes() == b"days of work"
    assert not unfinished.is_finished and backups(unfinished) == []


def test_classes_that_were_found_need_not_be_given(unfinished):
    found_again = with_classes(make_config(), ())
    unfinished.prepare(found_again, overwrite=False)
    others = with_classes(make_config(), ("cat", "duck"))
    with pytest.raises(UserError, match=r"--data\.classes: \('cat', 'dog'\) there"):
        unfinished.prepare(others, overwrite=False)


def test_a_run_that_was_moved_is_still_the_same(unfinished):
    elsewhere = dataclasses.replace(make_config(), output="somewhere/else", export_dir="there")
    start_run(unfinished, unfinished.prepare(elsewhere, overwrite=False))
    assert unfinished.load_config() == elsewhere  # where the SavedModel will be looked for


def test_a_run_may_go_on_leaving_out_steps_that_are_not_finite(unfinished):
    skipping = make_config(on_nan="skip")
    start_run(unfinished, unfinished.prepare(skipping, overwrite=False))
    assert unfinished.load_config() == skipping


def test_another_configuration_is_refused_naming_the_fields_that_differ(unfinished):
    with pytest.raises(UserError) as caught:
        unfinished.prepare(make_config(steps=9, batch_size=2), overwrite=False)
    message = str(caught.value)
    assert "--train.steps: 70000 there, 9 now" in message
    assert "--train.batch-size: 1 there, 2 now" in message
    assert message.count("\n  --") == 2 and "--overwrite" in message
    assert caught.value.exit_status == 2
    assert (unfinished.checkpoints / "step-00000004.h5").is_file()


def test_overwriting_moves_the_old_run_aside_whole(unfinished):
    unfinished.prepare(make_config(steps=9), overwrite=True)
    assert list(unfinished.path.iterdir()) == []
    (backup,) = backups(unfinished)
    assert backup.name.startswith("mine.bak-")
    assert (backup / "checkpoints" / "step-00000004.h5").read_bytes() == b"days of work"
    assert load_config(backup / "config.json") == make_config()


def test_overwriting_nothing_is_fine(folder):
    folder.prepare(make_config(), overwrite=True)
    assert folder.path.is_dir() and backups(folder) == []


def test_overwriting_twice_within_a_second_loses_nothing(unfinished):
    for step in (1, 2, 3):
        unfinished.prepare(make_config(steps=step), overwrite=True)
        (unfinished.path / "marker").write_text(str(step))
    kept = {path.read_text() for path in unfinished.path.parent.glob("*/marker")}
    assert kept == {"1", "2", "3"}
    assert len(backups(unfinished)) == 3


@pytest.mark.parametrize("damage", ["{", '{"train": {"stepz": 1}}'])
def test_a_damaged_configuration_is_named_and_the_run_left_alone(unfinished, damage):
    unfinished.config_file.write_text(damage)
    with pytest.raises(ConfigError, match=r"mine/config\.json: "):
        unfinished.prepare(make_config(), overwrite=False)
    assert unfinished.config_file.read_text() == damage


def test_a_run_that_failed_before_its_first_step_may_change(folder):
    folder.prepare(make_config(), overwrite=False)
    start_run(folder, make_config())
    write_json(folder.dataset_file, {})
    folder.prepare(make_config(steps=9), overwrite=False)
    assert list(folder.path.iterdir()) == []
    start_run(folder, make_config(steps=9))
    assert folder.load_config() == make_config(steps=9)


@pytest.mark.parametrize("others", [[], ["model.safetensors"]])
def test_a_config_json_of_something_else_is_left_alone(folder, others):
    folder.path.mkdir(parents=True)
    content = '{"model_type": "bert"}'
    for name in ["config.json", *others]:
        (folder.path / name).write_text(content)
    with pytest.raises(UserError, match="mine"):
        folder.prepare(make_config(), overwrite=False)
    for name in ["config.json", *others]:
        assert (folder.path / name).read_text() == content


def test_a_folder_with_other_files_is_refused(folder):
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"mine: holds other files and no config\.json"):
        folder.prepare(make_config(), overwrite=False)
    assert (folder.path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("blocked", "problem"),
    [("runs", r"the folder cannot be made \("), ("runs/mine", "is a file. Expected a folder")],
)
def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, blocked, problem):
    path = tmp_path / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file")
    with pytest.raises(UserError, match=f"--output .*mine: {problem}"):
        RunFolder(tmp_path / "runs" / "mine").prepare(make_config(), overwrite=False)
    assert path.read_text() == "a file"


def test_a_folder_that_is_no_run_has_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing: is no training run: expected a folder with"):
        RunFolder(tmp_path / "nothing").load_config()


def test_a_run_is_finished_when_it_has_its_figures(unfinished):
    write_json(unfinished.metrics_file, {"coco_ap": 0.5, "per_class": {"cat": None}})
    assert unfinished.is_finished
    assert unfinished.load_metrics() == {"coco_ap": 0.5, "per_class": {"cat": None}}


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_damaged_figures_are_named(unfinished, content):
    unfinished.metrics_file.write_text(content)
    with pytest.raises(UserError, match=r"mine/metrics\.json: .*--overwrite"):
        unfinished.load_metrics()


# === Other results ===


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
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
