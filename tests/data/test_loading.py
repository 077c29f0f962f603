"""From a configuration to data sets: every fault in one message, and counts of what is left."""

import gc
import logging

import numpy as np
import pytest

from tests.conftest import voc_xml
from tests.evaluation.images import image, make_dataset
from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import choose_classes, load_dataset, load_datasets, read_datasets
from tf_frcnn.errors import DataError

NAMES = ("cat", "dog", "duck")


def config(root, **options):
    return DataConfig(root=str(root), **options)


@pytest.fixture
def faulty(voc_folder):
    """Spoil three of six training images and one of two of the test split, in four ways.

    The folder's training images 1, 3 and 5 have two boxes, the others one: 9; those of test have
    two and one: 3.
    """
    annotations, images = voc_folder / "Annotations", voc_folder / "JPEGImages"
    (annotations / "train_0.xml").write_text("<annotation><obj")
    inverted = voc_xml((72, 96), [("cat", 50, 10, 20, 40), ("dog", 3, 4, 30, 40)])
    (annotations / "train_1.xml").write_text(inverted)
    for name in ("train_2", "test_1"):
        path = images / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[:-200])  # the header is whole
    return voc_folder


def lines_of(caplog, start):
    return [record.message for record in caplog.records if record.message.startswith(start)]


def test_faults_of_annotations_and_images_are_told_in_one_message(faulty):
    with pytest.raises(DataError) as caught:
        load_datasets(config(faulty), seed=0)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{faulty}: 4 faults in the annotations and images:"
    for line, name in zip(lines[1:5], ("train_0", "train_1", "train_2", "test_1"), strict=True):
        assert f"{name}." in line
    assert "--data.on-error skip" in lines[5]


def test_what_is_skipped_is_not_counted_as_there(faulty, caplog):
    with caplog.at_level(logging.INFO):
        datasets = load_datasets(config(faulty, on_error="skip"), seed=0)
    # Boxes: 9 - 1 (train_0) - 2 + 1 (train_1, whose two were replaced, one of them good) - 1.
    assert lines_of(caplog, "train: ") == [
        "train: 4 images, 6 boxes (split train); left out for their faults: 2 images, 1 box"
    ]
    assert lines_of(caplog, "val: ") == ["val: 2 images, 3 boxes (split val)"]
    assert lines_of(caplog, "test: ")[0].startswith("test: 1 image, ")
    assert [len(dataset.examples) for dataset in datasets.values()] == [4, 2, 1]
    told = lines_of(caplog, f"{faulty}: 4 faults")
    assert len(told) == 1 and "Going on without" in told[0]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_split_whose_images_are_all_broken(voc_folder, on_error):
    for path in (voc_folder / "JPEGImages").glob("val_*"):
        path.write_bytes(path.read_bytes()[:-200])
    expected = {"stop": ": 2 faults in", "skip": "split val: no image is left, all 2"}
    with pytest.raises(DataError, match=expected[on_error]):
        load_datasets(config(voc_folder, on_error=on_error), seed=0)


def test_class_names_that_look_like_one_are_told_where_they_were_found(voc_folder, caplog):
    slip = voc_xml((72, 96), [("Duck", 3, 4, 30, 40)])
    (voc_folder / "Annotations" / "train_3.xml").write_text(slip)
    load_datasets(config(voc_folder), seed=0)
    assert lines_of(caplog, "class names that look like one")[0].startswith(
        "class names that look like one: 'Duck' and 'duck'"
    )
    caplog.clear()
    load_datasets(config(voc_folder, classes=("Duck", *NAMES)), seed=0)  # meant so
    assert not lines_of(caplog, "class names")


def test_one_split_with_the_classes_of_a_model(faulty, caplog):
    with pytest.raises(DataError, match="1 fault in .*\n.*test_1.jpg"):
        load_dataset(config(faulty), "test", NAMES, seed=0)
    with caplog.at_level(logging.INFO):
        dataset = load_dataset(config(faulty, on_error="skip"), "test", NAMES, seed=0)
    assert [example.image_id for example in dataset.examples] == ["test_0"]
    assert dataset.num_images_left_out == 1
    assert len(lines_of(caplog, "test: 1 image, ")) == 1


def test_classes_are_chosen_and_numbered_as_they_are_wanted(caplog):
    boxes = [[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]]
    dataset = make_dataset(
        image("a", boxes, [3, 1, 2], difficult=[True, False, True], crowd=[False, True, True]),
        image("b", boxes[:2], [3, 3]),
        class_names=("cat", "cow", "dog"),
    )
    with caplog.at_level(logging.INFO):
        chosen = choose_classes(dataset, ("dog", "eel", "cat"))
    first, second = chosen.examples
    assert chosen.class_names == ("dog", "eel", "cat")
    assert first.classes.tolist() == [1, 3] and first.classes.dtype == np.int32
    assert first.boxes.tolist() == boxes[:2]
    assert (first.difficult.tolist(), first.crowd.tolist()) == ([True, False], [False, True])
    assert second.classes.tolist() == [1, 1]
    assert lines_of(caplog, "boxes of other classes, left out: 1: cow (1)")
    assert choose_classes(dataset, ("cow",)).examples[1].boxes.shape == (0, 4)
    with pytest.raises(DataError, match=r"no box is of the classes eel; there are dog \(3\), cat"):
        choose_classes(dataset, ("eel",))


@pytest.mark.parametrize("is_on", [True, False])
def test_the_search_for_cycles_is_as_it_was_after_reading(voc_folder, is_on):
    was_on = gc.isenabled()
    seen = []
    try:
        (gc.enable if is_on else gc.disable)()
        read_datasets(config(voc_folder), 0, on_faults=lambda *faults: seen.append(gc.isenabled()))
        assert seen == [False] and gc.isenabled() is is_on
        with pytest.raises(DataError):
            read_datasets(config(voc_folder, classes=("cow",)), 0)
        assert gc.isenabled() is is_on
    finally:
        (gc.enable if was_on else gc.disable)()
