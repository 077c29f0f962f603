"""Checkpoints: bit-equal round trips, and nothing lost to damage, full disks or other models."""

import errno
import logging

import h5py
import keras
import numpy as np
import pytest

from tests.step_checkpoints import save_checkpoint
from tf_frcnn.checkpoint_folder import (
    list_checkpoints,
    prune_checkpoints,
    restore_latest,
    set_damaged_aside,
)
from tf_frcnn.checkpoints import (
    BEST_FILE,
    Progress,
    best_progress,
    load_checkpoint,
    load_progress,
    named_weights,
    take_snapshot,
    write_snapshot,
)
from tf_frcnn.errors import UserError, WeightsError
from tf_frcnn.model import FasterRCNN


def make_model(units=3, name="dense"):
    """Build a small model with trainable and other weights, and an optimiser with momentum."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(units, name=name),
            keras.layers.BatchNormalization(name="normalisation"),
        ]
    )
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def take_steps(model, optimizer, count=1):
    """Change all weights and the optimiser's state, as training does."""
    for _ in range(count):
        gradients = [np.full(tuple(v.shape), 0.25, np.float32) for v in model.trainable_variables]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))


def state_of(model, optimizer):
    variables = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
    return [np.asarray(variable) for variable in [*model.weights, *variables]]


