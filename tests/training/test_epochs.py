"""Keras' own callbacks in the command's loop: epochs, their means, and what a resumed run does."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.stand_ins import ImagesPipeline, NumberPipeline, SmallTrainer
from tf_frcnn.config import TrainConfig
from tf_frcnn.data.loading import load_datasets
from tf_frcnn.errors import UserError
from tf_frcnn.run_folder import RunFolder
from tf_frcnn.training.callbacks import ValidationLoss
from tf_frcnn.training.epochs import EpochCallbacks, check_callbacks
from tf_frcnn.training.loop import StopRequest, train
from tf_frcnn.training.run import train_detector


class Recorder(keras.callbacks.Callback):
    """Writes down what it is told."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.epochs = {}

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(f"step {batch}")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"end {epoch}")
        self.epochs[epoch] = dict(logs)


class LosingTrainer(SmallTrainer):
    """Gives its batches as the loss; 99 is not finite. Weights are what was given so far."""

    def train_step(self, batch, may_update=True):
        kernel = self.network.trainable_variables[0]
        kernel.assign(tf.reshape(batch, [1, 1]))
        finite = tf.cast(batch != 99.0, tf.float32)
        loss = tf.where(batch == 99.0, np.float32(np.nan), batch)
        terms = {name: loss / 4 for name in self.loss_names}
        return {"loss": loss, **terms, "finite": finite}

    def save(self, path, overwrite=True):
        self.network.save(path, overwrite=overwrite)


def run(callbacks, losses, per_epoch=2, start=0, steps=None, state=None, before=(), trainer=None):
    """Train from a step on, with the losses of the steps to come."""
    steps = start + len(losses) if steps is None else steps
    validation = next((one for one in before if isinstance(one, ValidationLoss)), None)
    adaptor = EpochCallbacks(callbacks, per_epoch, steps, start, validation)
    adaptor.set_state({} if state is None else json.loads(json.dumps(state)))
    trainer = trainer or LosingTrainer()
    done = train(trainer, NumberPipeline(*losses), start, [*before, adaptor], StopRequest())
    return done, adaptor.get_state(), trainer


# === What callbacks are told ===


def test_epochs_begin_and_end_with_means_of_the_steps_that_were_finite():
    recorder = Recorder()
    # Epochs of 3 steps: means of 1, 2, 6; of 4 alone (two are not finite); of the rest, 8.
    assert run([recorder], [1.0, 2.0, 6.0, 99.0, 4.0, 99.0, 8.0], per_epoch=3)[0] == 7
    steps = ["step 0", "step 1", "step 2"]
    assert recorder.calls == [
        *("epoch 0", *steps, "end 0"),
        *("epoch 1", *steps, "end 1"),
        *("epoch 2", "step 0", "end 2"),
    ]
    assert recorder.epochs[0] == {
        **{"loss": 3.0, "finite": 1.0},
        **dict.fromkeys(SmallTrainer.loss_names, 0.75),
    }
    assert [recorder.epochs[epoch]["loss"] for epoch in (1, 2)] == [4.0, 8.0]
    assert recorder.epochs[1]["finite"] == pytest.approx(1 / 3)


def test_an_epoch_without_a_finite_step_has_no_loss():
    recorder = Recorder()
    run([recorder], [99.0, 99.0])
    assert np.isnan(recorder.epochs[0]["loss"]) and recorder.epochs[0]["finite"] == 0.0


def test_an_epoch_has_the_last_validation_in_it():
    recorder = Recorder()
    validation = ValidationLoss(ImagesPipeline(3.0, 5.0), every=2, steps=6)  # mean 4
    run([recorder], [1.0] * 6, per_epoch=3, before=[validation])
    assert [logs["val_loss"] for logs in recorder.epochs.values()] == [4.0, 4.0]
    recorder = Recorder()
    # Steps 2 and 4, the last one, are validated.
    validation = ValidationLoss(ImagesPipeline(3.0), every=2, steps=4)
    run([recorder], [1.0] * 4, per_epoch=1, before=[validation])
    assert ["val_loss" in one for one in recorder.epochs.values()] == [False, True, False, True]


