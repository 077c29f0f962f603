"""The log of a run, read back: broken lines, steps that were done twice, steps left out."""

import math

import pytest

from tf_frcnn.metrics_log import count_skipped, read_metrics


def test_read_metrics_joins_training_and_validation(write_log):
    path = write_log(
        {"step": 20, "loss": 1.5}, {"step": 10, "loss": 2}, {"step": 20, "val_loss": 3}
    )
    assert list(read_metrics(path).items()) == [
        (10, {"loss": 2.0}),
        (20, {"loss": 1.5, "val_loss": 3.0}),
    ]


def test_later_line_of_a_step_wins(write_log):
    path = write_log(
        {"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.5}, {"step": 10, "loss": 1.9}
    )
    assert read_metrics(path) == {10: {"loss": 1.9}, 20: {"loss": 1.5}}


def test_broken_lines_are_left_out_and_counted(write_log, caplog):
    # Half a line that a resumed run continued, a list, an object without a step, half a last line.
    path = write_log({"step": 10, "loss": 2.0}, ending="\n")
    path.write_text(
        path.read_text() + '{"step": 20, "lo{"step": 10, "loss": 1.8}\n[1]\n{"loss": 3}\n\n'
        '{"step": 30, "loss": 1.0}\n{"step": 40, "loss',
        encoding="utf-8",
    )
    assert read_metrics(path) == {10: {"loss": 2.0}, 30: {"loss": 1.0}}
    assert "broken lines, left out: 4" in caplog.text


def test_numbers_that_are_not_finite_and_words_are_left_out(write_log):
    path = write_log({"step": 10, "loss": math.nan, "rpn_box": math.inf, "note": "x", "roi_box": 1})
    assert read_metrics(path) == {10: {"roi_box": 1.0}}


@pytest.mark.parametrize(("last_step", "expected"), [(3, 0), (4, 1), (10, 1), (12, 2), (99, 3)])
def test_steps_that_were_left_out_are_counted_up_to_a_step(write_log, last_step, expected):
    path = write_log(
        {"step": 4, "skipped_steps": 1},
        {"step": 10, "loss": 2.0},
        {"step": 12, "skipped_steps": 2},
        {"step": 15, "skipped_steps": 3},
    )
    assert count_skipped(path, last_step) == expected


def test_a_run_without_a_log_left_nothing_out(tmp_path):
    assert count_skipped(tmp_path / "metrics.jsonl", 9) == 0
