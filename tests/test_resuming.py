"""What a command does with a run's folder: new, gone on with, longer, another, moved aside."""

import dataclasses
import logging
import re

import pytest

from tf_frcnn.config import Config, config_to_json, load_config
from tf_frcnn.errors import ConfigError, UserError
from tf_frcnn.files import write_json
from tf_frcnn.resuming import check_moved_data, has_moved_data, prepare_run
from tf_frcnn.run_folder import RunFolder, start_run, with_classes, with_exif

BACKUP = re.compile(r"\.bak-\d{8}-\d{6}(-\d+)?$")


def make_config(**train):
    """Give a configuration with classes, some training fields replaced."""
    config = with_classes(
        Config(output="runs/mine", export_dir="saved_models/mine"), ("cat", "dog")
    )
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "mine")


@pytest.fixture
def unfinished(folder):
    """Give the folder of a run that was started, with something of value in it."""
    prepare_run(folder, make_config())
    start_run(folder, make_config())
    folder.checkpoints.mkdir()
    (folder.checkpoints / "step-00000004.h5").write_bytes(b"days of work")
    return folder


def backups(folder):
    return [path for path in folder.path.parent.iterdir() if BACKUP.search(path.name)]


def test_a_new_run_gets_its_folder_and_configuration(folder):
    prepare_run(folder, make_config())
    assert folder.path.is_dir() and not folder.is_finished(make_config())
    start_run(folder, make_config())
    assert folder.load_config() == make_config()


def test_what_a_run_starts_from_is_not_moved_away(unfinished):
    start = unfinished.checkpoints / "step-00000004.h5"
    with pytest.raises(UserError, match=r"mine: holds .*step-00000004.h5, which is an input"):
        prepare_run(unfinished, make_config(start_from=str(start), steps=9), overwrite=True)
    assert start.is_file() and not backups(unfinished)


def test_an_empty_folder_is_as_good_as_none(folder):
    folder.path.mkdir(parents=True)
    prepare_run(folder, make_config())


def test_an_unfinished_run_of_the_same_configuration_goes_on(unfinished):
    before = unfinished.config_file.read_text()
    prepare_run(unfinished, make_config())
    start_run(unfinished, make_config())
    assert unfinished.config_file.read_text() == before
    assert (unfinished.checkpoints / "step-00000004.h5").read_bytes() == b"days of work"
    assert not unfinished.is_finished(make_config()) and backups(unfinished) == []


def test_classes_that_were_found_need_not_be_given(unfinished):
    found_again = with_classes(make_config(), ())
    prepare_run(unfinished, found_again)
    others = with_classes(make_config(), ("cat", "sitting duck"))
    with pytest.raises(UserError, match=r"--data\.classes: cat dog there, cat 'sitting duck' now"):
        prepare_run(unfinished, others)


@pytest.mark.parametrize("choice", ["apply", "ignore"])
def test_a_run_keeps_its_choice_about_exif_orientations(choice, folder):
    prepare_run(folder, make_config())
    start_run(folder, with_exif(make_config(), choice))
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / "step-00000004.h5").touch()
    assert prepare_run(folder, make_config()).data.exif == choice
    other = "ignore" if choice == "apply" else "apply"
    with pytest.raises(UserError, match=rf"--data\.exif: {choice} there, {other} now"):
        prepare_run(folder, with_exif(make_config(), other))


def test_a_run_that_was_moved_is_still_the_same(unfinished):
    elsewhere = dataclasses.replace(make_config(), output="somewhere/else", export_dir="there")
    start_run(unfinished, prepare_run(unfinished, elsewhere))
    assert unfinished.load_config() == elsewhere  # where the SavedModel will be looked for


def test_a_run_may_go_on_leaving_out_steps_that_are_not_finite(unfinished):
    skipping = make_config(on_nan="skip")
    start_run(unfinished, prepare_run(unfinished, skipping))
    assert unfinished.load_config() == skipping


def test_another_configuration_is_refused_naming_the_fields_that_differ(unfinished):
    with pytest.raises(UserError) as caught:
        prepare_run(unfinished, make_config(steps=9, batch_size=2))
    message = str(caught.value)
    assert "--train.steps: 70000 there, 9 now" in message
    assert "--train.batch-size: 1 there, 2 now" in message
    assert message.count("\n  --") == 2 and "--overwrite" in message
    assert caught.value.exit_status == 2
    assert (unfinished.checkpoints / "step-00000004.h5").is_file()


