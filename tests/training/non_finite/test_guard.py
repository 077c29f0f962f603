"""Stopping and skipping: what is raised, written, saved and said."""

import dataclasses
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.non_finite.steps import NAN_TERMS, make_batch
from tf_frcnn.errors import NonFiniteLossError
from tf_frcnn.training.non_finite import guard as guard_module
from tf_frcnn.training.non_finite.guard import NonFiniteGuard
from tf_frcnn.training.non_finite.record import load_step

LOGS = {"loss": np.nan, **NAN_TERMS, "finite": 0.0, "seconds": 0.1}
EXAMPLES = tuple(SimpleNamespace(image_path=f"images/{number}.jpg") for number in range(9))


@pytest.fixture
def make_guard(trainer, step_config, tmp_path):
    """Make a guard, which writes to `non_finite`, and the list of its calls to save the run."""

    def make(on_nan):
        train = dataclasses.replace(step_config.train, on_nan=on_nan)
        data = dataclasses.replace(step_config.data, classes=("cat", "dog", "duck"))
        config = dataclasses.replace(step_config, train=train, data=data)
        saved = []
        folder = tmp_path / "non_finite"
        return NonFiniteGuard(
            trainer, config, EXAMPLES, folder, lambda: saved.append("saved")
        ), saved

    return make


@pytest.fixture
def no_diagnosis(monkeypatch):
    """Leave out the second run of a step, and the file, where they are not looked at."""
    monkeypatch.setattr(NonFiniteGuard, "_report", lambda self, record: "the report")


def bad_batch():
    batch = make_batch()
    batch["images"][0, 0, 0, 0] = np.inf
    return {name: tf.constant(value) for name, value in batch.items()}


def test_stop_says_all_and_writes_it(make_guard, tmp_path):
    guard, saved = make_guard("stop")
    with pytest.raises(NonFiniteLossError) as caught:
        guard(12, bad_batch(), LOGS)
    message = str(caught.value)
    assert caught.value.exit_status == 3
    assert message.startswith(
        "step 12: the loss is not finite (rpn_objectness = nan, rpn_box = nan, roi_class = nan, "
        "roi_box = nan).\nLikely cause: images/7.jpg: 0.01% of its pixels are not finite"
    )
    # The batch's indices are 7 and 3.
    assert "\n  images/7.jpg: 64 x 96" in message and "\n  images/3.jpg: 64 x 80" in message
    stem = tmp_path / "non_finite" / "step-00000012"
    assert f"tf-frcnn replay {stem}.h5" in message
    assert "--train.on-nan skip" in message
    assert saved == ["saved"]
    assert json.loads(stem.with_suffix(".json").read_text())["step"] == 12
    record = load_step(stem.with_suffix(".h5"))
    assert record.paths == ("images/7.jpg", "images/3.jpg")
    assert np.isinf(record.batch["images"][0, 0, 0, 0])


def test_images_of_uint8_are_written_as_the_network_takes_them(make_guard, tmp_path):
    guard, _ = make_guard("stop")
    batch = make_batch()
    whole = np.rint(batch["images"]).astype(np.uint8)
    with pytest.raises(NonFiniteLossError):
        guard(12, {**batch, "images": tf.constant(whole)}, LOGS)
    record = load_step(tmp_path / "non_finite" / "step-00000012.h5")
    assert record.batch["images"].dtype == np.float32
    np.testing.assert_array_equal(record.batch["images"], whole)


def test_weights_that_are_not_finite_end_it_and_are_not_saved(make_guard, trainer, no_diagnosis):
    bias = trainer.network.box_head.fc2.bias
    bias.assign(tf.fill(bias.shape, np.nan))
    guard, saved = make_guard("skip")
    with pytest.raises(NonFiniteLossError, match="weights themselves are not finite"):
        guard(3, bad_batch(), LOGS)
    assert saved == []


def test_a_gradient_that_is_not_finite_is_called_so(make_guard, no_diagnosis):
    guard, _ = make_guard("stop")
    with pytest.raises(NonFiniteLossError, match="step 3: the gradient of the loss is not finite"):
        guard(3, bad_batch(), {**LOGS, **dict.fromkeys(NAN_TERMS, 0.5)})


def test_skip_warns_and_keeps_the_first_files_only(make_guard, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(guard_module, "KEPT_FILES", 1)
    guard, saved = make_guard("skip")
    with caplog.at_level(logging.WARNING, "tf_frcnn"):
        guard(4, bad_batch(), LOGS)
        first = caplog.text
        caplog.clear()
        guard(9, bad_batch(), LOGS)
    assert "step 4: the loss is not finite" in first and "Likely cause" in first
    assert "step 9" in caplog.text and "images/7.jpg, images/3.jpg" in caplog.text
    assert "Likely cause" not in caplog.text
    names = sorted(path.name for path in (tmp_path / "non_finite").iterdir())
    assert names == ["step-00000004.h5", "step-00000004.json"]
    assert saved == []


def test_too_many_skipped_in_a_row_end_it(make_guard, no_diagnosis):
    guard, saved = make_guard("skip")
    batch = bad_batch()
    # 19 in a row, a good one (step 20), 19 more; the 20th of the second row is step 40.
    for step in (*range(1, 20), *range(21, 40)):
        guard(step, batch, LOGS)
    with pytest.raises(NonFiniteLossError) as caught:
        guard(40, batch, LOGS)
    assert "20 steps in a row were left out" in str(caught.value)
    assert saved == ["saved"]


def test_a_full_disk_does_not_hide_the_message(make_guard, tmp_path):
    (tmp_path / "non_finite").write_text("a file where the folder should be")
    guard, saved = make_guard("stop")
    with pytest.raises(NonFiniteLossError) as caught:
        guard(12, bad_batch(), LOGS)
    message = str(caught.value)
    assert "Likely cause: images/7.jpg" in message and "--train.on-nan skip" in message
    assert "step-00000012.h5: cannot be written" in message
    assert "File exists" in message
    assert saved == ["saved"]


def test_too_little_memory_for_a_second_run_does_not_either(make_guard, tmp_path, monkeypatch):
    def refuse(*given):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(guard_module, "diagnose", refuse)
    guard, _ = make_guard("stop")
    with pytest.raises(NonFiniteLossError, match="There is no whole report: .*OOM") as caught:
        guard(12, bad_batch(), LOGS)
    assert "step 12: the loss is not finite" in str(caught.value)
    assert load_step(tmp_path / "non_finite" / "step-00000012.h5").step == 12
