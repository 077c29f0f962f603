"""Logs that a kill left: cut after the checkpoint's step, whatever half-written end they have."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.stand_ins import make_logs, run
from tf_frcnn.errors import UserError
from tf_frcnn.metrics_log import read_metrics
from tf_frcnn.training.callbacks import MetricsLog
from tf_frcnn.training.log_files import cut_events, cut_lines

LINES = [
    '{"step": 2, "loss": 1.5}',
    '{"step": 2, "val_loss": 1.25}',
    '{"step": 4, "loss": 1.0}',
    '{"step": 6, "loss": 0.5}',
]


@pytest.mark.parametrize(("step", "left"), [(0, 0), (1, 0), (2, 2), (3, 2), (4, 3), (6, 4), (9, 4)])
def test_lines_of_later_steps_are_cut_off(tmp_path, step, left):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f"{line}\n" for line in LINES))
    cut_lines(path, step)
    assert path.read_text().splitlines() == LINES[:left]


@settings(max_examples=60)
@given(size=st.integers(0, sum(len(line) + 1 for line in LINES)), step=st.integers(0, 7))
def test_a_file_that_ends_anywhere_is_cut_and_appended_to(tmp_path_factory, size, step):
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    whole = "".join(f"{line}\n" for line in LINES)
    path.write_text(whole[:size])
    cut_lines(path, step)
    with path.open("a") as file:
        file.write('{"step": 8, "loss": 0.25}\n')
    records = read_metrics(path)
    assert records.pop(8) == {"loss": 0.25}  # not glued to half a line
    # What was whole in the file, up to the step, and nothing else.
    expected = {}
    for line in whole[:size].split("\n"):
        if line in LINES and int(line[9]) <= step:
            name, value = line[13:-1].split(": ")
            expected.setdefault(int(line[9]), {})[name.strip('"')] = float(value)
    assert records == expected


def test_a_log_that_needs_no_cut_is_left_as_it_is(tmp_path):
    path = tmp_path / "metrics.jsonl"
    cut_lines(path, 3)
    assert not path.exists()
    path.write_text("".join(f"{line}\n" for line in LINES))
    before = path.stat().st_ino
    cut_lines(path, 6)
    assert path.stat().st_ino == before


def test_a_log_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff{\n")
    cut_lines(tmp_path / "metrics.jsonl", 9)  # bytes that no text has are no line
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    with pytest.raises(UserError, match=r"status: the log of the training cannot be read or wri"):
        cut_lines(_Unreadable("/proc/self/status"), 9)


class _Unreadable(type(__import__("pathlib").Path())):
    def read_text(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")


# === TensorBoard's events ===


@pytest.fixture
def events(tmp_path):
    """Write the events of four steps, as a run does -> (folder, its file)."""
    folder = tmp_path / "events"
    all_logs = [make_logs(loss) for loss in (4.0, 3.0, 2.0, 1.0)]
    run(MetricsLog(tmp_path / "metrics.jsonl", folder, every=1, steps=4), all_logs)
    (path,) = folder.iterdir()
    return folder, path


def losses_in(folder):
    """Read the events as TensorBoard does: in the order of the files."""
    return [
        (event.step, float(tf.make_ndarray(value.tensor)))
        for path in sorted(folder.iterdir())
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "loss"
    ]


def test_events_of_later_steps_are_cut_off(events):
    folder, path = events
    cut_events(folder, 9)
    assert losses_in(folder) == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    cut_events(folder, 2)
    assert losses_in(folder) == [(1, 4.0), (2, 3.0)]
    assert list(folder.iterdir()) == [path]


def test_half_an_event_is_cut_off(events):
    folder, path = events
    path.write_bytes(path.read_bytes()[:-5])  # the last event is the last step's time
    cut_events(folder, 9)
    assert losses_in(folder) == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    path.write_bytes(path.read_bytes()[:100])
    cut_events(folder, 9)
    losses_in(folder)  # raises at half a record


def test_a_run_that_goes_on_shows_each_step_once(events, tmp_path):
    folder, _ = events
    log = MetricsLog(tmp_path / "metrics.jsonl", folder, every=1, steps=4, start=2)
    run(log, [make_logs(2.5), make_logs(1.5)], start=2)
    assert losses_in(folder) == [(1, 4.0), (2, 3.0), (3, 2.5), (4, 1.5)]


@pytest.mark.parametrize(("step", "left"), [(9, 4), (2, 2)])
def test_what_a_kill_left_of_cutting_is_removed(step, left, events):
    folder, path = events
    (folder / (path.name + ".partial")).write_bytes(path.read_bytes())
    cut_events(folder, step)  # at 2 the file is cut again, by the same temporary name
    assert list(folder.iterdir()) == [path]
    assert len(losses_in(folder)) == left


def test_there_need_be_no_events(tmp_path):
    cut_events(tmp_path / "events", 3)
    assert not (tmp_path / "events").exists()
