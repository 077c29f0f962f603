"""`tf-frcnn benchmark`: the figures of a run and of a frozen export, and what is refused."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.step_checkpoints import save_checkpoint
from tf_frcnn import cli, model
from tf_frcnn.benchmark import stages
from tf_frcnn.config import save_config
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import FasterRCNN
from tf_frcnn.training.trainer import FasterRCNNTrainer

STAGES = ["resizing", *model.STAGES]
FEW = ("--size", "40x60", "--runs", "2", "--warm-up", "1")


@pytest.fixture(scope="module")
def inference_model(tiny_config):
    keras.utils.set_random_seed(2)  # some random networks find nothing
    return InferenceModel(FasterRCNN(tiny_config.model, 3), ("cat", "dog", "duck"), 64, 96)


def benchmark(*arguments):
    return cli.main(["benchmark", *map(str, arguments)])


def test_stages_one_after_the_other_are_the_whole(inference_model, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3)).astype(np.uint8)
    answers = {}

    def record(run, num_warm_up, num_runs):
        answers[len(answers)] = run()
        return (num_warm_up, num_runs)

    monkeypatch.setattr(stages, "measure", record)
    monkeypatch.setattr(stages, "_run", lambda stage, inputs: stage(inputs))
    timings = stages.time_stages(inference_model, tf.constant(noise), 1, 2)
    assert list(timings) == STAGES and set(timings.values()) == {(1, 2)}
    whole = inference_model.detect(tf.constant(noise))
    found = answers[len(STAGES) - 1]
    for name in ("detection_scores", "detection_classes", "num_detections"):
        np.testing.assert_allclose(found[name], whole[name], atol=1e-5)
    assert int(whole["num_detections"][0]) > 0


def test_a_run_is_measured_whole_and_by_stage(inference_model, tiny_config, tmp_path, capsys):
    save_config(tiny_config, tmp_path / "config.json")
    trainer = FasterRCNNTrainer(inference_model.network, tiny_config.train)
    save_checkpoint(tmp_path / "checkpoints", 2, inference_model.network, trainer.optimizer)
    output = tmp_path / "figures" / "b.json"
    assert benchmark(tmp_path, "--batch", "2", *FEW, "--output", output) == 0
    report = json.loads(output.read_text())
    assert (report["kind"], report["batch"], report["picture_size"]) == ("run", 2, [40, 60])
    assert list(report["stages"]) == STAGES
    for timing in (report["latency"], *report["stages"].values()):
        assert timing["runs"] == 2 and 0 < timing["min"] <= timing["median"] <= timing["max"]
    assert report["pictures_per_second"] == pytest.approx(2 / report["latency"]["median"])
    assert report["peak_memory_bytes"] > 100 * 2**20  # TensorFlow alone takes more
    printed = " ".join(capsys.readouterr().out.split())  # wrapped where the folder is long
    assert "whole" in printed and "roi_pooling" in printed and "2 x 40 x 60" in printed

    # The file is not lost to a second measurement.
    assert benchmark(tmp_path, *FEW, "--output", output) == 2
    assert "b.json: there is something already" in capsys.readouterr().err
    assert json.loads(output.read_text()) == report


def test_a_frozen_export_has_no_stages(inference_model, tiny_config, tmp_path, capsys):
    export_saved_model(inference_model, tiny_config, tmp_path / "frozen", frozen=True)
    assert benchmark(tmp_path / "frozen", *FEW, "--output", tmp_path / "b.json") == 0
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["stages"] is None and report["latency"]["runs"] == 2
    assert "no times by stage: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "40"), "--size 40: expected height and width"),
        (("--batch", "0"), "--batch 0: expected 1 or more"),
        (("--warm-up", "-1"), "--warm-up -1: expected 0 or more"),
        ((), "no: there is no such file or folder"),
        (("--output", "/proc/b.json"), "--output /proc: the folder cannot be written to"),
    ],
)
def test_what_cannot_be_measured_is_told(options, message, tiny_config, tmp_path, capsys):
    if options and options[0] == "--output":
        (tmp_path / "no").mkdir()
        save_config(tiny_config, tmp_path / "no" / "config.json")
    assert benchmark(tmp_path / "no", *options) == 2
    assert message in capsys.readouterr().err
