"""`train.py` from arguments to files: a whole run, running again, interrupts, bad input."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import train
from tf_frcnn.checkpoint_folder import list_checkpoints
from tf_frcnn.config import load_config
from tf_frcnn.data.splits import order_by_seed
from tf_frcnn.errors import run_command
from tf_frcnn.metrics_log import read_metrics
from tf_frcnn.training import callbacks, trainer
from tf_frcnn.training import run as training_run

ROOT = Path(__file__).parents[1]


def run_train(arguments):
    """Run `python train.py ARGUMENTS` in this process -> exit status."""
    return run_command(lambda: train.main([str(argument) for argument in arguments]))


def read_weights(path):
    """Read all arrays of a checkpoint, weights and optimiser."""
    arrays = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset) and name.startswith(("weights/", "optimizer/")):
            arrays[name] = np.asarray(item)

    with h5py.File(path, "r") as file:
        file.visititems(collect)
    return arrays


@pytest.fixture
def options(tiny_options, voc_folder, tmp_path, monkeypatch):
    """Give the arguments of a tiny run in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return [*tiny_options, "--data.root", voc_folder, "--output", "run", "--export-dir", "exported"]


@pytest.fixture
def no_real_steps(monkeypatch):
    """Replace the training step, whose tracing takes seconds, by one that only gives losses."""

    def steps_of_loss(value):
        def give_losses(self, batch, may_update=True):
            return {name: tf.constant(value) for name in ("loss", *self.loss_names)}

        for name in ("train_step", "test_step"):
            monkeypatch.setattr(trainer.FasterRCNNTrainer, name, give_losses)

    steps_of_loss(1.0)
    return steps_of_loss


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out evaluation and export, whose tests are others -> the number of exports."""
    exports = []
    monkeypatch.setattr("tf_frcnn.reporting.evaluation.evaluate_detector", lambda *given: {})
    monkeypatch.setattr(
        "tf_frcnn.export.saved_model.export_saved_model",
        lambda *given: exports.append(given[3]["metrics.json"]),
    )
    return exports


# === A whole run ===


def test_what_a_run_leaves_behind(finished_run):
    names = {path.name for path in finished_run.output.iterdir()}
    assert names == {
        *("config.json", "metrics.jsonl", "metrics.json", "curves.png", "detections.png"),
        *("dataset.json", "detections.json", "report.html", "events", "checkpoints", ".lock"),
    }
    steps = [path.name for path in list_checkpoints(finished_run.output / "checkpoints")]
    assert steps == ["step-00000002.h5", "step-00000004.h5"]
    for name in ("curves.png", "detections.png"):
        with Image.open(finished_run.output / name) as image:
            assert image.format == "PNG" and min(image.size) > 90
    assert [path.name for path in finished_run.export_dir.iterdir()] == ["1"]
    assert (finished_run.export_dir / "1" / "saved_model.pb").is_file()


def test_the_figures_of_a_run(finished_run):
    metrics = json.loads((finished_run.output / "metrics.json").read_text())
    assert (metrics["steps"], metrics["seed"], metrics["split"]) == (4, 0, "test")
    assert metrics["seconds_per_step"] > 0
    assert set(metrics["per_class"]) == {"cat", "dog", "duck"}
    for name in ("voc_ap50_11pt", "voc_ap50_area", "coco_ap", "coco_ap50"):
        assert 0.0 <= metrics[name] <= 1.0
        assert all(0.0 <= figures[name] <= 1.0 for figures in metrics["per_class"].values())
    # Two images: a cat; a dog and a duck.
    assert [metrics["num_pictures"], metrics["num_boxes"]] == [2, 3]


def test_the_log_of_a_run(finished_run):
    lines = (finished_run.output / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    training = [line for line in lines if "loss" in line]
    validation = [line for line in lines if "val_loss" in line]
    assert [line["step"] for line in training] == [2, 4]
    assert [line["step"] for line in validation] == [2, 4]
    terms = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")
    for line in training:
        assert sum(line[name] for name in terms) == pytest.approx(line["loss"], rel=1e-5)
    for line in validation:
        assert all(np.isfinite(line[f"val_{name}"]) for name in terms)
    assert (finished_run.output / "events").is_dir()


def test_classes_that_were_not_given_are_found(finished_run):
    config = load_config(finished_run.output / "config.json")
    assert config.data.classes == ("cat", "dog", "duck")
    labels = finished_run.export_dir / "1" / "assets" / "labels.txt"
    assert labels.read_text().split() == ["cat", "dog", "duck"]


def test_what_was_chosen_for_exif_orientations_is_kept(finished_run):
    (version,) = finished_run.export_dir.iterdir()
    for folder in (finished_run.output, version / "assets"):
        assert load_config(folder / "config.json").data.exif == "apply"  # and no longer "auto"


def test_a_finished_run_is_only_summed_up(finished_run, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished_run.output.rglob("*")}
    assert run_train(finished_run.options) == 0
    out = capsys.readouterr().out
    assert "is finished" in out and "VOC mAP@0.5" in out
    assert "python train.py finetune --data.root DIR" in out
    assert re.search(r"SavedModel +\S*exported/1\n", out)
    assert {path: path.stat().st_mtime_ns for path in finished_run.output.rglob("*")} == before
    assert [path.name for path in finished_run.export_dir.iterdir()] == ["1"]


def test_a_finished_run_knows_its_data_elsewhere(finished_run, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(finished_run.data, moved)
    options = [*finished_run.options, "--data.root", str(moved)]
    assert run_train(options) == 0
    assert "the same images and boxes lie elsewhere" in capsys.readouterr().err
    annotation = moved / "Annotations" / "train_0.xml"
    text = annotation.read_text()
    annotation.write_text(text.replace("<ymax>", "<ymax>1"))  # clipped at the lower border
    assert run_train(options) == 2
    err = capsys.readouterr().err
    assert f"holds a run on other data: --data.root {finished_run.data} there, {moved} now" in err
    assert "\n  train: 6 images, 9 boxes (split train, SHA-256 " in err and "Traceback" not in err


def test_another_configuration_in_the_same_folder_is_refused(finished_run, capsys):
    assert run_train([*finished_run.options, "--train.steps", "5", "--train.seed", "3"]) == 2
    err = capsys.readouterr().err
    assert "--train.steps: 4 there, 5 now" in err and "--train.seed: 0 there, 3 now" in err
    assert "--train.batch-size" not in err


def test_an_interrupted_run_goes_on_to_the_same_weights(
    finished_run, tmp_path, monkeypatch, capsys
):
    class InterruptingBar(callbacks.ProgressBar):
        def on_train_batch_begin(self, batch, logs=None):
            if batch + 1 == 3:  # between two checkpoints
                signal.raise_signal(signal.SIGINT)

    output = tmp_path / "interrupted"
    options = [*finished_run.options, "--output", output, "--data.val-split", "none"]
    with monkeypatch.context() as patched:
        patched.setattr(training_run, "ProgressBar", InterruptingBar)
        assert run_train(options) == 130
    err = capsys.readouterr().err
    assert "stopped: after step 3 of 4; saved to" in err and "Traceback" not in err
    newest = list_checkpoints(output / "checkpoints")[-1]
    assert newest.name == "step-00000003.h5"
    assert not (output / "metrics.json").exists()

    # Evaluation and export are those of the finished run's test.
    monkeypatch.setattr("tf_frcnn.reporting.evaluation.evaluate_detector", lambda *given: {})
    monkeypatch.setattr("tf_frcnn.export.saved_model.export_saved_model", lambda *given: tmp_path)
    assert run_train(options) == 0
    assert "going on from the checkpoint of step 3" in capsys.readouterr().err
    resumed = read_weights(output / "checkpoints" / "step-00000004.h5")
    whole = read_weights(finished_run.output / "checkpoints" / "step-00000004.h5")
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_sigterm_saves_and_is_status_143(options, no_real_steps, monkeypatch, capsys):
    class InterruptingBar(callbacks.ProgressBar):
        def on_train_batch_begin(self, batch, logs=None):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(training_run, "ProgressBar", InterruptingBar)
    assert run_train(options) == 143
    assert "stopped: after step 1 of 4" in capsys.readouterr().err
    assert [path.name for path in list_checkpoints(Path("run/checkpoints"))] == ["step-00000001.h5"]


def test_a_loss_that_is_not_finite_is_status_3_or_left_out(
    options, no_real_steps, no_figures, monkeypatch, capsys
):
    def give_nan_from_step_4(
        self, batch, may_update=True
    ):  # images 6 and 7 of the order, two a step
        loss = tf.where(batch["seeds"][0, 1] < 6, 1.0, np.nan)
        finite = tf.cast(tf.math.is_finite(loss), tf.float32)
        return {**dict.fromkeys(("loss", *self.loss_names), loss), "finite": finite}

    monkeypatch.setattr(trainer.FasterRCNNTrainer, "train_step", give_nan_from_step_4)
    assert run_train(options) == 3
    err = capsys.readouterr().err
    assert "error: step 4: the loss is not finite (rpn_objectness = nan" in err
    assert "Likely cause: " in err and "JPEGImages/train_" in err and "--train.on-nan skip" in err
    assert "tf-frcnn replay run/non_finite/step-00000004.h5" in err
    assert "Traceback" not in err
    # Step 2 was saved when it was time, step 3 because the run ended.
    steps = [path.name for path in list_checkpoints(Path("run/checkpoints"))]
    assert steps == ["step-00000002.h5", "step-00000003.h5"]
    names = [path.name for path in sorted(Path("run/non_finite").iterdir())]
    assert names == ["step-00000004.h5", "step-00000004.json"]

    assert run_train([*options, "--train.on-nan", "skip"]) == 0
    captured = capsys.readouterr()
    assert "going on from the checkpoint of step 3" in captured.err
    assert "step 4: the loss is not finite" in captured.err and "Left out: " in captured.err
    assert "1 of 4 steps were left out" in captured.out
    assert json.loads(Path("run/metrics.json").read_text())["skipped_steps"] == 1


def test_a_run_validates_on_a_sample_that_stays(
    options, no_real_steps, no_figures, monkeypatch, capsys
):
    # The split has val_0 and val_1, of which seed 0 draws one.
    validated = []
    init = training_run.ValidationLoss.__init__

    def note_images(self, pipeline, *rest):
        validated.append([example.image_id for example in pipeline._examples])
        init(self, pipeline, *rest)

    monkeypatch.setattr(training_run.ValidationLoss, "__init__", note_images)
    sampled = [*options, "--train.validate-pictures", "1"]
    assert run_train(sampled) == 0
    assert "validating on 1 of 2 images of split val, drawn by --train.seed 0" in (
        capsys.readouterr().err
    )
    assert run_train([*sampled, "--train.steps", "6"]) == 0
    assert validated[0] == validated[1] == order_by_seed(["val_0", "val_1"], 0)[:1]
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert (metrics["num_val_pictures"], metrics["num_val_pictures_in_split"]) == (1, 2)
    log = read_metrics(Path("run/metrics.jsonl"))
    assert [log[step]["num_val_pictures"] for step in (2, 4, 6)] == [1, 1, 1]
    assert run_train([*options, "--train.steps", "6"]) == 2
    assert "--train.validate-pictures: 1 there, 0 now" in capsys.readouterr().err


def test_a_full_disk_is_told_without_traceback(options, no_real_steps, monkeypatch, capsys):
    real = os.fsync

    def refuse_checkpoints(descriptor):
        if "/checkpoints/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_checkpoints)
    assert run_train(options) == 2
    err = capsys.readouterr().err
    assert "best.h5: the checkpoint of step 2 cannot be written (No space left" in err
    assert "Traceback" not in err
    assert list(Path("run/checkpoints").iterdir()) == []


def test_a_finished_run_is_made_longer(options, no_real_steps, no_figures, capsys):
    assert run_train(options) == 0
    assert run_train([*options, "--train.steps", "6"]) == 0
    err = capsys.readouterr().err
    assert "run: is made longer, from 4 to 6 steps" in err
    assert "going on from the checkpoint of step 4" in err
    assert [metrics["steps"] for metrics in no_figures] == [4, 6]
    assert json.loads(Path("run/metrics.json").read_text())["planned_steps"] == 6
    # Now it is a run of 6 steps.
    assert run_train([*options, "--train.steps", "6", "--resume"]) == 0
    assert len(no_figures) == 2
    assert run_train(options) == 2
    assert "holds a run of --train.steps 6, 4 are fewer" in capsys.readouterr().err


def test_a_kill_while_a_run_is_made_longer_costs_nothing(
    options, no_real_steps, no_figures, monkeypatch
):
    assert run_train(options) == 0
    figures = Path("run/metrics.json").read_text()
    longer = [*options, "--train.steps", "6"]
    with monkeypatch.context() as patched:
        patched.setattr("tf_frcnn.reporting.curves.plot_curves", fail_as_killed)
        patched.setattr("tempfile.tempdir", os.getcwd())  # for the traceback
        assert run_train(longer) == 70
    assert Path("run/metrics.json").read_text() == figures
    assert run_train(longer) == 0
    assert json.loads(Path("run/metrics.json").read_text())["steps"] == 6


def fail_as_killed(*given):
    raise ZeroDivisionError


def test_early_stopping_ends_a_run_and_the_best_weights_are_taken(
    options, no_real_steps, no_figures, capsys
):
    # The validation loss is 1 at steps 2, 4 and 6: none is lower than the first.
    more = ["--train.steps", "20", "--train.early-stopping-patience", "2"]
    assert run_train([*options, *more, "--train.export", "best"]) == 0
    (metrics,) = no_figures
    assert [metrics[name] for name in ("steps", "planned_steps")] == [6, 20]
    assert [metrics[name] for name in ("best_step", "exported_step")] == [2, 2]
    assert "step 6: early stopping: no lower validation loss" in capsys.readouterr().err


def test_resuming_what_was_never_started_is_status_2(options, capsys):
    assert run_train([*options, "--resume"]) == 2
    assert "--resume: run holds no run that was started" in capsys.readouterr().err
    assert not Path("run").exists()


def test_an_export_dir_that_cannot_be_written_is_told_before_training(options, capsys):
    Path("exported").write_text("a file")
    assert run_train(options) == 2
    assert "--export-dir exported: is a file" in capsys.readouterr().err
    assert not Path("run/config.json").exists()


# === Bad input ===


def break_nothing(root):
    """Leave the data as they are."""


def remove_all(root):
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    root.rmdir()


def empty_train_list(root):
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n")


def break_xml(root):
    (root / "Annotations" / "train_2.xml").write_text("<annotation><object>")


def cut_image(root):
    path = root / "JPEGImages" / "train_3.jpg"
    path.write_bytes(path.read_bytes()[:700])  # its header is whole


def overwrite_image(root):
    (root / "JPEGImages" / "train_3.jpg").write_text("not an image")


def replace_in_train_1(old, new):
    def change(root):
        path = root / "Annotations" / "train_1.xml"
        text = path.read_text()
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text, count=1))

    return change


BAD_INPUT = [
    pytest.param(remove_all, [], ["voc", "there is no such folder"], id="missing folder"),
    pytest.param(empty_train_list, [], ["train.txt", "the list is empty"], id="empty split"),
    pytest.param(
        break_nothing,
        ["--data.train-split", "trainval"],
        ["--data.train-split trainval", "no trainval.txt", "test, train, val"],
        id="missing split",
    ),
    pytest.param(
        break_nothing,
        ["--data.classes", "cat", "dog"],
        ["train_1.xml", "'duck'", "cat, dog"],
        id="unknown class",
    ),
    pytest.param(break_xml, [], ["train_2.xml", "cannot be read as XML"], id="broken XML"),
    pytest.param(overwrite_image, [], ["train_3.jpg", "Expected"], id="no image"),
    pytest.param(cut_image, [], ["train_3.jpg", "Expected"], id="cut image"),
    pytest.param(
        replace_in_train_1(r"<xmin>\d+</xmin>", "<xmin>95</xmin>"),
        [],
        ["train_1.xml", "xmin = 95", "xmax = 43", "inverted"],
        id="inverted box",
    ),
    pytest.param(
        replace_in_train_1(
            r"<ymin>\d+</ymin><xmax>\d+</xmax><ymax>\d+</ymax>",
            "<ymin>80</ymin><xmax>90</xmax><ymax>99</ymax>",
        ),
        [],
        ["train_1.xml", "ymin 80", "outside", "1 to 72"],
        id="box outside",
    ),
    pytest.param(
        break_nothing,
        ["--train.start-from", "missing.h5"],
        ["missing.h5", "--train.start-from"],
        id="missing weights",
    ),
]


@pytest.mark.parametrize(("damage", "more", "expected"), BAD_INPUT)
def test_bad_input_is_one_message_and_status_2(
    options, voc_folder, no_real_steps, capfd, damage, more, expected
):
    damage(voc_folder)
    assert run_train([*options, *more]) == 2
    err = capfd.readouterr().err
    assert err.count("error: ") == 1
    message = err[err.index("error: ") :]
    for text in expected:
        assert text in message
    assert "Traceback" not in err
    assert not Path("run/metrics.json").exists()


def test_mended_data_are_trained_on_by_the_same_command(
    options, voc_folder, no_real_steps, monkeypatch
):
    xml = voc_folder / "Annotations" / "train_2.xml"
    whole = xml.read_text()
    break_xml(voc_folder)
    assert run_train(options) == 2
    xml.write_text(whole)
    monkeypatch.setattr("tf_frcnn.training.run.train_detector", stop_here)
    assert run_train(options) == 77


def stop_here(config, datasets, folder, distribution):
    """Stand for training that was reached and did a step."""
    folder.metrics_log.touch()
    raise training_run.TrainingInterrupted(77 - 128, "reached")


def test_a_root_that_was_not_given_is_asked_for(tiny_options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_train(tiny_options) == 2
    assert "--data.root DIR" in capsys.readouterr().err


def test_foreign_files_in_the_output_are_left_alone(options, capsys):
    Path("run").mkdir()
    Path("run/thesis.tex").write_text("mine")
    assert run_train(options) == 2
    assert "holds other files" in capsys.readouterr().err
    assert Path("run/thesis.tex").read_text() == "mine"


def test_overwriting_moves_the_old_run(options, monkeypatch):
    monkeypatch.setattr("tf_frcnn.training.run.train_detector", stop_here)
    assert run_train(options) == 77
    assert run_train([*options, "--train.seed", "9"]) == 2
    assert run_train([*options, "--train.seed", "9", "--overwrite"]) == 77
    assert load_config(Path("run/config.json")).train.seed == 9
    (backup,) = Path().glob("run.bak-*")
    assert load_config(backup / "config.json").train.seed == 0


def test_the_quickstart_draws_its_data_first(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tf_frcnn.data.drawings.ensure_drawings",
        lambda root, seed: drawn.append((str(root), seed)),
    )
    assert run_train([]) == 2  # nothing was drawn, so there is no folder
    assert drawn == [("data/quickstart", 0)]


def test_another_keras_backend_is_refused_by_the_script_itself(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "train.py")],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "KERAS_BACKEND sets the Keras backend to 'jax'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_first_lines_name_device_versions_and_seed(options, monkeypatch, capsys):
    monkeypatch.setattr("tf_frcnn.training.run.train_detector", stop_here)
    run_train([*options, "--train.seed", "5"])
    first = capsys.readouterr().err.splitlines()[:3]
    assert ["device: " in first[0], "TensorFlow " in first[1], "seed: 5" in first[2]] == [True] * 3
    assert logging.getLogger("tf_frcnn").level == logging.INFO
