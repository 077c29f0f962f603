"""Runs that are killed or asked to stop, anywhere, end as one that was never stopped: bit for bit.

All of `train_detector` runs here, but with a network that costs nothing, and in one process: what
"kills" it is an exception that nobody handles, and after which the disk takes nothing more. Real
processes and SIGKILL are in `test_killed_processes.py`.
"""

import dataclasses
import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tf_frcnn import checkpoints
from tf_frcnn.checkpoint_folder import list_checkpoints
from tf_frcnn.config import Config, DataConfig, TrainConfig
from tf_frcnn.run_folder import RunFolder
from tf_frcnn.training import run as training_run
from tf_frcnn.training.loop import StopRequest

STEPS = 10
CONFIG = Config(
    data=DataConfig(classes=("cat",)),
    train=TrainConfig(
        steps=STEPS,
        learning_rate=0.3,
        validate_every=2,
        checkpoint_every=3,
        log_every=4,
        export="best",
        early_stopping_patience=4,
    ),
)
FEATURES = 5


class Killed(BaseException):
    """Stands for SIGKILL."""


class Process:
    """Counts what a run does, and is killed or sent SIGTERM when it has done so much.

    Attributes:
        left: how much it may do until then; None for no end.
        kill: whether it is killed then.
    """

    left: int | None = None
    kill = True

    def act(self):
        if self.left is None:
            return
        if self.left == 0 and not self.kill:
            self.left = None
            if isinstance(signal.getsignal(signal.SIGTERM), StopRequest):
                signal.raise_signal(signal.SIGTERM)
        elif self.left == 0:
            raise Killed  # and so does all that is tried afterwards
        else:
            self.left -= 1


class Learner(keras.Model):
    """Learns a line from noise: a step draws from its seeds, and moves weights and statistics."""

    loss_names = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")

    def __init__(self, network, config):
        super().__init__()
        self.network = network
        optimizer = keras.optimizers.Adam(config.learning_rate)
        self.compile(optimizer=optimizer)
        self.optimizer.build(network.trainable_variables)
        self.built = True

    def losses(self, batch, training):
        noise = tf.random.stateless_normal([8, FEATURES], batch["seeds"])
        error = self.network(noise, training=training)[:, 0] - noise[:, 0] - batch["offset"]
        return {name: tf.reduce_mean(error**2) / 4 for name in self.loss_names}

    def train_step(self, batch, may_update=True):
        with tf.GradientTape() as tape:
            losses = self.losses(batch, training=True)
            loss = tf.add_n(list(losses.values()))
        variables = self.network.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {"loss": loss, **losses, "finite": tf.constant(1.0)}

    def test_step(self, batch):
        losses = self.losses(batch, training=False)
        return {"loss": tf.add_n(list(losses.values())), **losses}

    def averaged_weights(self):
        return nullcontext()

    def finished_network(self):
        return self.network


class Batches:
    """Gives batches that hold the number of their step; three in a validation."""

    steps_per_epoch = 3

    def __init__(self, dataset, data, size=1, seed=0, start=0, stop=3, training=True, **_):
        offset = 0.0 if training else 1.0  # else the validation loss would only fall
        self.batches = tf.data.Dataset.range(start, stop, output_type=tf.int32).map(
            lambda step: {
                "seeds": tf.stack([int(training), step]),
                "offset": offset,
                "indices": tf.expand_dims(step, 0),
            }
        )

    def __iter__(self):
        for batch in self.batches:
            PROCESS.act()
            yield batch


PROCESS = Process()


def make_network(*given):
    layers = [keras.layers.Dense(4, name="a"), keras.layers.BatchNormalization(name="b")]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, keras.layers.Dense(1, name="c")])


def start_weights(network, config):
    random = np.random.default_rng(0)
    network.set_weights([random.uniform(0.1, 1.0, one.shape) for one in network.get_weights()])


def acting(function):
    def act_before(*given, **options):
        PROCESS.act()
        return function(*given, **options)

    return act_before


