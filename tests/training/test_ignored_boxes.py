"""`--train.ignore-crowd-overlap` in a step, in Keras' `fit`, in a run and in the file of a step."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.training.states import assert_same, state_of
from tests.training.test_trainer import LOSSES, TWO_IMAGES, make_batch
from tf_frcnn.commands.train import main as run_train
from tf_frcnn.data.preparation import load_dataset, prepare_dataset
from tf_frcnn.errors import DataError
from tf_frcnn.training.tasks import box, rpn

WHOLE = [-999.0, -999.0, 999.0, 999.0]  # and all anchors, those across the border too
EMPTY = [0.0, 0.0, 0.0, 0.0]


def with_ignored(batch, *boxes):
    """Add boxes to ignore, a list an image."""
    return {**batch, "ignored_boxes": tf.constant(boxes, tf.float32)}


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_without_such_boxes_a_training_is_the_same_to_the_bit(make_trainer, share):
    plain = make_trainer()
    expected = [plain.train_step(make_batch(TWO_IMAGES, seed=seed)) for seed in range(3)]
    state = state_of(plain)
    trainer = make_trainer(ignore_crowd_overlap=share)
    # Where it is off, boxes that are there change nothing either.
    boxes = [[EMPTY, EMPTY]] * 2 if share else [[WHOLE, EMPTY]] * 2
    for seed, report in enumerate(expected):
        batch = with_ignored(make_batch(TWO_IMAGES, seed=seed), *boxes)
        found = trainer.train_step(batch)
        assert {name: float(value) for name, value in found.items()} == {
            name: float(value) for name, value in report.items()
        }
    assert_same(state_of(trainer), state)


def test_a_step_leaves_out_the_background_inside(make_trainer, monkeypatch):
    drawn = {}

    def note(module, name):
        function = getattr(module, name)

        def noted(*arguments):
            drawn[name] = function(*arguments)
            return drawn[name]

        monkeypatch.setattr(module, name, noted)

    note(rpn, "assign_anchor_targets")
    note(box, "sample_rois")
    trainer = make_trainer(ignore_crowd_overlap=0.5)
    plain = make_trainer().compute_losses(make_batch(TWO_IMAGES), training=False)
    # The first image is a crowd altogether, the second has none.
    batch = with_ignored(make_batch(TWO_IMAGES), [WHOLE], [EMPTY])
    losses = trainer.compute_losses(batch, training=False)
    for targets in drawn.values():
        background = (targets.weights - targets.positives).numpy()
        assert not background[0].any() and background[1].any()
        assert targets.positives.numpy()[0].any()
    assert set(losses) == set(plain) == set(LOSSES)
    assert float(losses["roi_class"]) != float(plain["roi_class"])


def test_a_step_in_which_all_is_ignored_is_finite(make_trainer):
    trainer = make_trainer(ignore_crowd_overlap=0.5)
    report = trainer.train_step(with_ignored(make_batch([[], []]), [WHOLE], [WHOLE]))
    assert {name: float(value) for name, value in report.items()} == {
        **dict.fromkeys(("loss", *LOSSES), 0.0),
        "finite": 1.0,
    }
    assert all(np.isfinite(value).all() for value in state_of(trainer))


# === Keras ===


def test_batches_without_them_are_refused_where_they_are_needed(make_trainer):
    trainer = make_trainer(ignore_crowd_overlap=0.5)
    batch = make_batch(TWO_IMAGES)
    message = re.escape(
        "seeds, ignored_boxes, as tf_frcnn.prepare_dataset (with_ignored_boxes=True) makes them"
    )
    with pytest.raises(DataError, match=message):
        trainer.train_on_batch(batch)
    with pytest.raises(DataError, match=message):
        trainer.fit(tf.data.Dataset.from_tensors(batch))
    found = trainer.train_on_batch(with_ignored(batch, [WHOLE], [EMPTY]), return_dict=True)
    assert found["finite"] == 1.0


def make_difficult(voc_folder):
    """Call the second object of every image difficult, where there is one."""
    changed = 0
    for path in (voc_folder / "Annotations").glob("*.xml"):
        text = path.read_text()
        old = "</name><bndbox><xmin>50<"
        changed += old in text
        path.write_text(text.replace(old, old.replace("<bnd", "<difficult>1</difficult><bnd")))
    assert changed == 5


def test_fit_takes_them_from_a_folder(make_trainer, voc_folder):
    make_difficult(voc_folder)
    sizes = {"short_side": 64, "long_side": 96, "with_ignored_boxes": True}
    train, val = (load_dataset(voc_folder, split) for split in ("train", "val"))
    history = make_trainer(ignore_crowd_overlap=0.5).fit(
        prepare_dataset(train, batch_size=2, **sizes),
        validation_data=prepare_dataset(val, training=False, **sizes),
        verbose=0,
    )
    assert history.history["finite"] == [1.0] and np.isfinite(history.history["val_loss"]).all()


# === A run ===


def test_a_run_trains_and_validates_with_them(tiny_options, voc_folder, tmp_path, monkeypatch):
    make_difficult(voc_folder)
    monkeypatch.setattr("tf_frcnn.reporting.evaluation.evaluate_detector", lambda *given: {})
    monkeypatch.setattr("tf_frcnn.export.saved_model.export_saved_model", lambda *given: None)
    monkeypatch.chdir(tmp_path)
    logs = {}
    for name, options in (("off", ()), ("on", ("--train.ignore-crowd-overlap", "0.5"))):
        arguments = [*tiny_options, "--data.root", str(voc_folder), *options]
        assert run_train([*arguments, "--output", name, "--export-dir", "out"]) == 0
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        logs[name] = [json.loads(line) for line in lines]
    for key in ("loss", "val_loss"):
        on, off = ([line[key] for line in logs[name] if key in line] for name in ("on", "off"))
        assert len(on) == len(off) > 0 and np.isfinite(on).all() and on != off
    config = json.loads((tmp_path / "on" / "config.json").read_text())
    assert config["train"]["ignore_crowd_overlap"] == 0.5
