"""A worker that is gone: what is said of it, and that nobody hangs."""

import logging
import os
import threading

import pytest
import tensorflow as tf

from tf_frcnn.errors import DataError, WorkerLostError
from tf_frcnn.training.cluster import Cluster
from tf_frcnn.training.lost_workers import PeerWatch, lost_workers_noticed

CLUSTER = Cluster((("worker", 0, "10.0.0.1:2000"), ("worker", 1, "10.0.0.2:3000")), worker=0)


@pytest.mark.parametrize("kind", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_the_message_names_the_worker_that_is_gone(kind):
    # A worker may be named beside itself: the one that reports is not the one that is gone.
    said = "/job:worker/task:0 reports: /job:worker/replica:0/task:1 stopped sending heartbeats"
    with pytest.raises(WorkerLostError) as error, lost_workers_noticed(CLUSTER):
        raise kind(None, None, said)
    assert error.value.exit_status == 4
    assert str(error.value).startswith("worker 1 at 10.0.0.2:3000 does not answer any more")
    assert "the same command" in str(error.value)


def test_a_number_is_not_taken_for_the_beginning_of_another():
    with pytest.raises(WorkerLostError, match="^one of the 2 workers"):
        with lost_workers_noticed(CLUSTER):
            raise tf.errors.UnavailableError(None, None, "/job:worker/replica:0/task:10 is gone")


def test_other_errors_stay_what_they_are():
    for error in (DataError("bad"), tf.errors.InvalidArgumentError(None, None, "bad")):
        with pytest.raises(type(error)), lost_workers_noticed(CLUSTER):
            raise error
    with pytest.raises(tf.errors.UnavailableError), lost_workers_noticed(None):
        raise tf.errors.UnavailableError(None, None, "a file system's")


class ScriptedWatch(PeerWatch):
    """Gets the answers of a list instead of asking, and shorter times."""

    def __init__(self, answers, grace=0.01):
        self.answers = list(answers)
        self.asked = []
        super().__init__(CLUSTER, interval=0.01, grace=grace)

    def _answers(self, name):
        self.asked.append(name)
        return self.answers.pop(0) if self.answers else True


@pytest.fixture
def ended(monkeypatch):
    """Record the exit status instead of ending the process."""
    event = threading.Event()
    event.status = None

    def end(status):
        event.status = status
        event.set()

    monkeypatch.setattr(os, "_exit", end)
    return event


def test_three_missing_answers_end_the_process(ended, caplog):
    with caplog.at_level(logging.ERROR, "tf_frcnn"):
        watch = ScriptedWatch([True, False, False, False])
        assert ended.wait(10)
    assert ended.status == 4
    assert watch.asked == ["/job:worker/replica:0/task:1"] * 4
    assert "worker 1 at 10.0.0.2:3000" in caplog.text


def test_an_answer_in_between_starts_the_count_anew(ended):
    watch = ScriptedWatch([False, False, True, False, False, True])
    while len(watch.asked) < 8:
        assert not ended.wait(0.01)
    watch.stop()


def test_a_watch_that_is_stopped_ends_nothing(ended):
    watch = ScriptedWatch([False] * 3, grace=30.0)
    while len(watch.asked) < 3:
        assert not ended.wait(0.01)
    watch.stop()  # the main thread said so itself, or is done
    assert not ended.wait(0.1)
