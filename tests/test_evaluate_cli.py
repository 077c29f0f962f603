"""`evaluate.py`: the figures that training wrote, other data and models, and what is no model."""

import json
import shutil
from pathlib import Path

import pytest

import evaluate
from tf_frcnn.commands.evaluate import parse_arguments
from tf_frcnn.config import load_config
from tf_frcnn.data.fingerprint import fingerprint
from tf_frcnn.data.loading import read_datasets
from tf_frcnn.errors import run_command
from tf_frcnn.reporting.summary import OUTCOME
from tf_frcnn.run_folder import RunFolder, start_run


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
    # 6 images with 1, 2, 1, 2, 1, 2 boxes.
    assert (metrics["split"], metrics["num_pictures"], metrics["num_boxes"]) == ("train", 6, 9)
    assert len(list(run.glob("evaluation.bak-*"))) == 1
    assert "on split train of" in " ".join(capsys.readouterr().out.split())


# === Other models than a run ===

TRAINING = ("epochs", "skipped_steps", "seconds_per_step", "seed", *OUTCOME)


def without_training(metrics):
    assert set(TRAINING) <= set(metrics)
    return {name: value for name, value in metrics.items() if name not in TRAINING}


def test_the_figures_of_an_export_and_of_a_checkpoint_are_those_of_the_run(
    finished_run, evaluated, tmp_path, capsys
):
    of_run = without_training(read_json(evaluated / "metrics.json"))
    assert of_run["outcomes"] != dict.fromkeys(of_run["outcomes"], 0)  # something was found
    copied = tmp_path / "models" / "mine"
    shutil.copytree(finished_run.export_dir, copied)
    run = tmp_path / "run"
    shutil.copytree(finished_run.output, run)
    (latest,) = run.glob("checkpoints/step-00000004.h5")
    before = {path: sorted(path.rglob("*")) for path in (copied, run / "checkpoints")}
    for model, output in (
        (copied, tmp_path / "models" / "mine-1-evaluation"),  # the folder of the versions
        (latest, run / "step-00000004-evaluation"),
    ):
        assert run_evaluate(model) == 0
        names = {path.name for path in output.iterdir()}
        assert names == {"metrics.json", "detections.json", "detections.png", "report.html"}
        assert read_json(output / "metrics.json") == of_run
        assert f"written to {output}" in capsys.readouterr().err
    # Nothing is written where a server looks for versions, or a run for its checkpoints.
    assert before == {path: sorted(path.rglob("*")) for path in before}


def test_an_earlier_checkpoint_is_evaluated_by_itself(finished_run, evaluated, tmp_path):
    earlier = finished_run.output / "checkpoints" / "step-00000002.h5"
    assert run_evaluate(earlier, "--output", tmp_path / "out") == 0
    found = read_json(tmp_path / "out" / "detections.json")
    assert found and found != read_json(evaluated / "detections.json")


def test_some_of_the_classes(finished_run, evaluated, tmp_path, capsys):
    options = ["--data.classes", "duck", "cat", "--output", tmp_path / "out"]
    assert run_evaluate(finished_run.output, *options) == 0
    whole, some = (read_json(path / "metrics.json") for path in (evaluated, tmp_path / "out"))
    assert list(some["per_class"]) == ["duck", "cat"]
    for name, figures in some["per_class"].items():
        # The best threshold of one class does not hang on the others, nor does its AP.
        for key in ("voc_ap50_area", "coco_ap", "num_boxes", "f1"):
            assert figures[key] == whole["per_class"][name][key], (name, key)
    assert some["num_boxes"] == whole["num_boxes"] - whole["per_class"]["dog"]["num_boxes"]
    num_dogs = whole["per_class"]["dog"]["num_boxes"]
    assert f"boxes of other classes, left out: {num_dogs}: dog ({num_dogs})" in " ".join(
        capsys.readouterr().err.split()
    )


# === What cannot be evaluated ===


def test_neither_model_nor_data_are_moved_away(finished_run, voc_folder, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished_run.output, run)
    for output, needed in ((run, run), (voc_folder, voc_folder)):
        options = ["--data.root", voc_folder, "--output", output, "--overwrite"]
        assert run_evaluate(run, *options) == 2
        assert f"{needed}, which is an input" in capsys.readouterr().err
    assert run.is_dir() and voc_folder.is_dir()


