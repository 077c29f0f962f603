"""What happens beside the steps: validation, log lines, events, progress."""

import logging
import signal

import keras
import pytest
import tensorflow as tf
from rich.console import Console

from tests.training.stand_ins import ImagesPipeline, make_logs, read_lines, run
from tf_frcnn.errors import UserError
from tf_frcnn.metrics_log import read_metrics
from tf_frcnn.training import callbacks
from tf_frcnn.training.callbacks import (
    EarlyStopping,
    MetricsLog,
    ProgressBar,
    ValidationLoss,
    reads_state,
)
from tf_frcnn.training.loop import StopRequest
from tf_frcnn.training.saving import BestCheckpoint, Checkpoints

# === Whose state is read when ===


def test_what_looks_at_weights_or_the_rate_says_when():
    validation = ValidationLoss(ImagesPipeline(1.0), every=3, steps=7)
    log = MetricsLog(None, None, every=2, steps=7)
    checkpoints = Checkpoints(None, every=5, keep=1, start=0)
    silent = [ProgressBar(7, 0, 1), EarlyStopping(1, 0), BestCheckpoint(None, 0)]

    def read(*callbacks):
        return [done for done in range(1, 8) if reads_state([*silent, *callbacks], done)]

    assert read(validation) == [3, 6, 7] and read(log) == [2, 4, 6, 7]
    assert read(checkpoints) == [5] and read() == []
    assert read(log, checkpoints) == [2, 4, 5, 6, 7]
    assert read(keras.callbacks.Callback()) == list(range(1, 8))  # it may do anything


# === Validation ===


def test_validation_is_the_mean_over_images_every_few_steps_and_at_the_end(caplog):
    all_logs = [make_logs() for _ in range(5)]
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        run(ValidationLoss(ImagesPipeline(1.0, 3.0), every=2, steps=5), all_logs)
    validated = [number for number, logs in enumerate(all_logs, start=1) if "val_loss" in logs]
    assert validated == [2, 4, 5]
    # Means of 1 and 3 are 2; the terms are 2, 3, 4, 5 times that.
    expected = {"loss": 2, "rpn_objectness": 4, "rpn_box": 6, "roi_class": 8, "roi_box": 10}
    for name, value in expected.items():
        assert all_logs[3][f"val_{name}"] == pytest.approx(value)
    assert "step 4: validation loss 2.0000" in caplog.text


def test_images_weigh_the_same_however_they_are_divided_into_batches():
    # Three images with a mean of 1, and one with 5: (3 * 1 + 5) / 4 = 2.
    logs = make_logs()
    pipeline = ImagesPipeline(1.0, 5.0, counts=[3, 1])
    run(ValidationLoss(pipeline, every=1, steps=1), [logs])
    assert logs["val_loss"] == pytest.approx(2.0)
    assert logs["val_rpn_objectness"] == pytest.approx(4.0)


def test_a_validation_on_a_sample_says_so_in_its_line(tmp_path):
    logs = make_logs()
    sample = {"num_val_pictures": 2, "num_val_pictures_in_split": 5000}
    run(ValidationLoss(ImagesPipeline(1.0, 3.0), every=1, steps=1, sample=sample), [logs])
    run(MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "events", 1, 1), [logs])
    first, second = read_lines(tmp_path / "metrics.jsonl")
    assert not sample.keys() & first.keys()
    assert second["val_loss"] == pytest.approx(2.0)
    assert {name: second[name] for name in sample} == sample


def test_a_validation_that_is_not_finite_is_warned_of(caplog):
    logs = make_logs()
    run(ValidationLoss(ImagesPipeline(1.0, float("nan")), every=1, steps=9), [logs])
    assert "step 1: this validation loss counts neither for the best checkpoint nor" in caplog.text