def test_a_run_that_is_resumed_goes_on_in_its_epoch():
    whole, first, second = Recorder(), Recorder(), Recorder()
    losses = [1.0, 2.0, 6.0, 4.0, 5.0]
    run([whole], losses, per_epoch=3)
    _, state, _ = run([first], losses[:2], per_epoch=3, steps=5)
    run([second], losses[2:], per_epoch=3, start=2, state=state)
    assert first.epochs == {}
    assert second.calls[:3] == ["epoch 0", "step 2", "end 0"]
    assert second.epochs == whole.epochs


def test_an_epoch_whose_validation_was_interrupted_ends_when_it_was_repeated():
    first, second = Recorder(), Recorder()
    request = StopRequest()

    class Interrupted(ImagesPipeline):
        def __iter__(self):
            request.received = 15
            return super().__iter__()

    validation = ValidationLoss(Interrupted(3.0), 2, 4, stop_request=request)
    adaptor = EpochCallbacks([first], 2, 4, 0, validation)
    batches = NumberPipeline(1.0, 3.0, 5.0, 7.0)
    assert train(LosingTrainer(), batches, 0, [validation, adaptor], request) == 2
    assert first.epochs == {}
    again = ValidationLoss(ImagesPipeline(3.0), 2, 4, start=2)
    again.set_state(validation.get_state())
    run([second], [5.0, 7.0], 2, start=2, state=adaptor.get_state(), before=[again])
    assert [second.epochs[epoch]["loss"] for epoch in (0, 1)] == [2.0, 6.0]
    assert [second.epochs[epoch]["val_loss"] for epoch in (0, 1)] == [3.0, 3.0]


def test_callbacks_that_act_on_steps_have_each_step_read_and_others_the_last_of_an_epoch():
    def read(*callbacks):
        adaptor = EpochCallbacks(callbacks, steps_per_epoch=3, steps=7)
        return [done for done in range(1, 8) if adaptor.reads_state(done)]

    assert read(keras.callbacks.ReduceLROnPlateau("loss"), keras.callbacks.Callback()) == [3, 6, 7]
    on_end = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    for acting in (Recorder(), on_end, keras.callbacks.ModelCheckpoint("best.keras")):
        assert read(keras.callbacks.ReduceLROnPlateau("loss"), acting) == list(range(1, 8))


# === Keras' own ===


def test_reduce_on_plateau_sets_the_rate_and_remembers():
    # Epochs of one step: 5 is the best, 6 is one without improvement, 7 the second: rate / 2.
    def make():
        return keras.callbacks.ReduceLROnPlateau(
            monitor="loss", factor=0.5, patience=2, min_delta=0.0
        )

    _, _, trainer = run([make()], [5.0, 6.0, 7.0], per_epoch=1)
    assert float(trainer.optimizer.learning_rate) == 0.0625
    _, state, trainer = run([make()], [5.0, 6.0], per_epoch=1, steps=3)
    assert float(trainer.optimizer.learning_rate) == 0.125
    _, _, trainer = run([make()], [7.0], per_epoch=1, start=2, state=state)
    assert float(trainer.optimizer.learning_rate) == 0.0625


def test_early_stopping_ends_the_training_and_stays_ended():
    def make():
        return keras.callbacks.EarlyStopping(monitor="loss", patience=2)

    done, state, _ = run([make()], [5.0, 6.0, 7.0, 8.0], per_epoch=1)
    assert done == 3
    assert run([make()], [8.0], per_epoch=1, start=3, state=state)[0] == 3
    _, state, _ = run([make()], [5.0, 6.0], per_epoch=1, steps=9)
    assert run([make()], [7.0, 8.0], per_epoch=1, start=2, steps=9, state=state)[0] == 3


def test_weights_that_early_stopping_would_put_back_are_told_to_be_lost(caplog):
    def make(restores=True):
        return keras.callbacks.EarlyStopping("loss", restore_best_weights=restores)

    _, state, _ = run([make()], [5.0], per_epoch=1, steps=2)
    assert caplog.text == ""
    run([make(restores=False)], [6.0], per_epoch=1, start=1, state=state)
    assert caplog.text == ""
    run([make()], [6.0], per_epoch=1, start=1, state=state)
    assert (
        "callbacks: EarlyStopping(restore_best_weights=True) has lost the weights of its best "
        "epoch, which it keeps in memory: "
    ) in caplog.text


