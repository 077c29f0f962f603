"""`evaluate.py`: the figures that training wrote, other data, and what cannot be evaluated."""

import json
import shutil
from pathlib import Path

import pytest

import evaluate
from tf_frcnn.errors import run_command
from tf_frcnn.runs import RunFolder, start_run


def run_evaluate(*arguments):
    """Run `python evaluate.py ARGUMENTS` in this process -> exit status."""
    return run_command(lambda: evaluate.main([str(argument) for argument in arguments]))


def read_json(path):
    return json.loads(Path(path).read_text())


@pytest.fixture(scope="module")
def evaluated(finished_run, tmp_path_factory):
    """Evaluate the finished run once, as it is -> the folder of figures."""
    output = tmp_path_factory.mktemp("evaluated") / "figures"
    assert run_evaluate(finished_run.output, "--output", output) == 0
    return output


def test_the_figures_are_those_that_training_wrote(finished_run, evaluated):
    names = {"metrics.json", "detections.json", "detections.png", "report.html"}
    assert {path.name for path in evaluated.iterdir()} == names
    assert read_json(evaluated / "metrics.json") == read_json(finished_run.output / "metrics.json")


def test_figures_that_are_there_are_not_overwritten(finished_run, evaluated, capsys):
    before = (evaluated / "metrics.json").read_bytes()
    assert run_evaluate(finished_run.output, "--output", evaluated) == 2
    assert "there is something already" in capsys.readouterr().err
    assert (evaluated / "metrics.json").read_bytes() == before


def test_another_split_and_the_default_folder(finished_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished_run.output, run)
    for number in (1, 2):
        options = ["--overwrite"] * (number - 1)
        assert run_evaluate(run, "--data.test-split", "train", *options) == 0
    metrics = read_json(run / "evaluation" / "metrics.json")
    # 6 pictures with 1, 2, 1, 2, 1, 2 boxes.
    assert (metrics["split"], metrics["num_pictures"], metrics["num_boxes"]) == ("train", 6, 9)
    assert len(list(run.glob("evaluation.bak-*"))) == 1
    assert "on split train of" in " ".join(capsys.readouterr().out.split())


# === What cannot be evaluated ===


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert run_evaluate(tmp_path / "nothing") == 2
    err = capsys.readouterr().err
    assert "nothing: is no training run" in err and "Traceback" not in err
    assert not (tmp_path / "nothing").exists()


def test_a_run_without_checkpoint(finished_run, tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    start_run(folder, RunFolder(finished_run.output).load_config())
    assert run_evaluate(folder.path) == 2
    err = capsys.readouterr().err
    assert "holds no checkpoint" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.test-split", "nothing"], "there is no nothing.txt"),
        (["--data.test-split", "none"], "expected the split to evaluate on"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--data.format", "yolo"], "--data.format yolo: expected one of auto, voc"),
    ],
)
def test_data_that_are_not_there(finished_run, tmp_path, capsys, options, message):
    assert run_evaluate(finished_run.output, "--output", tmp_path / "out", *options) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_a_class_that_the_model_does_not_know(finished_run, voc_folder, tmp_path, capsys):
    path = voc_folder / "Annotations" / "test_0.xml"
    path.write_text(path.read_text().replace("<name>cat</name>", "<name>goose</name>"))
    options = ["--data.root", voc_folder, "--output", tmp_path / "out"]
    assert run_evaluate(finished_run.output, *options) == 2
    err = capsys.readouterr().err
    assert "test_0.xml" in err and "'goose'" in err and "cat, dog, duck" in err
