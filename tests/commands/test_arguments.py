"""Arguments of `train` and `evaluate`: options, presets, and one message for what is wrong."""

import sys
from pathlib import Path

import pytest

from tf_frcnn.commands.evaluate import parse_arguments as parse_evaluate_arguments
from tf_frcnn.commands.train import advise_small_network
from tf_frcnn.commands.train import parse_arguments as parse_train_arguments
from tf_frcnn.config import Config, flatten, save_config
from tf_frcnn.errors import ConfigError, run_command
from tf_frcnn.presets import PRESETS, quickstart

OPTIONS = [  # option, what is typed, what the configuration then holds
    ("data.format", "voc", "voc"),
    ("data.root", "pictures", "pictures"),
    ("data.train-split", "trainval", "trainval"),
    ("data.val-split", "none", "none"),
    ("data.test-split", "val", "val"),
    ("data.classes", "cat dog", ("cat", "dog")),
    ("data.short-side", "240", 240),
    ("data.long-side", "900", 900),
    ("model.architecture", "vgg16_quarter", "vgg16_quarter"),
    ("model.anchor-sizes", "32 64", (32.0, 64.0)),
    ("model.roi-op", "roi_align", "roi_align"),
    ("model.score-threshold", "0.2", 0.2),
    ("model.nms-iou", "0.4", 0.4),
    ("model.soft-nms-sigma", "0.3", 0.3),
    ("model.flip-at-test", "", True),
    ("train.start-from", "vgg16_notop.h5", "vgg16_notop.h5"),
    ("train.steps", "7", 7),
    ("train.batch-size", "3", 3),
    ("train.learning-rate", "0.02", 0.02),
    ("train.warmup-steps", "5", 5),
    ("train.decay-steps", "4 6", (4, 6)),
    ("train.seed", "11", 11),
    ("train.on-nan", "skip", "skip"),
    ("train.export", "best", "best"),
    ("train.early-stopping-patience", "3", 3),
    ("output", "here", "here"),
    ("export-dir", "there", "there"),
]


