"""Splits that are made by a seed: how they divide, and that a run keeps them."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from tests.data.voc_writer import write_without_lists
from tf_frcnn.data.splits import MADE_SPLITS, Divider, make_splits, order_by_seed
from tf_frcnn.errors import UserError
from tf_frcnn.run_folder import RunFolder


@settings(max_examples=60)
@given(st.sets(st.text(max_size=5), max_size=60), st.integers(0, 5))
def test_every_name_is_in_one_split(names, seed):
    made = make_splits(names, seed)
    assert tuple(made) == MADE_SPLITS
    assert sorted(name for split in made.values() for name in split) == sorted(names)
    assert len(made["val"]) == len(made["test"])
    # 80/10/10: a tenth, rounded to the nearest, but at least one of three.
    tenth = int(len(names) / 10 + 0.5)
    assert len(made["val"]) == max(tenth, int(len(names) >= 3))


@given(st.sets(st.text(max_size=5), max_size=60), st.integers(0, 5))
def test_the_order_of_a_seed_does_not_depend_on_that_of_the_names(names, seed):
    ordered = order_by_seed(names, seed)
    assert sorted(ordered) == sorted(names)
    assert order_by_seed(sorted(names, reverse=True), seed) == ordered
    # What is gone leaves the order of the others.
    assert order_by_seed(ordered[1:], seed) == ordered[1:]


def test_another_seed_gives_another_order():
    names = [f"p{number:02}" for number in range(20)]
    assert len({tuple(order_by_seed(names, seed)) for seed in range(5)}) == 5


def test_a_kept_division_leaves_new_images_out_and_forgets_lost_ones(caplog):
    names = [f"p{number:02}" for number in range(20)]
    kept = make_splits(names, seed=0)
    lost = kept["train"][0]
    present = [name for name in names if name != lost] + ["new"]
    with caplog.at_level(logging.INFO):
        divided = Divider(1, kept).divide(present, "DIR: no lists")
    assert divided == {**kept, "train": kept["train"][1:]}
    assert "images that were added since, in no split: 1: new" in caplog.text
    assert "DIR: no lists; images divided as when the run was started: train 15" in caplog.text


def test_a_new_division_says_its_seed(caplog):
    with caplog.at_level(logging.INFO):
        made = Divider(7).divide(["a", "b", "c"], "DIR")
    assert made == make_splits(["a", "b", "c"], 7)
    assert "DIR; images divided with seed 7: train 1, val 1, test 1" in caplog.text


def test_a_run_keeps_its_splits_when_images_are_added(tiny_options, tmp_path, capsys):
    data, output = tmp_path / "data", tmp_path / "run"
    write_without_lists(data, data, 12)
    options = [*tiny_options, "--data.root", str(data), "--output", str(output)]
    options += ["--export-dir", str(tmp_path / "exported"), "--data.test-split", "none"]
    assert train.main(options) == 0
    division = RunFolder(output).load_division()
    assert division == make_splits([f"p{number:02}" for number in range(12)], seed=0)
    # The folder grows, and the run has to be finished again.
    write_without_lists(data, data, 14)
    RunFolder(output).metrics_file.unlink()
    assert train.main(options) == 0
    assert RunFolder(output).load_division() == division
    assert "in no split: 2: p12, p13" in capsys.readouterr().err


def test_splits_that_cannot_be_read_are_an_error(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.load_division() is None
    folder.splits_file.write_text('{"train": 3}')
    with pytest.raises(UserError, match="splits.json: train: Input should be a valid"):
        folder.load_division()
