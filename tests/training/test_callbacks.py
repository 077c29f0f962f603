"""What happens beside the steps: guards, validation, log lines, events, checkpoints, progress."""

import json
import logging
import math
from contextlib import contextmanager

import keras
import pytest
import tensorflow as tf
from rich.console import Console

from tf_frcnn.checkpoints import list_checkpoints
from tf_frcnn.errors import NonFiniteLossError
from tf_frcnn.training import callbacks
from tf_frcnn.training.callbacks import (
    Checkpoints,
    MetricsLog,
    ProgressBar,
    StopOnNonFiniteLoss,
    ValidationLoss,
)


def make_logs(loss=1.0, seconds=0.5, **terms):
    names = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")
    return {"loss": loss, "seconds": seconds, **dict.fromkeys(names, loss / 4), **terms}


class SmallTrainer(keras.Model):
    """Has what callbacks look at: a detector, an optimiser with a rate, and a test step.

    Its averaged weights are the double of the weights.
    """

    def __init__(self):
        super().__init__()
        self.detector = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="dense")])
        self.compile(optimizer=keras.optimizers.SGD(0.125, momentum=0.9))
        self.optimizer.build(self.detector.trainable_variables)
        self.built = True
        self.factor = tf.Variable(1.0, trainable=False)

    @contextmanager
    def averaged_weights(self):
        self.factor.assign(2.0)
        yield
        self.factor.assign(1.0)

    def call(self, inputs):
        return self.detector(inputs)

    def test_step(self, batch):
        """Answer the batch's number, times the factor, and multiples of it."""
        batch = batch * self.factor
        terms = {name: batch * factor for factor, name in enumerate(callbacks.LOSSES, start=2)}
        return {"loss": batch, **terms}


class NumberPipeline:
    """Gives some numbers as batches, as often as it is gone through."""

    def __init__(self, *numbers):
        self.batches = tf.data.Dataset.from_tensor_slices(tf.constant(numbers, tf.float32))

    def __iter__(self):
        return iter(self.batches)


def run(callback, all_logs, start=0, end=True):
    """Tell a callback of steps with these logs."""
    callback.set_model(SmallTrainer())
    callback.on_train_begin()
    for number, logs in enumerate(all_logs, start=start):
        callback.on_train_batch_begin(number)
        callback.on_train_batch_end(number, logs)
    if end:
        callback.on_train_end()


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# === A loss that is not finite ===


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("term", callbacks.LOSSES)
def test_a_loss_that_is_not_finite_stops_naming_step_and_terms(term, value):
    with pytest.raises(NonFiniteLossError) as caught:
        run(StopOnNonFiniteLoss(), [make_logs(), make_logs(**{term: value})])
    message = str(caught.value)
    assert message.startswith("step 2: the loss is not finite (")
    assert f"{term} = {value:g}" in message
    assert "--train.learning-rate" in message
    assert caught.value.exit_status == 3


def test_finite_losses_do_not_stop():
    run(StopOnNonFiniteLoss(), [make_logs(0.0), make_logs(1e30)])


# === Validation ===


def test_validation_is_the_mean_over_pictures_every_few_steps_and_at_the_end(caplog):
    all_logs = [make_logs() for _ in range(5)]
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        run(ValidationLoss(NumberPipeline(1.0, 3.0), every=2, steps=5), all_logs)
    validated = [number for number, logs in enumerate(all_logs, start=1) if "val_loss" in logs]
    assert validated == [2, 4, 5]
    # The mean of 1 and 3 is 2, with averaged weights 4; the terms are 2, 3, 4, 5 times that.
    expected = {"loss": 4, "rpn_objectness": 8, "rpn_box": 12, "roi_class": 16, "roi_box": 20}
    for name, value in expected.items():
        assert all_logs[3][f"val_{name}"] == pytest.approx(value)
    assert "step 4: validation loss 4.0000" in caplog.text


# === metrics.jsonl and events ===


def test_a_line_is_the_mean_of_the_steps_since_the_line_before(tmp_path):
    path = tmp_path / "metrics.jsonl"
    # Steps 1, 2 -> line 2; 3, 4 -> line 4; the last step, 5, has a line of its own.
    all_logs = [make_logs(loss, loss / 10) for loss in (1.0, 3.0, 5.0, 7.0, 9.0)]
    run(MetricsLog(path, tmp_path / "events", every=2, steps=5), all_logs)
    lines = read_lines(path)
    assert [line["step"] for line in lines] == [2, 4, 5]
    assert [line["loss"] for line in lines] == [2.0, 6.0, 9.0]
    assert [line["roi_box"] for line in lines] == [0.5, 1.5, 2.25]
    assert [line["seconds_per_step"] for line in lines] == pytest.approx([0.2, 0.6, 0.9])
    assert all(line["learning_rate"] == pytest.approx(0.125) for line in lines)