def assert_same_state(state, expected):
    for value, other in zip(state, expected, strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.fixture
def saved(tmp_path):
    """Save steps 1, 2 and 3 -> (folder, model, optimiser, state after each step by step)."""
    model, optimizer = make_model()
    states = {}
    for step in (1, 2, 3):
        take_steps(model, optimizer)
        save_checkpoint(tmp_path / "checkpoints", step, model, optimizer)
        states[step] = state_of(model, optimizer)
    return tmp_path / "checkpoints", model, optimizer, states


# === Round trip ===


def test_a_rate_that_was_set_is_kept_and_may_be_missing(tmp_path):
    model, optimizer = make_model()
    optimizer.learning_rate = 0.5
    path = save_checkpoint(tmp_path, 1, model, optimizer)
    other, its_optimizer = make_model()
    load_checkpoint(path, other, its_optimizer)
    assert float(its_optimizer.learning_rate) == 0.5
    # Of a schedule no rate is kept; one that is a number stays as it is then.
    schedule = keras.optimizers.schedules.ExponentialDecay(0.3, 1, 0.5)
    scheduled = keras.optimizers.SGD(schedule, momentum=0.9)
    scheduled.build(model.trainable_variables)
    take_steps(model, scheduled)
    load_checkpoint(save_checkpoint(tmp_path, 2, model, scheduled), other, its_optimizer)
    assert float(its_optimizer.learning_rate) == 0.5
    assert int(its_optimizer.iterations) == 1
    np.testing.assert_array_equal(its_optimizer.momentums[0], scheduled.momentums[0])


def test_weights_and_optimiser_come_back_bit_equal(saved):
    folder, *_, states = saved
    model, optimizer = make_model()
    take_steps(model, optimizer, count=5)
    assert restore_latest(folder, model, optimizer).step == 3
    assert_same_state(state_of(model, optimizer), states[3])
    # Training goes on as it would have: the momentum is there too.
    original, original_optimizer = saved[1:3]
    take_steps(original, original_optimizer)
    take_steps(model, optimizer)
    assert_same_state(state_of(model, optimizer), state_of(original, original_optimizer))


def test_weights_alone_can_be_restored(saved):
    folder, original, *_ = saved
    model, _ = make_model()
    assert restore_latest(folder, model).step == 3
    for value, expected in zip(model.get_weights(), original.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("make", [True, False])
def test_nothing_to_restore_is_step_0(tmp_path, make):
    if make:
        (tmp_path / "checkpoints").mkdir()
    model, optimizer = make_model()
    before = state_of(model, optimizer)
    assert restore_latest(tmp_path / "checkpoints", model, optimizer) == Progress()
    assert_same_state(state_of(model, optimizer), before)


def test_files_are_named_by_step_and_listed_in_order(saved):
    folder, model, optimizer, _ = saved
    save_checkpoint(folder, 100_000, model, optimizer)
    assert [path.name for path in list_checkpoints(folder)] == [
        "step-00000001.h5",
        "step-00000002.h5",
        "step-00000003.h5",
        "step-00100000.h5",
    ]


def test_weights_are_stored_by_layer_and_variable(saved):
    folder, *_ = saved
    with h5py.File(list_checkpoints(folder)[0], "r") as file:
        assert set(file["weights"]) == {"dense", "normalisation"}
        assert set(file["weights/dense"]) == {"kernel", "bias"}
        assert file.attrs["step"] == 1


def test_every_variable_of_the_detector_has_a_name_of_its_own(tiny_config):
    network = FasterRCNN(tiny_config.model, 3)
    weights = named_weights(network)
    assert len(weights) == len(network.weights)
    assert {id(variable) for variable in weights.values()} == {id(v) for v in network.weights}
    names = {name.split("/")[0] for name in weights}
    assert {"block1_conv1", "block5_conv3", "block5_conv3_bn", "rpn_conv"} <= names


def test_two_layers_of_one_name_are_refused():
    class TwoOfAName(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="outer")
            self.first = keras.layers.Dense(2, name="dense")
            self.second = keras.layers.Dense(2, name="dense")

        def call(self, inputs):
            return self.second(self.first(inputs))

    inputs = keras.Input((2,))
    with pytest.raises(ValueError, match="two variables are named 'dense/kernel'"):
        named_weights(keras.Model(inputs, TwoOfAName()(inputs)))


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.1, amsgrad=True),
    "averages": lambda: keras.optimizers.SGD(0.1, 0.9, use_ema=True, ema_momentum=0.9),
    "accumulation": lambda: keras.optimizers.SGD(0.1, 0.9, gradient_accumulation_steps=3),
    "loss scale": lambda: keras.mixed_precision.LossScaleOptimizer(
        keras.optimizers.SGD(0.1, 0.9), dynamic_growth_steps=3
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_slot_of_an_optimiser_comes_back(tmp_path, name):
    # After 4 steps: accumulated gradients of one step of three, one of three steps of the scale.
    if name == "accumulation" and keras.__version__.startswith("2."):
        pytest.skip("Keras 2 has no gradient accumulation")
    both = []
    for _ in range(2):
        model, _ = make_model()
        optimizer = OPTIMIZERS[name]()
        optimizer.build(model.trainable_variables)
        both.append((model, optimizer))
    take_steps(*both[0], count=4)
    save_checkpoint(tmp_path, 4, *both[0])
    restore_latest(tmp_path, *both[1])
    for pair in both:
        take_steps(*pair, count=3)
    assert_same_state(state_of(*both[1]), state_of(*both[0]))


def test_what_callbacks_remember_comes_back(tmp_path):
    model, optimizer = make_model()
    memory = {"Log": {"pending": [0.1, 1e-300]}, "Stopping": {"best": None, "wait": 2}}
    save_checkpoint(tmp_path, 7, model, optimizer, memory)
    assert restore_latest(tmp_path, model, optimizer) == Progress(7, memory)


def test_the_best_is_weights_without_an_optimiser_and_no_step_to_go_on_from(saved):
    folder, model, optimizer, states = saved
    snapshot = take_snapshot(best_progress(2, val_loss=0.25), model)
    path = write_snapshot(folder / BEST_FILE, snapshot)
    assert path.name == BEST_FILE and path not in list_checkpoints(folder)
    assert load_progress(path) == Progress(2, {"val_loss": 0.25})
    other, _ = make_model()
    assert load_checkpoint(path, other).step == 2
    assert_same_state(other.get_weights(), model.get_weights())
    prune_checkpoints(folder, keep=1)
    assert path.is_file()
    assert restore_latest(folder, model, optimizer).step == 3


# === Damage ===


def test_a_truncated_file_is_passed_over_with_a_warning(saved, caplog):
    folder, model, optimizer, states = saved
    newest = list_checkpoints(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING, "tf_frcnn"):
        assert restore_latest(folder, model, optimizer).step == 2
    assert_same_state(state_of(model, optimizer), states[2])
    assert f"{newest}: is damaged" in caplog.text


@pytest.mark.parametrize("position", [0, 30, 60, 600, 0.4, 0.6, 0.8, -1])
def test_a_single_bit_that_changed_is_found(saved, position):
    folder, model, optimizer, states = saved
    newest = list_checkpoints(folder)[-1]
    content = bytearray(newest.read_bytes())
    content[int(position * len(content)) if isinstance(position, float) else position] ^= 4
    newest.write_bytes(content)
    assert restore_latest(folder, model, optimizer).step == 2
    assert_same_state(state_of(model, optimizer), states[2])


def test_a_file_without_checksum_is_read(saved, tmp_path):
    """Files were written so before there were checksums: HDF5 from the first byte on."""
    folder, original, *_ = saved
    old = tmp_path / "step-00000003.h5"
    with h5py.File(folder / old.name, "r") as new_file, h5py.File(old, "w") as file:
        for name in ("weights", "optimizer"):
            new_file.copy(name, file)
        file.attrs["step"] = 3
    model, optimizer = make_model()
    assert load_checkpoint(old, model, optimizer) == Progress(3, {})
    assert_same_state(state_of(model, optimizer), state_of(original, saved[2]))
    # Damage is found there too, where HDF5 notices it.
    old.write_bytes(old.read_bytes()[:-1000])
    with pytest.raises(OSError):
        load_checkpoint(old, model, optimizer)


def test_damaged_files_are_set_aside_and_count_no_longer(saved):
    # Step 3 is damaged, and one checkpoint is to be kept: at step 2 and a half, as it were, that
    # must not be step 3.
    folder, model, optimizer, states = saved
    newest = list_checkpoints(folder)[-1]
    damaged = newest.read_bytes()[:-1]
    newest.write_bytes(damaged)
    set_damaged_aside(folder, restore_latest(folder, model, optimizer).step)
    assert newest.with_name("step-00000003.h5.damaged").read_bytes() == damaged
    prune_checkpoints(folder, keep=1)
    assert restore_latest(folder, model, optimizer).step == 2
    assert_same_state(state_of(model, optimizer), states[2])


@pytest.mark.parametrize("content", [b"", b"not HDF5"])
def test_when_all_are_damaged_nothing_is_touched(saved, content):
    folder, model, optimizer, _ = saved
    for path in list_checkpoints(folder):
        path.write_bytes(content)
    before = state_of(model, optimizer)
    expected = "of 3 checkpoints none can be read.*training's --overwrite"
    with pytest.raises(WeightsError, match=expected):
        restore_latest(folder, model, optimizer)
    (folder / BEST_FILE).touch()
    with pytest.raises(WeightsError, match=r"best\.h5 can be evaluated and exported still\.$"):
        restore_latest(folder, model, optimizer)
    assert_same_state(state_of(model, optimizer), before)


def test_a_half_written_file_does_not_count(saved):
    folder, model, optimizer, _ = saved
    (folder / "step-00000009.partial").write_bytes(b"killed here")
    assert restore_latest(folder, model, optimizer).step == 3


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.PosixPath.replace"])
def test_a_full_disk_leaves_the_older_ones_untouched(saved, monkeypatch, place):
    folder, model, optimizer, _ = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place, refuse)
    with pytest.raises(UserError, match=r"step-00000004\.h5: the checkpoint of step 4 .*No space"):
        save_checkpoint(folder, 4, model, optimizer)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(UserError, match="the checkpoint of step 1 cannot be written"):
        save_checkpoint(tmp_path / "checkpoints", 1, *make_model())


# === Another model ===


def test_another_shape_is_named_and_nothing_assigned(saved):
    folder, *_ = saved
    model, optimizer = make_model(units=4)
    before = state_of(model, optimizer)
    with pytest.raises(WeightsError) as caught:
        restore_latest(folder, model, optimizer)
    message = str(caught.value)
    assert "weights/dense/kernel has shape (2, 3), the model's is (2, 4)" in message
    assert_same_state(state_of(model, optimizer), before)


def test_another_layer_is_named(saved):
    folder, *_ = saved
    model, optimizer = make_model(name="other")
    with pytest.raises(WeightsError, match=r"step-00000003\.h5: has no weights/other/kernel"):
        load_checkpoint(list_checkpoints(folder)[-1], model, optimizer)


# === Tidying up ===


@pytest.mark.parametrize(("keep", "left"), [(1, [3]), (2, [2, 3]), (5, [1, 2, 3])])
def test_the_latest_few_are_kept(saved, keep, left):
    folder, *_ = saved
    (folder / "step-00000002.partial").write_bytes(b"killed here")
    (folder / "notes.txt").write_text("mine")
    prune_checkpoints(folder, keep)
    names = [f"step-{step:08d}.h5" for step in left]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "notes.txt"])