def test_a_folder_that_is_no_model(tmp_path, capsys):
    assert run_evaluate(tmp_path / "nothing") == 2
    err = capsys.readouterr().err
    assert "nothing: there is no such file or folder. Expected the folder of a training run" in err
    assert "Traceback" not in err
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
        (["--data.format", "kitti"], "--data.format kitti: expected one of auto, voc"),
    ],
)
def test_data_that_are_not_there(finished_run, tmp_path, capsys, options, message):
    assert run_evaluate(finished_run.output, "--output", tmp_path / "out", *options) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_data_of_the_run_that_were_moved_ask_for_their_folder(finished_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished_run.output, run)
    config = json.loads((run / "config.json").read_text())
    config["data"]["root"] = "once/here"
    (run / "config.json").write_text(json.dumps(config))
    assert run_evaluate(run, "--output", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert f"once/here: there is no such folder, seen from {Path.cwd()}. It is the" in err
    assert f"--data.root that {run} was trained with" in err and "`--data.root DIR`" in err
    assert not (tmp_path / "out").exists()


def test_a_model_has_its_choice_about_exif_orientations_unless_another_is_given(finished_run):
    model = str(finished_run.output)
    for options, exif in (((), "apply"), (("--data.exif", "ignore"), "ignore")):
        assert parse_arguments([model, *options]).load_config().data.exif == exif
    of_others = ["--detections", "found.json", "--data.root", "somewhere"]
    assert parse_arguments(of_others).load_config().data.exif == "auto"


def test_a_class_that_the_model_does_not_know(finished_run, voc_folder, tmp_path, capsys):
    path = voc_folder / "Annotations" / "test_0.xml"
    path.write_text(path.read_text().replace("<name>cat</name>", "<name>goose</name>"))
    options = ["--data.root", voc_folder, "--output", tmp_path / "out"]
    assert run_evaluate(finished_run.output, *options) == 2
    err = capsys.readouterr().err
    assert "test_0.xml" in err and "'goose'" in err and "cat, dog, duck" in err


# === Faults, and splits that were made ===


def test_a_broken_image_stops_or_is_left_out_and_counted(
    finished_run, voc_folder, tmp_path, capsys
):
    broken = voc_folder / "JPEGImages" / "test_1.jpg"
    broken.write_bytes(broken.read_bytes()[:-300])
    options = [finished_run.output, "--data.root", voc_folder, "--output"]
    assert run_evaluate(*options, tmp_path / "stopped") == 2
    message = capsys.readouterr().err
    assert str(broken) in message and "--data.on-error skip" in message
    assert run_evaluate(*options, tmp_path / "skipped", "--data.on-error", "skip") == 0
    metrics = read_json(tmp_path / "skipped" / "metrics.json")
    assert (metrics["num_pictures"], metrics["num_pictures_left_out"]) == (1, 1)
    assert "Left out for faults in the data: 1 image, 0 boxes." in " ".join(
        (tmp_path / "skipped" / "report.html").read_text().split()
    )


def test_a_run_is_evaluated_on_the_splits_that_were_made_for_it(
    finished_run, voc_folder, tmp_path, capsys
):
    run, data = tmp_path / "run", voc_folder
    shutil.rmtree(data / "ImageSets")  # ten images without lists
    shutil.copytree(finished_run.output, run)
    config = json.loads((run / "config.json").read_text())
    config["data"]["root"] = str(data)
    (run / "config.json").write_text(json.dumps(config))
    division = {"train": ["train_0"], "val": ["train_1"], "test": ["train_3", "val_0", "gone"]}
    (run / "splits.json").write_text(json.dumps(division))
    assert run_evaluate(run, "--output", tmp_path / "own") == 0
    # train_3 has two boxes and val_0 one; the other six images are in no split.
    metrics = read_json(tmp_path / "own" / "metrics.json")
    assert (metrics["num_pictures"], metrics["num_boxes"]) == (2, 3)
    assert "in no split: 6" in capsys.readouterr().err
    # Other data are divided anew: 80/10/10 of ten images.
    other = tmp_path / "other"
    shutil.copytree(data, other)
    assert run_evaluate(run, "--data.root", other, "--output", tmp_path / "others") == 0
    assert read_json(tmp_path / "others" / "metrics.json")["num_pictures"] == 1
    # The same images and boxes, by their fingerprint, are divided as they were, wherever they lie.
    record = fingerprint(
        "there", "voc", read_datasets(load_config(run / "config.json").data, 0, division)
    )
    (run / "dataset.json").write_text(json.dumps(record))
    shutil.rmtree(data)
    capsys.readouterr()
    assert run_evaluate(run, "--data.root", other, "--output", tmp_path / "moved") == 0
    assert read_json(tmp_path / "moved" / "metrics.json")["num_pictures"] == 2
    assert f"the images and boxes of {run}, divided as there" in " ".join(
        capsys.readouterr().err.split()
    )
    annotation = other / "Annotations" / "train_3.xml"
    annotation.write_text(annotation.read_text().replace("<xmin>50<", "<xmin>51<"))
    assert run_evaluate(run, "--data.root", other, "--output", tmp_path / "changed") == 0
    assert read_json(tmp_path / "changed" / "metrics.json")["num_pictures"] == 1
    assert "divided anew, and the model may have seen some of them" in " ".join(
        capsys.readouterr().err.split()
    )