@pytest.fixture(scope="module", autouse=True)
def small_training():
    """Replace the network and its batches, and count what is done to the disk."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training_run, "FasterRCNN", make_network)
        patched.setattr(training_run, "FasterRCNNTrainer", Learner)
        patched.setattr(training_run, "BatchPipeline", Batches)
        patched.setattr(training_run, "start_network", start_weights)
        patched.setattr(checkpoints, "write_checksum", acting(checkpoints.write_checksum))
        patched.setattr(os, "fsync", acting(os.fsync))
        for name in ("replace", "unlink"):
            patched.setattr(Path, name, acting(getattr(Path, name)))
        yield
        PROCESS.left = None


def run_once(path, config=CONFIG):
    """Train -> how it ended, as metrics.json has it."""
    folder = RunFolder(path)
    folder.path.mkdir(exist_ok=True)
    datasets = dict.fromkeys(("train", "val"), SimpleNamespace(examples=[]))
    return training_run.train_detector(config, datasets, folder).outcome


def run_with_stops(path, stops, config=CONFIG):
    """Run the same command until it is done; (how much it does before, whether killed) each."""
    for PROCESS.left, PROCESS.kill in stops:
        try:
            run_once(path, config)
        except (Killed, training_run.TrainingInterrupted):
            pass
    PROCESS.left = None
    return run_once(path, config)


def what_is_there(path):
    """Read all that a run left: arrays and memory by file, log lines without their seconds."""
    found = {}
    for file_path in sorted((path / "checkpoints").iterdir()):
        with h5py.File(file_path, "r") as file:
            arrays = {}
            file.visititems(
                lambda name, item, arrays=arrays: (
                    arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
        memory = json.loads(arrays.pop("memory"))
        for one in memory.get("MetricsLog", {}).get("pending", []):
            del one["seconds"]
        found[file_path.name] = ({name: one.tobytes() for name, one in arrays.items()}, memory)
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return found, [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in lines]


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    outcome = run_once(path)
    return outcome, what_is_there(path)


def test_the_run_is_worth_the_trouble(never_stopped):
    """There is a best step before the last, and early stopping counts something."""
    outcome, (files, lines) = never_stopped
    assert 0 < outcome["best_step"] < outcome["steps"] and outcome["best_val_loss"] > 0
    assert outcome["exported_step"] == outcome["best_step"]
    assert set(files) == {"best.h5", "step-00000009.h5", "step-00000010.h5"}
    assert files["step-00000010.h5"][1]["EarlyStopping"]["wait"] > 0
    assert [line["step"] for line in lines if "loss" in line] == [4, 8, 10]
    assert [line["step"] for line in lines if "val_loss" in line] == [2, 4, 6, 8, 10]


@settings(max_examples=2, database=None)
@given(stops=st.lists(st.tuples(st.integers(0, 45), st.booleans()), min_size=1, max_size=4))
@example(
    stops=[(16, True), (35, False), (0, False), (9, True)]
)  # the third breaks a validation off
def test_however_often_a_run_is_stopped_it_ends_the_same(tmp_path_factory, never_stopped, stops):
    path = tmp_path_factory.mktemp("stopped")
    outcome = run_with_stops(path, stops)
    assert (outcome, what_is_there(path)) == never_stopped


@pytest.mark.parametrize(
    ("left", "kill"),
    [
        *(
            pytest.param(n, True, marks=pytest.mark.release if n % 5 else pytest.mark.slow)
            for n in range(75)
        ),
        *(pytest.param(n, False, marks=pytest.mark.release) for n in range(0, 75, 3)),
    ],
)
def test_wherever_a_run_is_stopped_it_ends_the_same(tmp_path, never_stopped, left, kill):
    assert run_with_stops(tmp_path / "run", [(left, kill)]) == never_stopped[0]
    assert what_is_there(tmp_path / "run") == never_stopped[1]


def test_a_longer_run_is_as_if_it_had_been_asked_for_at_once(tmp_path, never_stopped):
    short = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, steps=6))
    assert run_once(tmp_path, short)["steps"] == 6
    assert run_once(tmp_path) == never_stopped[0]
    files, lines = what_is_there(tmp_path)
    assert files == never_stopped[1][0]
    # The first run ended with a line of its last step.
    assert [line["step"] for line in lines if "loss" in line] == [4, 6, 8, 10]


def test_early_stopping_survives_a_kill_while_the_figures_are_computed(tmp_path):
    train = dataclasses.replace(CONFIG.train, steps=40, early_stopping_patience=2)
    config = dataclasses.replace(CONFIG, train=train)
    outcome = run_once(tmp_path / "run", config)
    assert outcome["steps"] < 40 and outcome["planned_steps"] == 40
    before = what_is_there(tmp_path / "run")
    assert run_once(tmp_path / "run", config) == outcome  # as after a kill behind the training
    assert what_is_there(tmp_path / "run") == before
    assert run_with_stops(tmp_path / "stopped", [(50, True), (9, False)], config) == outcome


def test_a_damaged_checkpoint_costs_some_steps_and_nothing_else(tmp_path, never_stopped, caplog):
    run_with_stops(tmp_path, [(46, True)])
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level("INFO", "tf_frcnn"):
        assert run_once(tmp_path) == never_stopped[0]
    assert f"{newest}: is damaged" in caplog.text
    aside = newest.with_name(newest.name + ".damaged")
    aside.rename(tmp_path / "aside")  # it was kept
    assert what_is_there(tmp_path) == never_stopped[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"export": "best", "early_stopping_patience": 0}, "--train.export best: needs a valid"),
        ({"export": "last", "early_stopping_patience": 3}, "--train.early-stopping-patience 3: n"),
    ],
)
def test_what_needs_a_validation_says_so(tmp_path, options, message):
    config = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, **options))
    datasets = {"train": SimpleNamespace(examples=[])}
    with pytest.raises(training_run.UserError, match=message):
        training_run.train_detector(config, datasets, RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_best_that_is_damaged_in_the_end_is_told(tmp_path):
    run_once(tmp_path)
    (tmp_path / "checkpoints" / "best.h5").write_bytes(b"x" * 1000)
    with pytest.raises(training_run.WeightsError, match=r"best\.h5: cannot be read .*tf-frcnn exp"):
        run_once(tmp_path)