def test_validation_has_a_line_of_its_own(tmp_path):
    path = tmp_path / "metrics.jsonl"
    all_logs = [make_logs(val_loss=4.0, val_rpn_box=1.0), make_logs()]
    run(MetricsLog(path, tmp_path / "events", every=2, steps=2), all_logs)
    first, second = read_lines(path)
    assert first == {"step": 1, "val_loss": 4.0, "val_rpn_box": 1.0}
    assert second["step"] == 2 and "val_loss" not in second


def test_a_resumed_run_appends(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for start in (0, 2):
        log = MetricsLog(path, tmp_path / "events", every=1, steps=4)
        run(log, [make_logs(), make_logs()], start=start)
    assert [line["step"] for line in read_lines(path)] == [1, 2, 3, 4]


def test_a_line_is_on_disk_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, tmp_path / "events", every=1, steps=9)
    run(log, [make_logs()], end=False)
    assert len(read_lines(path)) == 1  # a killed run keeps it
    log.on_train_end()


def test_tensorboard_reads_the_same_figures(tmp_path):
    all_logs = [make_logs(2.0), make_logs(4.0, val_loss=3.0)]
    run(MetricsLog(tmp_path / "m.jsonl", tmp_path / "events", every=1, steps=2), all_logs)
    (path,) = (tmp_path / "events").iterdir()
    found = {
        (value.tag, event.step): float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert found["loss", 1] == 2.0 and found["loss", 2] == 4.0
    assert found["val_loss", 2] == 3.0
    assert found["learning_rate", 2] == pytest.approx(0.125)
    assert {"rpn_objectness", "rpn_box", "roi_class", "roi_box"} <= {tag for tag, _ in found}


# === Checkpoints ===


def steps_saved(folder):
    return [int(path.stem.split("-")[1]) for path in list_checkpoints(folder)]


def test_checkpoints_every_few_steps_and_at_the_end_the_latest_kept(tmp_path):
    # Saved after 2, 4, 6 and, at the end, 7; the last two are kept.
    callback = Checkpoints(tmp_path, every=2, keep=2, start=0)
    run(callback, [make_logs()] * 7, end=False)
    assert steps_saved(tmp_path) == [4, 6]
    callback.on_train_end()
    assert steps_saved(tmp_path) == [6, 7]


def test_the_end_does_not_save_a_step_twice(tmp_path, monkeypatch):
    saved = []
    real = callbacks.save_checkpoint
    monkeypatch.setattr(
        callbacks, "save_checkpoint", lambda *given: saved.append(given[1]) or real(*given)
    )
    run(Checkpoints(tmp_path, every=2, keep=2, start=0), [make_logs()] * 4)
    assert saved == [2, 4]


def test_a_resumed_run_without_steps_saves_nothing(tmp_path):
    run(Checkpoints(tmp_path / "checkpoints", every=2, keep=2, start=4), [])
    assert not (tmp_path / "checkpoints").exists()


# === Progress ===


def run_bar(bar, all_logs, start=0):
    with bar:
        run(bar, all_logs, start)


def test_without_a_terminal_progress_is_a_line_now_and_then_and_at_the_end(caplog):
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        run_bar(ProgressBar(3, 0, batch_size=4, seconds=1e6), [make_logs(2.0, 0.5)] * 3)
    (line,) = caplog.messages
    # A batch of 4 in 0.5 s: 8 pictures a second.
    assert line.startswith("step 3/3 loss 2.000 (rpn_objectness 0.500 ")
    assert line.endswith("8.00 images/s, 0.0 min left")


def test_the_time_left_is_steps_times_seconds(caplog):
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        run_bar(ProgressBar(100, 39, batch_size=1, seconds=0.0), [make_logs(seconds=2.0)], start=39)
    # 100 - 40 = 60 steps of 2 s: 2 minutes.
    assert caplog.messages[0].endswith("0.50 images/s, 2.0 min left")


def test_on_a_terminal_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(
        callbacks, "Console", lambda **options: Console(force_terminal=True, width=200, **options)
    )
    run_bar(ProgressBar(3, 0, batch_size=4), [make_logs(2.0, 0.5)] * 3)
    err = capsys.readouterr().err
    assert "3/3" in err and "8.00 images/s" in err and "loss 2.000" in err


def test_an_error_gives_the_terminal_its_cursor_back(monkeypatch, capsys):
    show_cursor = "\x1b[?25h"
    monkeypatch.setattr(
        callbacks, "Console", lambda **options: Console(force_terminal=True, **options)
    )
    with pytest.raises(ZeroDivisionError), ProgressBar(3, 0, batch_size=4):
        raise ZeroDivisionError
    assert show_cursor in capsys.readouterr().err
