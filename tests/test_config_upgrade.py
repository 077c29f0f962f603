"""Configurations of older formats, and options under the names that they had then."""

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.make import OPTIONS
from tf_frcnn.commands.train import parse_arguments
from tf_frcnn.config import config_to_dict, flatten, load_config, parse_config, save_config
from tf_frcnn.config_upgrade import FORMAT, rename_options, upgrade_config
from tf_frcnn.errors import ConfigError, UserError
from tf_frcnn.presets import PRESETS
from tf_frcnn.resuming import prepare_run
from tf_frcnn.run_folder import RunFolder, start_run

FORMAT_1 = Path(__file__).parent / "fixtures" / "config_format_1.json"  # as training wrote it


def test_a_file_of_format_1_is_read_whole():
    old, new = json.loads(FORMAT_1.read_text()), config_to_dict(load_config(FORMAT_1))
    assert old["model"].pop("backbone") == new["model"].pop("architecture") == "vgg16_quarter"
    assert old["model"].pop("backbone_weights") == new["train"].pop("start_from") == "none"
    # What came later is as it was before.
    assert new["data"].pop("resize_rounding") == "nearest"
    assert new["data"].pop("antialias") is False
    assert new["data"].pop("images") == ""
    assert new["data"].pop("exif") == "ignore"  # what new runs do by default is another thing
    assert new["model"].pop("unused_columns") == ()
    assert new["model"].pop("soft_nms_sigma") == 0.0
    assert new["model"].pop("flip_at_test") is False
    assert new["train"].pop("trainable_stages") is None
    assert new["train"].pop("normalization") == "batch"
    assert new["train"].pop("ignore_padding_anchors") is True
    assert new["train"].pop("ignore_crowd_overlap") == 0.0
    assert new["train"].pop("loss_mean") == "images"
    assert new["train"].pop("validate_pictures") == 0
    assert new["train"].pop("start_from_epsilon") is None
    assert new["data"].pop("scale_jitter_steps") == 0
    assert new["data"].pop("pad_to") == 1
    assert new["data"].pop("pixel_type") == "float32"
    assert new["data"].pop("repeat_rare") == 0.0
    # The rest is the same, number for number; JSON makes lists of tuples.
    assert json.loads(json.dumps(new)) == {"format": 3, "tf_frcnn": new["tf_frcnn"], **old}


def test_what_is_written_has_the_current_format_and_names_the_release(tmp_path):
    save_config(load_config(FORMAT_1), tmp_path / "config.json")
    values = json.loads((tmp_path / "config.json").read_text())
    assert list(values)[:2] == ["format", "tf_frcnn"]
    assert values["format"] == FORMAT == 3
    assert load_config(tmp_path / "config.json") == load_config(FORMAT_1)


def test_an_upgrade_changes_a_copy():
    values = json.loads(FORMAT_1.read_text())
    before = copy.deepcopy(values)
    assert upgrade_config(values, "a file") != values == before


values_of_fields = st.sampled_from([None, 0, "vgg16", ["a", "list"]])
sections = values_of_fields | st.dictionaries(
    st.sampled_from(["backbone", "backbone_weights", "architecture", "start_from", "steps"]),
    values_of_fields,
)


@given(
    st.dictionaries(st.sampled_from(["data", "model", "train", "output"]), sections),
    st.sampled_from([None, 1, 2, 3]),
)
def test_upgrading_twice_is_upgrading_once(values, number):
    if number is not None:
        values = {**values, "format": number}
    once = upgrade_config(values, "a file")
    assert once["format"] == FORMAT
    assert upgrade_config(once, "a file") == once
    if number == FORMAT:
        assert once == values


def test_runs_of_format_2_took_stored_pixels():
    old = '{"format": 2, "data": {"root": "mine"}}'
    assert parse_config(old, "a file").data.exif == "ignore"
    assert parse_config('{"format": 3, "data": {}}', "a file").data.exif == "auto"


