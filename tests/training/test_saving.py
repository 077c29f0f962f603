"""What is kept: the latest checkpoints with the states of callbacks, and the best by validation."""

import logging
import math
import threading

import numpy as np
import pytest

from tests.training.stand_ins import SmallTrainer, make_logs, run
from tf_frcnn.checkpoint_folder import list_checkpoints
from tf_frcnn.checkpoints import BEST_FILE, load_checkpoint, load_progress
from tf_frcnn.errors import UserError
from tf_frcnn.training import saving
from tf_frcnn.training.saving import BestCheckpoint, Checkpoints, restore_states


class Counter:
    """Its state is how often it was asked for it."""

    def __init__(self):
        self.count = 0

    def get_state(self):
        self.count += 1
        return {"count": self.count}

    def set_state(self, memory):
        self.count = memory.get("count", 0)


# === The latest few ===


def steps_saved(folder):
    return [int(path.stem.split("-")[1]) for path in list_checkpoints(folder)]


def test_checkpoints_every_few_steps_and_at_the_end_the_latest_kept(tmp_path):
    # Saved after 2, 4, 6 and, at the end, 7; the last two are kept.
    callback = Checkpoints(tmp_path, every=2, keep=2, start=0)
    run(callback, [make_logs()] * 7, end=False)
    callback.writer.wait()
    assert steps_saved(tmp_path) == [4, 6]
    callback.on_train_end()
    assert steps_saved(tmp_path) == [6, 7]


def test_the_end_does_not_save_a_step_twice(tmp_path, monkeypatch):
    saved = []
    real = saving.write_snapshot
    monkeypatch.setattr(
        saving,
        "write_snapshot",
        lambda path, given: saved.append(given.step) or real(path, given),
    )
    run(Checkpoints(tmp_path, every=2, keep=2, start=0), [make_logs()] * 4)
    assert saved == [2, 4]


def test_what_is_written_slowly_is_what_was_there_and_nothing_waits_for_it(tmp_path, monkeypatch):
    held, real = threading.Event(), saving.write_snapshot

    def write_later(path, snapshot):
        assert held.wait(timeout=60)
        return real(path, snapshot)

    monkeypatch.setattr(saving, "write_snapshot", write_later)
    writer = saving.Writer()
    callback = Checkpoints(tmp_path, every=1, keep=9, start=0, writer=writer)
    best = BestCheckpoint(tmp_path, start=0, writer=writer)
    for one in (callback, best):
        one.set_model(SmallTrainer())
        one.on_train_begin({})
    (kernel,) = callback.model.network.weights[:1]
    kernel.assign([[1.0]])
    callback.on_train_batch_end(0, make_logs())
    callback.every = 9
    for step in (1, 2, 3):  # three steps, each of which changes the weights
        kernel.assign_add([[1.0]])
        callback.on_train_batch_end(step, make_logs())
    assert list(tmp_path.iterdir()) == []
    held.set()
    callback.on_train_end()
    assert steps_saved(tmp_path) == [1, 4]
    for path, value in zip(list_checkpoints(tmp_path), (1.0, 4.0), strict=True):
        load_checkpoint(path, callback.model.network)
        np.testing.assert_array_equal(kernel, [[value]])


class Sums:
    """Its state is its own dictionary, which later steps change."""

    def __init__(self):
        self.sums = {"loss": 1.0}

    def get_state(self):
        return {"epoch": [1, self.sums]}


def test_the_state_of_a_callback_is_that_of_the_step_too(tmp_path, monkeypatch):
    held, real = threading.Event(), saving.write_snapshot
    monkeypatch.setattr(
        saving, "write_snapshot", lambda *given: held.wait(timeout=60) and real(*given)
    )
    sums = Sums()
    callback = Checkpoints(tmp_path, every=1, keep=9, start=0, stateful=[sums])
    run(callback, [make_logs()], end=False)
    sums.sums["loss"] += 2.0
    held.set()
    callback.writer.wait()
    assert load_progress(*list_checkpoints(tmp_path)).memory == {
        "Sums": {"epoch": [1, {"loss": 1}]}
    }


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_written_any_more_after_an_error_that_stays_the_one(tmp_path, caplog, fails):
    held = threading.Event()

    def write():
        assert held.wait(timeout=60)
        if fails:
            raise UserError("the disk is full")
        (tmp_path / "a.h5").touch()

    with caplog.at_level(logging.ERROR, "tf_frcnn"):
        with pytest.raises(ZeroDivisionError), saving.Writer() as writer:
            writer.write(write)
            threading.Timer(0.1, held.set).start()
            _ = 1 / 0
    assert (tmp_path / "a.h5").is_file() is not fails
    assert caplog.messages == ["the disk is full"] * fails


