"""One process: what it may skip. Several, played by threads: what they tell each other."""

import dataclasses
import logging
import threading

import numpy as np
import pytest
import tensorflow as tf

import train
from tf_frcnn.config import Config
from tf_frcnn.errors import ConfigError, UserError, WorkerLostError, run_command
from tf_frcnn.training.cluster import Cluster
from tf_frcnn.training.distribution import ALONE, Distribution, join_workers
from tf_frcnn.training.run import shared_options

TASKS = tuple(("worker", number, f"127.0.0.1:{2000 + number}") for number in range(3))


class ThreadedDistribution(Distribution):
    """A worker that is a thread; sums go through a list instead of TensorFlow."""

    def __init__(self, worker, barrier, values):
        super().__init__("multiworker", Cluster(TASKS, worker))
        self.barrier = barrier
        self.values = values

    def merge(self, values):
        self.values[self.worker] = values
        self.barrier.wait(10)
        total = np.sum(self.values, axis=0)
        self.barrier.wait(10)
        return total


def run_workers(function):
    """Run a function of a distribution in three threads -> its results or errors, in order."""
    barrier, values, results = threading.Barrier(3), [None] * 3, [None] * 3

    def work(worker):
        try:
            results[worker] = function(ThreadedDistribution(worker, barrier, values))
        except Exception as error:
            results[worker] = error

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# === Several workers ===


def test_each_worker_is_told_the_numbers_of_all():
    results = run_workers(
        lambda one: (one.of_each_worker(10 + one.worker), one.of_chief(one.worker))
    )
    assert results == [([10, 11, 12], 0)] * 3


def test_a_worker_that_differs_is_named_on_all():
    def check(one):
        one.check_same(500 if one.worker < 2 else 0, "step to start from", "Share the folder.")

    for error in run_workers(check):
        assert isinstance(error, UserError) and error.exit_status == 2
        assert str(error) == (
            "worker 2 has another step to start from than the chief (0, expected 500). "
            "Share the folder."
        )


def test_what_is_no_number_is_compared_as_a_whole():
    def check(one, odd):
        one.check_same({"lr": 0.1, "boxes": [one.worker == odd]}, "configuration", "Mend it.")

    assert run_workers(lambda one: check(one, odd=None)) == [None] * 3
    for error in run_workers(lambda one: check(one, odd=1)):
        assert str(error) == "worker 1 has another configuration than the chief. Mend it."


def test_the_chief_goes_first():
    order = []

    def enter(one):
        with one.chief_first():
            order.append(one.worker)

    assert run_workers(enter) == [None] * 3
    assert order[0] == 0 and sorted(order) == [0, 1, 2]


def test_a_batch_that_cannot_be_divided_is_refused():
    distribution = Distribution("multiworker", Cluster(TASKS, 0))
    distribution.strategy = type("Six", (), {"num_replicas_in_sync": 6})
    distribution.check_batch_size(12)
    with pytest.raises(ConfigError) as error:
        distribution.check_batch_size(8)
    assert "--train.batch-size 8: expected a multiple of 6" in str(error.value)
    assert "3 workers with 2 devices" in str(error.value)


# === One process ===


def test_alone_nothing_is_asked():
    values = np.arange(3.0)
    assert ALONE.merge(values) is values
    assert (ALONE.is_chief, ALONE.num_replicas, ALONE.replicas_per_worker) == (True, 1, 1)
    assert ALONE.strategy is tf.distribute.get_strategy()
    with ALONE.chief_first():
        ALONE.check_same(1, "number", "")
    ALONE.finish()


@pytest.mark.parametrize("name", ["mirrored", "multiworker"])
def test_one_device_works_and_says_so(caplog, name):
    cluster = Cluster(TASKS[:1], 0) if name == "multiworker" else None
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        distribution = Distribution(name, cluster)
        distribution.start()
        assert distribution.num_replicas == len(tf.config.list_logical_devices("GPU") or [0])
    if distribution.num_replicas == 1:
        assert f"{name}: there is one device" in caplog.text
    result = tf.function(lambda batch: distribution.run(tf.multiply, [batch], [2.0, 3.0]))
    assert result(tf.constant(4.0)).numpy().tolist() == [8.0, 12.0]
    distribution.finish()


@pytest.mark.parametrize("worker", [0, 1])
def test_at_the_end_only_the_chief_can_do_without_the_others(caplog, worker):
    class Deserted(Distribution):
        def merge(self, values):
            raise WorkerLostError("worker 2 is gone")

    distribution = Deserted("multiworker", Cluster(TASKS, worker))
    if worker:
        with pytest.raises(WorkerLostError):
            distribution.finish()
    else:
        distribution.finish()
        assert "the run is complete, but worker 2 is gone" in caplog.text


def test_without_tf_config_a_job_of_several_workers_does_not_begin(
    tiny_options, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    options = [*tiny_options, "--distribution.strategy", "multiworker", "--output", "run"]
    monkeypatch.chdir(tmp_path)
    assert run_command(lambda: train.main(options)) == 2
    assert "the environment variable TF_CONFIG is not set" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_other_strategies_do_not_look_at_tf_config(tiny_config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "nonsense")
    assert join_workers(tiny_config.distribution).num_workers == 1


@pytest.mark.parametrize(
    ("section", "field", "value", "same"),
    [
        ("data", "root", "elsewhere", True),
        ("data", "images", "elsewhere", True),
        ("data", "short_side", 123, False),  # the images of a step would be of two sizes
        ("data", "scale_jitter", (0.5, 1.0), False),
        ("model", "nms_iou", 0.123, False),
        ("train", "learning_rate", 0.123, False),
    ],
)
def test_workers_need_the_same_options_but_for_where_their_data_lies(section, field, value, same):
    config = Config()
    changed = dataclasses.replace(getattr(config, section), **{field: value})
    other = dataclasses.replace(config, **{section: changed})
    assert (shared_options(other) == shared_options(config)) is same