def test_a_field_that_is_not_there_keeps_its_default():
    assert upgrade_config({"model": {}, "output": "x"}, "a file") == {
        "data": {"exif": "ignore"},
        "model": {},
        "output": "x",
        "format": FORMAT,
    }
    assert parse_config('{"model": {"backbone_weights": "x.h5"}}', "a file").train.start_from == (
        "x.h5"
    )


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (
            {"format": 4, "tf_frcnn": "9.1.0"},
            r"^run/config\.json: format 4: this release reads formats up to 3\. The file was "
            r"written by tf_frcnn 9\.1\.0: install that, or a later one\.$",
        ),
        ({"format": 4}, r"written by a later release of tf_frcnn: install that"),
        ({"format": 0}, r"^run/config\.json: format 0: expected a whole number from 1 to 3\.$"),
        ({"format": "new"}, r"^run/config\.json: format new: expected a whole number"),
        ({"format": None}, r"^run/config\.json: format None: expected a whole number"),
    ],
)
def test_a_format_that_is_not_known_is_told(identity, message):
    # What is unknown in a later format is not what the message is about.
    text = json.dumps({**identity, "model": {"attention": 3}})
    with pytest.raises(ConfigError, match=message):
        parse_config(text, "run/config.json")


def test_old_names_are_unknown_in_the_current_format():
    with pytest.raises(ConfigError, match=r"^a file: model\.backbone: there is no such field"):
        parse_config('{"format": 3, "model": {"backbone": "vgg16"}}', "a file")


def test_a_fault_in_an_old_file_is_told_by_the_new_name():
    with pytest.raises(
        ConfigError, match=r"^a file: model\.architecture vgg19: expected one of vgg16"
    ):
        parse_config('{"model": {"backbone": "vgg19"}}', "a file")


# === Runs that go on ===

OLD_NAMES = ("--model.backbone", "--model.backbone-weights")
NEW_NAMES = ("--model.architecture", "--train.start-from")


@pytest.fixture
def old_run(tmp_path):
    """Give the folder of a run of format 1 that was stopped."""
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    folder.config_file.write_bytes(FORMAT_1.read_bytes())
    (folder.checkpoints / "step-00000002.h5").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("names", [OLD_NAMES, NEW_NAMES])
def test_an_old_run_goes_on_with_either_spelling(names, old_run, monkeypatch):
    monkeypatch.chdir(old_run.path.parent)  # `--output run`
    spelling = dict(zip(OLD_NAMES, names, strict=True))
    options = [spelling.get(option, option) for option in OPTIONS]
    config = prepare_run(old_run, parse_arguments(options).config)
    assert config == old_run.load_config()
    start_run(old_run, config)
    assert json.loads(old_run.config_file.read_text())["format"] == FORMAT
    assert old_run.load_config() == config


def test_what_differs_from_an_old_run_is_told_by_the_new_name(old_run):
    config = old_run.load_config()
    other = dataclasses.replace(
        config, train=dataclasses.replace(config.train, start_from="imagenet")
    )
    with pytest.raises(UserError, match=r"\n  --train\.start-from: none there, imagenet now\n"):
        prepare_run(old_run, other)


# === Options ===


@pytest.mark.parametrize(
    ("typed", "new", "value"),
    [
        (["--model.backbone", "vgg16_quarter"], "model.architecture", "vgg16_quarter"),
        (["--model.backbone=vgg16_quarter"], "model.architecture", "vgg16_quarter"),
        (["--model.backbone-weights", "a.h5"], "train.start-from", "a.h5"),
        (["--model.backbone_weights", "a b.h5"], "train.start-from", "a b.h5"),
        (["--model.backbone_weights=x=y.h5"], "train.start-from", "x=y.h5"),
    ],
)
def test_an_option_is_taken_under_its_old_name(typed, new, value, caplog):
    before = flatten(PRESETS["finetune"]())
    after = flatten(parse_arguments(["finetune", *typed]).config)
    assert {name: after[name] for name in after if after[name] != before[name]} == {
        **{new: value, "output": "runs/finetune", "export-dir": "saved_models/finetune"}
    }
    old = typed[0].partition("=")[0]
    assert caplog.messages == [f"{old} is called --{new} now."]


def test_the_line_on_an_old_name_reaches_the_terminal():
    code = (
        "from tf_frcnn.commands.train import parse_arguments as parse\n"
        "assert parse(['--model.backbone', 'vgg16']).config.model.architecture == 'vgg16'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "--model.backbone is called --model.architecture now.\n"


def test_what_only_looks_like_an_old_name_is_left_alone(caplog):
    arguments = ["--output", "model.backbone", "--data.root", "--model.backboneless"]
    assert rename_options(arguments) == arguments and caplog.messages == []