def test_a_run_validates_on_the_same_images_to_its_end(unfinished):
    # Losses of others can't be compared with those that were the lowest so far.
    with pytest.raises(UserError, match=r"--train.validate-pictures: 0 there, 500 now"):
        prepare_run(unfinished, make_config(validate_pictures=500))


def test_overwriting_moves_the_old_run_aside_whole(unfinished):
    prepare_run(unfinished, make_config(steps=9), overwrite=True)
    assert list(unfinished.path.iterdir()) == []
    (backup,) = backups(unfinished)
    assert backup.name.startswith("mine.bak-")
    assert (backup / "checkpoints" / "step-00000004.h5").read_bytes() == b"days of work"
    assert load_config(backup / "config.json") == make_config()


def test_overwriting_nothing_is_fine(folder):
    prepare_run(folder, make_config(), overwrite=True)
    assert folder.path.is_dir() and backups(folder) == []


def test_overwriting_twice_within_a_second_loses_nothing(unfinished):
    for step in (1, 2, 3):
        prepare_run(unfinished, make_config(steps=step), overwrite=True)
        (unfinished.path / "marker").write_text(str(step))
    kept = {path.read_text() for path in unfinished.path.parent.glob("*/marker")}
    assert kept == {"1", "2", "3"}
    assert len(backups(unfinished)) == 3


@pytest.mark.parametrize("damage", ["{", '{"train": {"stepz": 1}}'])
def test_a_damaged_configuration_is_named_and_the_run_left_alone(unfinished, damage):
    unfinished.config_file.write_text(damage)
    with pytest.raises(ConfigError, match=r"mine/config\.json: "):
        prepare_run(unfinished, make_config())
    assert unfinished.config_file.read_text() == damage


def test_a_run_that_failed_before_its_first_step_may_change(folder):
    prepare_run(folder, make_config())
    start_run(folder, make_config())
    write_json(folder.dataset_file, {})
    prepare_run(folder, make_config(steps=9))
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
        prepare_run(folder, make_config())
    for name in ["config.json", *others]:
        assert (folder.path / name).read_text() == content


def test_a_folder_with_other_files_is_refused(folder):
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"mine: holds other files and no config\.json"):
        prepare_run(folder, make_config())
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
        prepare_run(RunFolder(tmp_path / "runs" / "mine"), make_config())
    assert path.read_text() == "a file"


# === Longer runs ===


def test_a_run_can_be_made_longer(unfinished, caplog):
    longer = make_config(steps=90_000)
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        assert prepare_run(unfinished, longer) == longer
    assert "is made longer, from 70000 to 90000 steps" in caplog.text
    assert unfinished.load_config() == make_config()  # until it is started
    assert (unfinished.checkpoints / "step-00000004.h5").read_bytes() == b"days of work"


def test_a_finished_run_that_is_made_longer_keeps_its_figures_and_is_unfinished(unfinished):
    write_json(unfinished.metrics_file, {"steps": 70_000, "planned_steps": 70_000})
    longer = make_config(steps=90_000)
    start_run(unfinished, prepare_run(unfinished, longer))
    assert unfinished.load_metrics()["steps"] == 70_000
    # Also for a command that comes after a kill.
    assert not unfinished.is_finished(prepare_run(unfinished, longer))


def test_a_run_cannot_be_made_shorter(unfinished):
    with pytest.raises(UserError) as caught:
        prepare_run(unfinished, make_config(steps=69_999))
    message = str(caught.value)
    assert "mine: holds a run of --train.steps 70000, 69999 are fewer" in message
    assert "can be made longer" in message and "--overwrite" in message


def test_a_longer_run_must_be_the_same_in_all_else(unfinished):
    with pytest.raises(
        UserError, match=r"(?s)another configuration:.*--train\.steps.*--train\.seed"
    ):
        prepare_run(unfinished, make_config(steps=90_000, seed=1))


def test_differences_are_written_as_they_are_typed(unfinished):
    with pytest.raises(UserError, match=r"\n  --train\.decay-steps: 50000 there, 1000 2000 now\n"):
        prepare_run(unfinished, make_config(decay_steps=(1000, 2000)))


# === Insisting on going on ===


def test_resuming_needs_a_run(folder):
    with pytest.raises(UserError, match=r"--resume: .*mine holds no run that was started"):
        prepare_run(folder, make_config(), resume=True)
    assert not folder.path.exists()


def test_resuming_needs_a_checkpoint(folder):
    prepare_run(folder, make_config())
    start_run(folder, make_config())
    folder.metrics_log.touch()
    with pytest.raises(UserError, match=r"--resume: .*checkpoints holds no checkpoint"):
        prepare_run(folder, make_config(), resume=True)
    prepare_run(folder, make_config())  # without it, the run starts again


