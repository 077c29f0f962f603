"""Keras' `train_on_batch`, `test_on_batch` and `predict_on_batch`: one batch by itself."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.test_trainer import LOSSES, TWO_IMAGES, make_batch
from tf_frcnn.errors import DataError

BATCH = make_batch(TWO_IMAGES)


def test_a_batch_is_trained_on_as_a_step_is(make_trainer):
    trainer = make_trainer()
    expected = {name: float(value) for name, value in trainer.train_step(BATCH).items()}
    trained = trainer.network.get_weights()
    trainer = make_trainer()
    found = trainer.train_on_batch(BATCH, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert int(trainer.optimizer.iterations) == 1
    for weight, other in zip(trainer.network.get_weights(), trained, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-5)
    # Without names they come in the order of the names, and are plain numbers.
    values = make_trainer().train_on_batch({name: np.array(one) for name, one in BATCH.items()})
    assert values == pytest.approx([expected[name] for name in ("loss", *LOSSES, "finite")])
    assert all(isinstance(value, float | np.floating) for value in values)


def test_a_batch_is_judged_as_a_step_is(make_trainer):
    trainer = make_trainer(ema_momentum=0.5)
    trainer.train_on_batch(BATCH)
    trainer.train_on_batch(BATCH)
    weights = trainer.network.get_weights()
    with trainer.averaged_weights():
        expected = {name: float(value) for name, value in trainer.test_step(BATCH).items()}
    found = trainer.test_on_batch(BATCH, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert trainer.test_on_batch(BATCH) == pytest.approx(
        [expected[name] for name in ("loss", *LOSSES)], rel=1e-5
    )
    for weight, other in zip(trainer.network.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.parametrize("batch_first", [True, False])
def test_batches_by_themselves_and_epochs_take_turns(batch_first, make_trainer):
    trainer = make_trainer()
    calls = [
        lambda: trainer.train_on_batch(BATCH, return_dict=True)["loss"],
        lambda: trainer.fit(tf.data.Dataset.from_tensors(BATCH), verbose=0).history["loss"][0],
    ]
    losses = [call() for call in (calls if batch_first else reversed(calls))]
    assert np.isfinite(losses).all() and losses[1] != losses[0]
    assert int(trainer.optimizer.iterations) == 2


@pytest.mark.filterwarnings("ignore:Input dict contained keys")
def test_a_batch_is_detected_in(make_trainer):
    trainer = make_trainer()
    expected = trainer.network((BATCH["images"], BATCH["image_sizes"]))
    for batch in (BATCH, (BATCH["images"], BATCH["image_sizes"])):
        found = trainer.predict_on_batch(batch)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_what_is_no_batch_is_told(method, make_trainer):
    call = getattr(make_trainer(), method)
    batches = tf.data.Dataset.from_tensors(BATCH)
    message = r"^x \({}\): expected one batch, a dict with images, .*, seeds, as tf_frcnn\.prepare"
    for batch, given in (
        (np.zeros((2, 64, 96, 3)), "ndarray"),
        (batches, ".*Dataset"),
        ({"images": 0, "boxes": 0}, "images, boxes"),
    ):
        with pytest.raises(DataError, match=message.format(given)):
            call(batch)
    with pytest.raises(DataError, match=r"^classes: the network has 3, and the data have number 4"):
        call({**BATCH, "gt_classes": tf.where(BATCH["gt_classes"] > 0, 4, 0)})
