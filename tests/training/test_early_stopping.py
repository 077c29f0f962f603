"""Early stopping: how many validations it waits, and that a stop of the process changes nothing."""

import logging
import math

import pytest

from tests.training.stand_ins import SmallTrainer, make_logs
from tf_frcnn.training.callbacks import EarlyStopping

# Lowest at the third; then two, a lower one, and three without a lower one.
LOSSES = [5.0, 4.0, 3.0, 3.5, 3.0, 2.0, 2.5, 2.0, 9.0, 1.0]


def validate(callback, losses, start=0):
    """Tell of a validation after each step -> the step after which it stopped, or None."""
    model = SmallTrainer()
    model.stop_training = False
    callback.set_model(model)
    callback.on_train_begin({})
    for step, loss in enumerate(losses, start=start):
        if model.stop_training:
            return step
        callback.on_train_batch_end(step, make_logs(val_loss=loss))
        callback.on_train_batch_end(step, make_logs())  # most steps have none
    return start + len(losses) if model.stop_training else None


@pytest.mark.parametrize(
    ("patience", "stopped"),
    # 1: 3.5 is the first that is not lower. 2: 3.0 is not lower than 3.0. 3: 2.5, 2.0, 9.0.
    [(1, 4), (2, 5), (3, 9), (4, None)],
)
def test_training_stops_after_so_many_validations_without_a_lower_one(patience, stopped, caplog):
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        assert validate(EarlyStopping(patience, start=0), LOSSES) == stopped
    assert (f"step {stopped}: early stopping" in caplog.text) == (stopped is not None)


@pytest.mark.parametrize("kill", range(1, 9))
def test_the_count_survives_a_stop_of_the_process(kill):
    first = EarlyStopping(3, start=0)
    assert validate(first, LOSSES[:kill]) is None
    second = EarlyStopping(3, start=kill)
    second.set_state(first.get_state())
    assert validate(second, LOSSES[kill:], start=kill) == 9


def test_a_run_that_was_stopped_stays_so(caplog):
    first = EarlyStopping(2, start=0)
    assert validate(first, LOSSES[:5]) == 5
    second = EarlyStopping(2, start=5)
    second.set_state(first.get_state())
    with caplog.at_level(logging.INFO, "tf_frcnn"):
        assert validate(second, [1.0], start=5) == 5
    assert "early stopping ended the training at step 5" in caplog.text


def test_a_validation_that_is_made_up_for_counts():
    callback = EarlyStopping(1, start=2)
    callback.set_state({"best": 1.0, "best_epoch": 1, "wait": 0, "stopped_epoch": 0})
    model = SmallTrainer()
    callback.set_model(model)
    callback.on_train_begin({"val_loss": 2.0})
    assert model.stop_training


def test_losses_that_are_not_finite_count_as_no_lower_ones():
    # NaN first: it must not be the lowest for ever. Then 3, and two without a lower one.
    assert validate(EarlyStopping(2, start=0), [math.nan, 3.0, math.inf, math.nan, 1.0]) == 4