def exit_of(parse, arguments, capsys):
    """Parse what must not be accepted -> (exit status, standard output, standard error)."""
    # tyro before 0.9.2 keeps what it did not recognise for the next call in the same process.
    formatter = sys.modules.get("tyro._argparse_formatter")
    getattr(formatter, "global_unrecognized_arg_and_prog", []).clear()
    try:
        status = run_command(lambda: parse(arguments))
    except SystemExit as stopped:
        status = stopped.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def unframed(text):
    """Undo the box and the line breaks that frame a message."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize(("option", "typed", "value"), OPTIONS)
def test_an_option_changes_its_field_alone(option, typed, value):
    before = flatten(parse_train_arguments(["finetune"]).config)
    after = flatten(parse_train_arguments(["finetune", f"--{option}", *typed.split()]).config)
    assert after[option] == value
    assert {name for name in after if after[name] != before[name]} == {option}


def test_every_field_of_the_configuration_is_an_option(capsys):
    status, out, err = exit_of(parse_train_arguments, ["--help"], capsys)
    assert (status, err) == (0, "")
    words = out.split()
    # They go with weights that no training has: an export's, and published ones.
    brought_by_weights = ("model.head-rank", "model.unused-columns")
    for name in [*flatten(Config()), "overwrite,", "resume,"]:
        is_option = any(word.startswith(f"--{name}") for word in words)
        assert is_option == (name not in brought_by_weights), name
    for preset in PRESETS:
        assert f"Preset {preset}: " in out


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_its_values_and_folders_of_its_name(preset):
    config = parse_train_arguments([preset]).config
    expected = flatten(PRESETS[preset]())
    expected |= {"output": f"runs/{preset}", "export-dir": f"saved_models/{preset}"}
    assert flatten(config) == expected


def test_no_arguments_are_the_quickstart(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    arguments = parse_train_arguments()
    assert arguments.config.data == quickstart().data
    assert arguments.config.output == "runs/quickstart"
    assert not arguments.overwrite and not arguments.resume


def test_options_may_come_with_or_without_preset():
    assert parse_train_arguments(["--train.steps", "3"]).config.train.steps == 3
    arguments = parse_train_arguments(["voc07", "--train.steps", "3", "--overwrite"])
    assert arguments.config.train.steps == 3 and arguments.overwrite
    assert arguments.config.data.train_split == "trainval"


# === What is wrong ===


def test_an_unknown_preset_is_told_which_there_are(capsys):
    status, _, err = exit_of(parse_train_arguments, ["voc12"], capsys)
    assert status == 2
    assert err == (
        "error: no preset is named 'voc12': expected one of quickstart, voc07, finetune.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train.steps", "many"], "--train.steps: invalid literal for int"),
        (["--train.learning-rate", "fast"], "--train.learning-rate"),
        (["--model.architecture", "vgg19"], "--model.architecture"),
        (["--model.roi-op", "pool"], "roi_align_aligned"),
        (["--data.short-sid", "3"], "Unrecognized options: --data.short-sid"),
        (["finetune", "images"], ": images"),  # Unrecognized options, arguments in old tyros
        (["--train.steps"], "--train.steps"),
        (["--data.short-side", "-5"], "--data.short-side -5: expected a number above 0."),
        (["--train.learning-rate", "-1"], "--train.learning-rate -1.0: expected a number above 0."),
        (["--train.steps", "2147483648"], "--train.steps 2147483648: expected at most 2147483647."),
        (
            ["--train.seed", "4294967296"],
            "--train.seed 4294967296: expected 0 or more, at most 2147483647.",
        ),
        (
            ["--data.val-split", "none", "--train.export", "best"],
            "--train.export best: expected a validation, and --data.val-split is none.",
        ),
        (["--train.decay-steps", "9", "5"], "--train.decay-steps 9 5: expected steps in rising"),
        (["--data.short-side", "300"], "--data.long-side 256: expected at least --data.short-side"),
        (["--resume", "--overwrite"], "--resume and --overwrite: expected one of them"),
        (["--train.early-stopping-patience", "-1"], "patience -1: expected 0 or more"),
        (
            ["--data.classes", "cat", "cat"],
            "--data.classes cat cat: expected every class name once",
        ),
    ],
)
def test_a_wrong_option_is_one_message_and_status_2(arguments, message, capsys):
    status, out, err = exit_of(parse_train_arguments, arguments, capsys)
    assert (status, out) == (2, "")
    assert message in unframed(err)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("typed", "sigma"),
    [
        ([], 0.0),  # the default of its time
        (["--model.soft-nms-sigma", "0.5"], 0.5),
        (["--overwrite"], 0.5),
        (["--output", "other"], 0.5),
    ],
)
def test_what_is_not_typed_of_a_run_of_before_has_the_default_of_its_time(
    typed, sigma, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "finetune"
    folder.mkdir(parents=True)
    run = parse_train_arguments(["finetune", "--model.soft-nms-sigma", "0"]).config
    save_config(run, folder / "config.json")
    assert parse_train_arguments(["finetune"]).config.model.soft_nms_sigma == 0.5  # not started
    (folder / "metrics.jsonl").write_text("")
    assert parse_train_arguments(["finetune", *typed]).config.model.soft_nms_sigma == sigma
    (folder / "config.json").write_text("{")  # told when it is gone on with
    parse_train_arguments(["finetune", *typed])


# === evaluate.py ===


def test_evaluation_takes_a_run_and_other_data():
    arguments = parse_evaluate_arguments(
        ["runs/mine", "--data.root", "pictures", "--data.test-split", "val", "--output", "out"]
    )
    assert arguments.model == Path("runs/mine") and arguments.output_folder == Path("out")
    config = arguments.apply_to(PRESETS["finetune"]())
    assert (config.data.root, config.data.test_split) == ("pictures", "val")
    assert config.data.train_split == "train"  # what was not given is the run's own
    assert config.model == PRESETS["finetune"]().model


def test_evaluation_without_options_is_on_the_runs_own_data():
    config = PRESETS["quickstart"]()
    assert parse_evaluate_arguments(["runs/mine"]).apply_to(config) == config


def test_evaluation_needs_a_split():
    config = parse_train_arguments(["--data.test-split", "none"]).config
    with pytest.raises(ConfigError, match=r"--data.test-split none: expected .* NAME"):
        parse_evaluate_arguments(["runs/mine"]).apply_to(config)


def test_evaluation_names_the_formats_it_knows():
    arguments = parse_evaluate_arguments(["runs/mine", "--data.format", "kitti"])
    with pytest.raises(ConfigError, match=r"--data\.format kitti: expected one of auto, voc"):
        arguments.apply_to(Config())


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--data.split", "val"]])
def test_wrong_arguments_of_an_evaluation_are_status_2(arguments, capsys):
    status, _, err = exit_of(parse_evaluate_arguments, arguments, capsys)
    assert status == 2
    assert "Traceback" not in err and err


def test_help_of_an_evaluation(capsys):
    status, out, _ = exit_of(parse_evaluate_arguments, ["--help"], capsys)
    assert status == 0
    for name in ("data.format", "data.root", "data.test-split", "output", "overwrite"):
        assert f"--{name}" in out


def test_without_a_gpu_the_small_network_is_named(monkeypatch):
    import tensorflow as tf

    advise = advise_small_network
    assert "efficientnet_lite0_fpn" in advise(parse_train_arguments(["finetune"]).config)
    small = parse_train_arguments(["finetune", "--model.architecture", "efficientnet_lite0_fpn"])
    assert advise(small.config) == advise(parse_train_arguments([]).config) == ""
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    assert advise(parse_train_arguments(["finetune"]).config) == ""
