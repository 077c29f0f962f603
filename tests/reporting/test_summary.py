"""The figures of a run: collected from its log, and printed."""

import json
from pathlib import Path

import pytest

from tf_frcnn.config import Config, TrainConfig
from tf_frcnn.reporting.summary import print_figures, print_next_steps, training_figures

FIGURES = {"voc_ap50_area": 0.9125, "voc_ap50_11pt": 0.8, "coco_ap": 0.4, "coco_ap50": 0.75}
METRICS = {
    "split": "test",
    **FIGURES,
    "per_class": {"cat": {**FIGURES, "coco_ap": 0.125}, "dog": dict.fromkeys(FIGURES)},
}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def write_log(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_classes_may_have_any_name_even_that_of_the_last_row(capsys):
    names = ["mean", "[red]", ":dog:", "[/b]", r"a\\"]
    print_figures({**METRICS, "per_class": dict.fromkeys(names, FIGURES)}, "a[b]:cat:\x1b[31m")
    said = capsys.readouterr().out
    assert all(f" {name} " in said for name in names) and said.count(" mean ") == 2
    assert r"a[b]:cat:\x1b[31m" in said


def test_of_very_many_classes_the_terminal_shows_some(capsys):
    names = [f"class {number}" for number in range(103)]
    print_figures({**METRICS, "per_class": dict.fromkeys(names, FIGURES)}, "runs/mine")
    said = capsys.readouterr().out
    assert " class 99 " in said and " class 100 " not in said and " mean " in said
    assert "and 3 more classes in metrics.json" in said


def test_seconds_a_step_are_the_median_of_the_lines(tmp_path):
    # 9.0 is the first step's tracing; the validation line has no seconds. Median of 9, 1, 2 = 2.
    lines = [
        {"step": 10, "loss": 2.0, "seconds_per_step": 9.0},
        {"step": 20, "loss": 1.0, "seconds_per_step": 1.0},
        {"step": 20, "val_loss": 1.5},
        {"step": 30, "loss": 1.0, "seconds_per_step": 2.0, "epoch": 1.5},
    ]
    config = Config(train=TrainConfig(steps=30, seed=5))
    figures = training_figures(config, write_log(tmp_path / "metrics.jsonl", lines), {})
    expected = {"steps": 30, "epochs": 1.5, "skipped_steps": 0, "seconds_per_step": 2.0, "seed": 5}
    assert figures == expected


def test_steps_that_were_left_out_are_counted_and_said(tmp_path, capsys):
    lines = [{"step": 4, "skipped_steps": 1}, {"step": 10, "loss": 2.0, "seconds_per_step": 1.0}]
    log = write_log(tmp_path / "metrics.jsonl", [*lines, {"step": 17, "skipped_steps": 2}])
    figures = training_figures(Config(train=TrainConfig(steps=20)), log, {})
    assert figures["skipped_steps"] == 2
    print_figures({**METRICS, **figures}, "runs/mine is finished")
    assert "2 of 20 steps were left out: their loss or gradient was not" in capsys.readouterr().out
    print_figures({**METRICS, **figures, "skipped_steps": 0}, "runs/mine is finished")
    assert "left out" not in capsys.readouterr().out


def test_a_validation_on_a_sample_is_said(tmp_path, capsys):
    outcome = {"num_val_pictures": 500, "num_val_pictures_in_split": 5000}
    log = write_log(tmp_path / "metrics.jsonl", [{"step": 10, "loss": 2.0}])
    figures = training_figures(Config(train=TrainConfig(steps=20)), log, outcome)
    assert {name: figures[name] for name in outcome} == outcome
    print_figures({**METRICS, **figures}, "runs/mine is finished")
    assert "validation losses are of 500 of 5,000 images" in capsys.readouterr().out
    print_figures(METRICS, "runs/mine is finished")
    assert "validation losses" not in capsys.readouterr().out


def test_a_log_without_lines_has_no_seconds(tmp_path):
    figures = training_figures(Config(), write_log(tmp_path / "metrics.jsonl", []), {})
    assert figures["seconds_per_step"] is None and figures["epochs"] is None


def test_the_table_has_a_row_a_class_and_their_mean(capsys):
    print_figures(METRICS, "runs/mine is finished")
    out = capsys.readouterr().out
    assert "runs/mine is finished" in out
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if "│" in line}
    numbers = [cell.strip() for cell in rows["cat"].split("│")[2:-1]]
    assert numbers == ["0.912", "0.800", "0.125", "0.750"]  # 0.9125 rounds to even
    assert [cell.strip() for cell in rows["dog"].split("│")[2:-1]] == ["-"] * 4
    assert "0.400" in rows["mean"]


def test_a_run_without_test_split_says_so(capsys):
    print_figures({"steps": 3}, "runs/mine is finished")
    assert capsys.readouterr().out == "runs/mine is finished: not evaluated (no test split)\n"


def test_class_names_are_printed_as_they_are(capsys):
    odd = {**METRICS, "per_class": {"[bold]cat[/bold]": FIGURES, "[/]": FIGURES}}
    print_figures(odd, "runs/[red]mine")
    out = capsys.readouterr().out
    assert "[bold]cat[/bold]" in out and "[/]" in out and "runs/[red]mine" in out


def test_the_way_on_is_a_command_to_type(capsys):
    print_next_steps(Path("runs/mine"), Path("saved_models/mine/1"), "train.py")
    out = capsys.readouterr().out
    for text in (
        "python evaluate.py runs/mine",
        "python train.py finetune --data.root DIR",
        "runs/mine/metrics.json",
        "saved_models/mine/1",
    ):
        assert text in out
    print_next_steps(Path("runs/mine"), None, "tf-frcnn train")
    out = capsys.readouterr().out
    assert "saved_models" not in out and "python" not in out
    assert "tf-frcnn evaluate runs/mine" in out
    assert "tf-frcnn train finetune --data.root DIR" in out


def test_a_folder_in_brackets_is_printed_as_it_is(capsys):
    print_next_steps(Path("runs/[red]mine"), None, "train.py")
    assert "python evaluate.py runs/[red]mine" in capsys.readouterr().out