@pytest.mark.parametrize("finished", [False, True])
def test_resuming_a_run_is_going_on_or_being_done(unfinished, finished):
    if finished:
        write_json(unfinished.metrics_file, {"steps": 70_000})
    assert prepare_run(unfinished, make_config(), resume=True) == make_config()


# === Killed at the beginning ===

EARLY_FILES = ("splits.json", "config.json", "dataset.json")


@pytest.mark.parametrize(
    "names",
    [
        *[EARLY_FILES[:count] for count in (1, 2, 3)],
        *[(*EARLY_FILES[:count], f"{EARLY_FILES[count]}.partial") for count in (0, 1, 2)],
    ],
)
def test_a_run_killed_while_it_wrote_its_first_files_can_be_started(folder, names):
    folder.path.mkdir(parents=True)
    for name in names:
        text = config_to_json(make_config()) if name == "config.json" else "{}"
        (folder.path / name).write_text("{" if name.endswith("partial") else text)
    assert prepare_run(folder, make_config(steps=9)) == make_config(steps=9)
    assert list(folder.path.iterdir()) == []


# === Workers that do not write ===


def test_another_worker_reads_the_run_and_changes_nothing(unfinished):
    reader = RunFolder(unfinished.path, is_writer=False)
    before = {path: path.stat().st_mtime_ns for path in unfinished.path.rglob("*")}
    assert prepare_run(reader, with_classes(make_config(), ()), overwrite=True) == make_config()
    assert {path: path.stat().st_mtime_ns for path in unfinished.path.rglob("*")} == before


# === Data that were moved, or are typed otherwise ===


def with_data(config, **fields):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **fields))


def record_of(digest="ab" * 32, num_boxes=3):
    split = {"split": "train", "num_pictures": 2, "num_boxes": num_boxes, "sha256": digest}
    return {"root": "data", "format": "voc", "splits": {"train": split}}


@pytest.fixture
def with_record(folder):
    config = with_data(make_config(), root="old/data")
    prepare_run(folder, config)
    start_run(folder, config, dataset_record=record_of())
    (folder.checkpoints).mkdir()
    (folder.checkpoints / "step-00000004.h5").write_bytes(b"days of work")
    return folder


@pytest.mark.parametrize("typed", ["./old/data", "old/other/../data", "{}/old/data"])
def test_the_same_folder_typed_otherwise_is_the_same(with_record, monkeypatch, tmp_path, typed):
    monkeypatch.chdir(tmp_path)
    with_record.dataset_file.unlink()  # the fingerprint is not asked for
    config = with_data(make_config(), root=typed.format(tmp_path))
    assert prepare_run(with_record, config) == config
    assert not has_moved_data(with_record, config)


def test_moved_data_go_on_with_the_same_fingerprint_only(with_record, caplog):
    config = with_data(make_config(), root="new/data", images="new/images")
    assert prepare_run(with_record, config) == config
    assert has_moved_data(with_record, config)
    with caplog.at_level(logging.INFO):
        check_moved_data(with_record, config, {**record_of(), "root": "another name"})
    assert "the same images and boxes lie elsewhere: --data.root old/data there, new/data" in (
        caplog.text
    )
    with pytest.raises(UserError) as caught:
        check_moved_data(with_record, config, record_of("cd" * 32, num_boxes=1))
    assert (
        "\n  train: 2 images, 3 boxes (split train, SHA-256 abababab) there, "
        "2 images, 1 box (split train, SHA-256 cdcdcdcd) now\n"
    ) in str(caught.value)
    assert "--overwrite" in str(caught.value)
    with_record.dataset_file.write_text("[")
    with pytest.raises(UserError, match="dataset.json: cannot be read. Expected the fingerprint"):
        check_moved_data(with_record, config, record_of())


def test_without_a_fingerprint_moved_data_are_another_configuration(with_record):
    with_record.dataset_file.unlink()
    with pytest.raises(UserError, match="--data.root: old/data there, new/data now"):
        prepare_run(with_record, with_data(make_config(), root="new/data"))


def test_a_set_of_tfds_goes_by_its_name(with_record):
    config = with_data(make_config(), root="old/data", format="tfds")
    start_run(with_record, config, dataset_record=record_of())
    assert not has_moved_data(with_record, config)
    assert has_moved_data(with_record, with_data(config, root="./old/data"))