def test_what_cannot_be_written_ends_the_training_at_the_next_one_or_the_end(tmp_path, monkeypatch):
    def fail(path, snapshot):
        raise UserError(f"{path}: the disk is full")

    monkeypatch.setattr(saving, "write_snapshot", fail)
    callback = Checkpoints(tmp_path, every=2, keep=2, start=0)
    with pytest.raises(UserError, match="step-00000002.h5: the disk is full"):
        run(callback, [make_logs()] * 4, end=False)
    callback = Checkpoints(tmp_path, every=9, keep=2, start=0)
    with pytest.raises(UserError, match="step-00000001.h5: the disk is full"):
        run(callback, [make_logs()])


def test_a_resumed_run_without_steps_saves_nothing(tmp_path):
    run(Checkpoints(tmp_path / "checkpoints", every=2, keep=2, start=4), [])
    assert not (tmp_path / "checkpoints").exists()


def test_the_states_of_callbacks_are_saved_and_given_back(tmp_path):
    run(Checkpoints(tmp_path, 2, keep=2, start=0, stateful=[Counter()]), [make_logs()] * 4)
    memory = load_progress(list_checkpoints(tmp_path)[-1]).memory
    assert memory == {"Counter": {"count": 2}}  # asked at steps 2 and 4
    counter = Counter()
    restore_states([counter], memory)
    assert counter.count == 2
    restore_states([counter], {})  # a file from before states were saved
    assert counter.count == 0


def test_what_was_made_up_for_is_saved_anew(tmp_path):
    run(Checkpoints(tmp_path, 2, keep=2, start=2, stateful=[Counter()]), [], beginning={})
    assert steps_saved(tmp_path) == []
    made_up = {"val_loss": 1.0}
    run(Checkpoints(tmp_path, 2, keep=2, start=2, stateful=[Counter()]), [], beginning=made_up)
    assert steps_saved(tmp_path) == [2]


def test_what_a_killed_run_did_not_come_to_remove_is_removed(tmp_path):
    for step in (2, 4, 6):
        run(Checkpoints(tmp_path, 2, keep=3, start=step - 1), [make_logs()], start=step - 1)
    (tmp_path / "step-00000008.h5.partial").touch()
    run(Checkpoints(tmp_path, 2, keep=2, start=6), [], start=6)
    assert steps_saved(tmp_path) == [4, 6]
    assert list(tmp_path.glob("*.partial")) == []


# === The best by validation ===


def validated(*losses):
    """Give logs of steps with these validation losses; None for none."""
    return [make_logs(**({} if loss is None else {"val_loss": loss})) for loss in losses]


def kept(folder):
    progress = load_progress(folder / BEST_FILE)
    return progress.step, progress.memory["val_loss"]


def test_the_lowest_validation_loss_is_kept(tmp_path, caplog):
    # Lowest at step 4; equal at step 6, which is not lower.
    best = BestCheckpoint(tmp_path, start=0)
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        run(best, validated(None, 5.0, None, 3.0, 4.0, 3.0))
    assert kept(tmp_path) == (best.step, best.val_loss) == (4, 3.0)
    assert [message.split(":")[0] for message in caplog.messages] == ["step 2", "step 4"]


def test_the_weights_of_that_step_are_kept(tmp_path):
    best = BestCheckpoint(tmp_path, start=0)
    best.set_model(SmallTrainer())
    best.on_train_begin({})
    (kernel,) = best.model.network.weights[:1]
    for step, loss in enumerate((5.0, 3.0, 4.0)):
        kernel.assign([[float(step + 1)]])
        best.on_train_batch_end(step, make_logs(val_loss=loss))
    best.on_train_end()
    assert load_checkpoint(tmp_path / BEST_FILE, best.model.network).step == 2
    np.testing.assert_array_equal(kernel, [[2.0]])


def test_a_run_that_goes_on_keeps_the_best_of_before(tmp_path):
    run(BestCheckpoint(tmp_path, start=0), validated(None, 3.0))
    run(BestCheckpoint(tmp_path, start=2), validated(4.0, 5.0), start=2)
    assert kept(tmp_path) == (2, 3.0)
    run(BestCheckpoint(tmp_path, start=4), validated(2.0), start=4)
    assert kept(tmp_path) == (5, 2.0)


def test_a_validation_that_is_made_up_for_counts(tmp_path):
    run(BestCheckpoint(tmp_path, start=2), [], beginning={"val_loss": 1.0})
    assert kept(tmp_path) == (2, 1.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_validation_loss_that_is_not_finite_is_never_the_best(tmp_path, loss):
    best = BestCheckpoint(tmp_path, start=0)
    run(best, validated(loss))
    assert not (tmp_path / BEST_FILE).exists() and best.step == 0
    run(best, validated(2.0), start=1)
    assert kept(tmp_path) == (2, 2.0)


def test_a_damaged_best_is_named_and_replaced_by_the_next(tmp_path, caplog):
    run(BestCheckpoint(tmp_path, start=0), validated(3.0))
    path = tmp_path / BEST_FILE
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING, "tf_frcnn"):
        run(BestCheckpoint(tmp_path, start=1), validated(4.0), start=1)
    assert f"{path}: is damaged" in caplog.text
    assert kept(tmp_path) == (2, 4.0)
