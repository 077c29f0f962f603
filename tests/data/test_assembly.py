"""What all readers share: clipping, the check of the classes, one message for all faults."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import voc_xml
from tests.data.voc_writer import SIZE, message_of, read_train, write_one, write_voc
from tf_frcnn.config import DataConfig
from tf_frcnn.data.assembly import (
    LabelledImage,
    LabelledObject,
    Objects,
    assemble_datasets,
    clip_box,
)
from tf_frcnn.data.faults import log_faults
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc import read_voc
from tf_frcnn.errors import ConfigError, DataError

# === Clipping ===


@pytest.mark.parametrize(
    ("box", "expected", "clipped"),
    [  # the image is 100 high and 200 wide
        ((20, 10, 25, 30), [20, 10, 25, 30], False),
        ((0, 0, 100, 200), [0, 0, 100, 200], False),
        ((-5, 190, 40, 1e300), [0, 190, 40, 200], True),
        ((90, -1, 130, 30), [90, 0, 100, 30], True),
        ((100, 10, 120, 30), None, True),  # begins where the image ends
        ((10, 200, 20, 230), None, True),
        ((-9, 10, 0, 30), None, True),  # ends where the image begins
        ((10, 150, 20, 150), None, False),  # inside, but of no width
        ((10, 120, 20, 110), None, False),  # inverted
    ],
)
def test_a_box_is_cut_to_its_image(box, expected, clipped):
    result, was_clipped = clip_box(box, SIZE)
    assert was_clipped is clipped
    if expected is None:
        assert result is None
    else:
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected)


@given(corners=st.lists(st.integers(-50, 250), min_size=4, max_size=4))
def test_a_clipped_box_holds_the_pixels_that_both_hold(corners):
    (ymin, ymax), (xmin, xmax) = sorted(corners[:2]), sorted(corners[2:])
    rows = [y for y in range(ymin, ymax) if 0 <= y < SIZE[0]]
    columns = [x for x in range(xmin, xmax) if 0 <= x < SIZE[1]]
    result, clipped = clip_box((ymin, xmin, ymax, xmax), SIZE)
    if not rows or not columns:
        assert result is None
        return
    assert result.tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
    assert clipped == (len(rows) < ymax - ymin or len(columns) < xmax - xmin)


# === Classes ===


def test_an_unknown_class_names_file_value_list_and_closest(tmp_path):
    annotations = {
        "a": voc_xml(SIZE, [("cat", 1, 2, 3, 4), ("Duk", 1, 2, 3, 4)]),
        "b": voc_xml(SIZE, [("Duk", 1, 2, 3, 4), ("zebra", 1, 2, 3, 4)]),
    }
    message = message_of(write_voc(tmp_path, annotations), ("cat", "dog", "duck"))
    assert "2 faults" in message
    assert "a.xml: object 2 (Duk), name = 'Duk' (objects of that name: 2)" in message
    assert "one of the classes cat, dog, duck (closest: 'duck')" in message
    assert "b.xml: object 2 (zebra)" in message and message.count("closest") == 1


def test_other_faults_and_unknown_classes_stand_in_one_message(tmp_path):
    root = write_one(tmp_path, ("cat", 5, 1, 1, 9), ("cow", 1, 2, 3, 4))
    message = message_of(root, ("cat",))
    assert "2 faults" in message and "inverted" in message and "'cow'" in message


def test_no_objects_at_all_leave_no_classes(tmp_path):
    root = write_one(tmp_path)
    assert "no object on the only image of train" in message_of(root)
    assert len(read_train(root, ("cat",)).examples) == 1


@pytest.mark.parametrize("name", ["background", "__background__", "Background"])
@pytest.mark.parametrize("class_names", [(), ("cat", "dog")])
def test_a_class_of_the_backgrounds_name_is_refused(tmp_path, name, class_names):
    annotations = {
        "a": voc_xml(SIZE, [("cat", 1, 2, 3, 4), (name, 1, 2, 30, 40)]),
        "b": voc_xml(SIZE, [(name, 1, 2, 30, 40)]),
    }
    message = message_of(write_voc(tmp_path, annotations), class_names)
    assert "1 fault " in message
    assert f"a.xml: object 2 ({name}), name = '{name}' (objects of that name: 2)." in message
    assert "Class 0 is the background" in message and "rename this one" in message
    with pytest.raises(ConfigError, match="class 0, the background"):
        DataConfig(classes=("cat", name))


# === Data sets ===


def labelled_image(tmp_path, name, *objects):
    columns = Objects.stack(objects)
    return LabelledImage(name, tmp_path / f"{name}.png", SIZE, columns, f"{name}.json")


def test_data_sets_share_classes_and_images_and_keep_all_flags(tmp_path):
    duck = LabelledObject("duck", np.array([1, 2, 30, 40], np.float32), "a.json: 1", crowd=True)
    ant = LabelledObject(
        "ant", np.array([5, 6, 7, 80], np.float32), "b.json: 1", difficult=True, clipped=True
    )
    a = labelled_image(tmp_path, "a", duck, ant)
    b = labelled_image(tmp_path, "b", ant)
    datasets = assemble_datasets(tmp_path, {"train": [a, b], "val": [a]}, ())
    assert datasets["train"].class_names == datasets["val"].class_names == ("ant", "duck")
    first, second = datasets["train"].examples
    np.testing.assert_array_equal(first.boxes, [[1, 2, 30, 40], [5, 6, 7, 80]])
    assert first.classes.tolist() == [2, 1] and first.classes.dtype == np.int32
    assert first.crowd.tolist() == [True, False] and first.difficult.tolist() == [False, True]
    assert second.image_id == "b" and second.source == "b.json" and second.image_size == SIZE
    # The object `ant` is counted where it stands: twice in train, once in val.
    assert datasets["train"].num_clipped == 2 and datasets["val"].num_clipped == 1


def test_an_image_in_two_splits_is_warned_of_once(tmp_path, caplog):
    ant = LabelledObject("ant", np.array([5, 6, 7, 8], np.float32), "a.json: 1", clipped=True)
    a = labelled_image(tmp_path, "a", ant)
    assemble_datasets(tmp_path, {"train": [a], "test": [a]}, (), clipping_hint="is it so?")
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "clipped: 1 (is it so?); the first: a.json: 1" in warning


def test_the_readers_faults_come_before_those_of_the_classes(tmp_path):
    cow = LabelledObject("cow", np.array([5, 6, 7, 8], np.float32), "a.json: 1 (cow)")
    splits = {"train": [labelled_image(tmp_path, "a", cow)]}
    with pytest.raises(DataError) as caught:
        assemble_datasets(tmp_path, splits, ("cat",), ["b.json: is broken."])
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}: 2 faults in the annotations and images:"
    assert lines[1] == "  b.json: is broken." and lines[2].startswith("  a.json: 1 (cow), name")
    assert len(lines) == 4


# === Names of classes ===


def test_a_name_that_lists_cannot_hold_is_told_with_all_other_faults(tmp_path):
    root = write_one(
        tmp_path, ("cat", 5, 1, 1, 9), ("red\ncar", 1, 2, 3, 4), ("x" * 256, 1, 2, 3, 4)
    )
    message = message_of(root)
    assert "3 faults" in message and "inverted" in message
    assert r"a.xml: object 2 (red\ncar), name = 'red\ncar' (objects of that name: 1). It" in message
    assert "It holds U+000A" in message and "It has 256 letters" in message


def test_classes_of_such_names_can_be_skipped(tmp_path):
    root = write_one(tmp_path, ("cat", 1, 2, 3, 4), ("red\ncar", 1, 2, 3, 4))
    dataset = read_voc(root, ("train",), (), Divider(0), log_faults)["train"]
    assert dataset.class_names == ("cat",) and dataset.num_boxes_left_out == 1


def test_a_class_without_a_box_may_not_have_such_a_name_either(tmp_path):
    image = labelled_image(tmp_path, "a", LabelledObject("cat", np.zeros(4, np.float32), "a: 1"))
    with pytest.raises(DataError, match=r"name of a class = 'a\\nb' \(objects of that name: 0\)"):
        assemble_datasets(tmp_path, {"train": [image]}, ("cat", "a\nb"))


def test_both_forms_of_an_accent_are_one_class(tmp_path):
    # e and a combining accent, as macOS writes it, is by Unicode's definition the same letter.
    root = write_one(tmp_path, ("caf\u00e9", 1, 2, 3, 4), ("cafe\u0301", 1, 2, 3, 4))
    assert read_train(root).class_names == ("caf\u00e9",)
    assert read_train(root, ("caf\u00e9",)).examples[0].classes.tolist() == [1, 1]
    assert DataConfig(classes=("cafe\u0301",)).classes == ("caf\u00e9",)


def test_very_many_unknown_classes_are_told_as_fast_as_a_few(tmp_path, monkeypatch):
    # Looking for the closest of all classes is left out where it would not be shown.
    searches = []
    monkeypatch.setattr(
        "tf_frcnn.data.assembly.get_close_matches",
        lambda *given, **options: searches.append(given) or [],
    )
    root = write_one(tmp_path, *((f"class {number}", 1, 2, 3, 4) for number in range(30)))
    message = message_of(root, tuple(f"known {number}" for number in range(30)))
    assert "30 faults" in message and len(searches) == 20
    assert "known 19 and 10 more" in message