def test_model_checkpoint_saves_by_epochs_the_best_and_by_steps(tmp_path):
    def saved(pattern):
        files = sorted(tmp_path.glob(pattern))
        kernels = [keras.saving.load_model(path).get_weights()[0].item() for path in files]
        return dict(zip([path.name for path in files], kernels, strict=True))

    checkpoint = keras.callbacks.ModelCheckpoint
    best = str(tmp_path / "best.keras")
    callbacks = [
        checkpoint(str(tmp_path / "epoch-{epoch}.keras")),
        checkpoint(best, monitor="loss", save_best_only=True),
        checkpoint(str(tmp_path / "step-{epoch}-{batch}.keras"), save_freq=3),
    ]
    _, state, _ = run(callbacks, [4.0, 3.0, 1.0, 2.0], steps=6)
    assert saved("epoch-*") == {"epoch-1.keras": 3.0, "epoch-2.keras": 2.0}
    assert saved("best.keras") == {"best.keras": 2.0}  # means 3.5 and 1.5
    assert saved("step-*") == {"step-2-1.keras": 1.0}
    callbacks = [checkpoint(best, monitor="loss", save_best_only=True)]
    run(callbacks, [2.0, 2.0], start=4, state={**state, "callbacks": state["callbacks"][1:]})
    assert saved("best.keras") == {"best.keras": 2.0}


def test_tensorboard_writes_its_figures(tmp_path):
    run([keras.callbacks.TensorBoard(str(tmp_path))], [1.0, 3.0, 5.0, 7.0])
    (path,) = (tmp_path / "train").glob("*.tfevents.*")
    values = [
        tf.make_ndarray(value.tensor).item()
        for record in tf.data.TFRecordDataset(str(path))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
        if value.tag == "epoch_loss"
    ]
    assert values == [2.0, 6.0]


def test_who_sets_the_rate_needs_one_that_can_be_set():
    callbacks = [keras.callbacks.TensorBoard("x"), keras.callbacks.ReduceLROnPlateau()]
    check_callbacks(callbacks, TrainConfig(decay_steps=()))
    check_callbacks(callbacks[:1], TrainConfig())
    with pytest.raises(UserError) as caught:
        check_callbacks(callbacks, TrainConfig(warmup_steps=5, decay_steps=(7, 9)))
    assert str(caught.value) == (
        "callbacks: ReduceLROnPlateau sets the learning rate, but it follows a schedule "
        "(--train.schedule step, --train.warmup-steps 5, --train.decay-steps 7 9). Expected a rate "
        "that stays as it is until it is set: schedule step, warmup-steps 0 and no decay-steps; or "
        "leave the callback out."
    )
    with pytest.raises(UserError, match="--train.optimizer addons:LAMB does not let it"):
        check_callbacks(callbacks, TrainConfig(optimizer="addons:LAMB", decay_steps=()))


# === With the real network ===


def test_a_real_run_lowers_its_rate_and_its_checkpoint_keeps_it(tiny_config, voc_folder, tmp_path):
    """Six images, two a step: epochs of 3 steps; no epoch is better by 100."""
    data = dataclasses.replace(tiny_config.data, root=str(voc_folder))
    train_config = dataclasses.replace(
        tiny_config.train, steps=6, warmup_steps=0, decay_steps=(), learning_rate=0.01
    )
    config = dataclasses.replace(tiny_config, data=data, train=train_config)
    datasets = load_datasets(data, 0)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()

    def train_with(recorder, config):
        plateau = keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=1, min_delta=100.0)
        train_detector(config, datasets, folder, callbacks=[plateau, recorder])
        return float(recorder.model.optimizer.learning_rate)

    recorder = Recorder()
    assert train_with(recorder, config) == pytest.approx(0.005)
    assert list(recorder.epochs) == [0, 1] and "val_loss" in recorder.epochs[1]
    longer = dataclasses.replace(config, train=dataclasses.replace(train_config, steps=9))
    recorder = Recorder()
    assert train_with(recorder, longer) == pytest.approx(0.0025)
    assert list(recorder.epochs) == [2]
