"""A task more, in a file and a line: its loss is seen wherever those of the others are."""

import functools
import json

import numpy as np
import tensorflow as tf

from tests.conftest import write_voc_folder
from tf_frcnn import cli
from tf_frcnn.commands.train import main as run_train
from tf_frcnn.errors import run_command
from tf_frcnn.reporting.curves import draw_curves
from tf_frcnn.training import run, trainer
from tf_frcnn.training.tasks import TASKS
from tf_frcnn.training.tasks.task import Task


def compute(step):
    """Lose 0.5 of every batch, until images 4 and 5 of the order come, in the third step."""
    is_late = tf.reduce_max(step.batch["seeds"][:, 1]) >= 4
    return {"toy": tf.where(is_late, np.float32(np.nan), 0.5)}


def test_a_fifth_loss_is_logged_drawn_reported_and_replayed(
    tiny_options, tmp_path, monkeypatch, capsys
):
    five = functools.partial(trainer.FasterRCNNTrainer, tasks=(*TASKS, Task(("toy",), compute)))
    for module in (run, trainer):
        monkeypatch.setattr(module, "FasterRCNNTrainer", five)
    monkeypatch.setattr("tf_frcnn.reporting.evaluation.evaluate_detector", lambda *given: {})
    monkeypatch.setattr("tf_frcnn.export.saved_model.export_saved_model", lambda *given: None)
    monkeypatch.chdir(tmp_path)
    data = write_voc_folder(tmp_path / "voc")
    options = [*tiny_options, "--data.root", str(data), "--output", "run", "--export-dir", "out"]

    assert run_train([*options, "--train.steps", "2"]) == 0
    assert " toy 0.500) " in capsys.readouterr().err  # the line of progress
    log = tmp_path / "run" / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["toy"] for line in lines if "loss" in line] == [0.5]
    assert [line["val_toy"] for line in lines if "val_loss" in line] == [0.5]
    terms = draw_curves(log).axes[1]
    legend = [text.get_text() for text in terms.get_legend().get_texts()]
    assert legend == [
        *("RPN objectness", "RPN boxes", "box head classes", "box head boxes"),
        *("toy", "validation"),
    ]
    assert len({line.get_color() for line in terms.get_lines()[:10]}) == 5

    assert run_command(lambda: run_train([*options, "--train.steps", "4"])) == 3
    error = capsys.readouterr().err
    assert "step 3: the loss is not finite (rpn_objectness = 0" in error and "toy = nan)" in error
    assert cli.main(["replay", "run/non_finite/step-00000003.h5"]) == 3
    assert "toy = nan)" in capsys.readouterr().out