def test_a_stop_breaks_a_validation_off_and_it_is_made_up_for(tmp_path):
    request = StopRequest()

    class StoppingPipeline(ImagesPipeline):
        def __iter__(self):
            yield from list(super().__iter__())[:1]
            request(signal.SIGTERM, None)
            raise_if_more = list(super().__iter__())[1:]
            yield from raise_if_more

    logs = make_logs()
    stopped = ValidationLoss(StoppingPipeline(1.0, 3.0), every=2, steps=9, stop_request=request)
    run(stopped, [make_logs(), logs])
    assert "val_loss" not in logs
    assert stopped.get_state() == {"owed": True}

    resumed = ValidationLoss(ImagesPipeline(1.0, 3.0), every=2, steps=9, start=2)
    resumed.set_state(stopped.get_state())
    made_up = {}
    run(resumed, [make_logs()], start=2, beginning=made_up)
    assert made_up["val_loss"] == pytest.approx(2.0)
    assert resumed.get_state() == {"owed": False}
    # The log has it as a figure of the step that it is of.
    path = tmp_path / "metrics.jsonl"
    for _ in range(2):  # also when a kill came between the line and the checkpoint
        run(MetricsLog(path, tmp_path / "events", 9, 9, start=2), [], beginning=made_up)
    assert [line["step"] for line in read_lines(path)] == [2]


def test_nothing_is_made_up_for_when_nothing_was_broken_off():
    callback = ValidationLoss(ImagesPipeline(1.0), every=2, steps=9, start=2)
    callback.set_state({})  # of a checkpoint from before states were saved
    made_up = {}
    run(callback, [], beginning=made_up)
    assert made_up == {}


# === metrics.jsonl and events ===


def test_a_line_is_the_mean_of_the_steps_since_the_line_before(tmp_path):
    path = tmp_path / "metrics.jsonl"
    # Steps 1, 2 -> line 2; 3, 4 -> line 4; the last step, 5, has a line of its own.
    all_logs = [make_logs(loss, loss / 10) for loss in (1.0, 3.0, 5.0, 7.0, 9.0)]
    log = MetricsLog(path, tmp_path / "events", every=2, steps=5, steps_per_epoch=4)
    run(log, all_logs)
    lines = read_lines(path)
    assert [line["epoch"] for line in lines] == [0.5, 1.0, 1.25]
    assert [line["step"] for line in lines] == [2, 4, 5]
    assert [line["loss"] for line in lines] == [2.0, 6.0, 9.0]
    assert [line["roi_box"] for line in lines] == [0.5, 1.5, 2.25]
    assert [line["seconds_per_step"] for line in lines] == pytest.approx([0.2, 0.6, 0.9])
    assert all(line["learning_rate"] == pytest.approx(0.125) for line in lines)


def test_a_run_that_is_stopped_early_has_a_line_for_its_last_steps(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, tmp_path / "events", every=10, steps=99)
    run(log, [make_logs(1.0)], end=False)
    log.model.stop_training = True
    log.on_train_batch_end(1, make_logs(3.0))
    assert [(line["step"], line["loss"]) for line in read_lines(path)] == [(2, 2.0)]


def test_validation_has_a_line_of_its_own(tmp_path):
    path = tmp_path / "metrics.jsonl"
    all_logs = [make_logs(val_loss=4.0, val_rpn_box=1.0), make_logs()]
    run(MetricsLog(path, tmp_path / "events", every=2, steps=2), all_logs)
    first, second = read_lines(path)
    assert first == {"step": 1, "val_loss": 4.0, "val_rpn_box": 1.0}
    assert second["step"] == 2 and "val_loss" not in second


def test_a_validation_that_is_not_finite_is_null_as_json_has_no_nan(tmp_path):
    path = tmp_path / "metrics.jsonl"
    all_logs = [make_logs(val_loss=float("inf"), val_rpn_box=float("nan"), val_roi_box=2.0)]
    run(MetricsLog(path, tmp_path / "events", every=2, steps=2), all_logs)
    assert path.read_text() == (
        '{"step": 1, "val_loss": null, "val_rpn_box": null, "val_roi_box": 2.0}\n'
    )
    assert read_metrics(path) == {1: {"val_roi_box": 2.0}}


def test_a_resumed_run_appends(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for start in (0, 2):
        log = MetricsLog(path, tmp_path / "events", every=1, steps=4, start=start)
        run(log, [make_logs(), make_logs()], start=start)
    assert [line["step"] for line in read_lines(path)] == [1, 2, 3, 4]


def test_a_mean_goes_on_where_the_run_was_stopped(tmp_path):
    # Stopped after step 3 of four steps to a line: the line is the mean of 1, 2, 3 and 6.
    path = tmp_path / "metrics.jsonl"
    stopped = MetricsLog(path, tmp_path / "events", every=4, steps=9)
    run(stopped, [make_logs(loss) for loss in (1.0, 2.0, 3.0)])
    log = MetricsLog(path, tmp_path / "events", every=4, steps=9, start=3)
    log.set_state(stopped.get_state())
    run(log, [make_logs(6.0)], start=3)
    (line,) = read_lines(path)
    assert (line["step"], line["loss"]) == (4, 3.0)


def test_a_full_disk_is_told_naming_the_log(tmp_path):
    # Everything that is written to this device finds it full.
    log = MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "events", every=1, steps=9)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"metrics\.jsonl: the log .*No space left on device"):
        run(log, [make_logs()])


def test_a_file_in_the_place_of_the_events_is_told(tmp_path):
    (tmp_path / "events").write_text("a file")
    log = MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "events", every=1, steps=9)
    with pytest.raises(UserError, match="the log of the training cannot be read or written"):
        run(log, [make_logs()])


def test_a_line_is_on_disk_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, tmp_path / "events", every=1, steps=9)
    run(log, [make_logs()], end=False)
    assert len(read_lines(path)) == 1  # a killed run keeps it
    log.on_train_end()


def test_steps_that_were_left_out_are_counted_and_in_no_mean(tmp_path):
    path = tmp_path / "metrics.jsonl"
    bad = make_logs(float("nan"), finite=0.0)
    # Steps 2, 3 and 4 are left out: line 2 is step 1 alone, and line 4 would be empty.
    all_logs = [make_logs(1.0, finite=1.0), bad, bad, bad, make_logs(3.0), make_logs(5.0)]
    run(MetricsLog(path, tmp_path / "events", every=2, steps=6), all_logs)
    lines = read_lines(path)
    skipped = [(line["step"], line["skipped_steps"]) for line in lines if "skipped_steps" in line]
    assert skipped == [(2, 1), (3, 2), (4, 3)]
    assert [(line["step"], line["loss"]) for line in lines if "loss" in line] == [
        (2, 1.0),
        (6, 4.0),
    ]


def test_a_resumed_run_counts_on_from_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    bad = make_logs(float("nan"), finite=0.0)
    run(MetricsLog(path, tmp_path / "events", every=9, steps=9), [bad, make_logs(), bad])
    # Killed after step 3, the last checkpoint is that of step 2: step 3 is left out again.
    log = MetricsLog(path, tmp_path / "events", every=9, steps=9, start=2)
    run(log, [bad, make_logs(), bad], start=2)
    counts = [(line["step"], line["skipped_steps"]) for line in read_lines(path)]
    assert counts == [(1, 1), (3, 2), (5, 3)]


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


# === Progress ===


def run_bar(bar, all_logs, start=0):
    with bar:
        run(bar, all_logs, start)


def test_without_a_terminal_progress_is_a_line_now_and_then_and_at_the_end(caplog):
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        bar = ProgressBar(3, 0, batch_size=4, seconds=1e6, steps_per_epoch=2)
        run_bar(bar, [make_logs(2.0, 0.5)] * 3)
    (line,) = caplog.messages
    # A batch of 4 in 0.5 s: 8 images a second; 3 steps are 1.5 times 2.
    assert line.startswith("step 3/3 epoch 1.5/1.5 loss 2.000 (rpn_objectness 0.500 ")
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
