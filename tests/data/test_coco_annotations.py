"""Annotations in columns: an entry comes back with what is read of it, ordinary or not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_frcnn.data import coco_annotations
from tf_frcnn.data.assembly import Objects
from tf_frcnn.data.coco_annotations import Annotations
from tf_frcnn.data.coco_json import CocoFile, read_objects, read_objects_of

BOX = [10, 20.5, 30.25, 5]
ORDINARY = {"id": 7, "image_id": 1, "category_id": 3, "bbox": BOX, "iscrowd": 0, "area": 12.5}
SIZE = (100, 200)


def with_fields(**fields):
    return {key: value for key, value in (ORDINARY | fields).items() if value is not ...}


ODD = [
    "text",
    None,
    [1, 2],
    {},
    with_fields(image_id="1"),
    with_fields(image_id=True),
    with_fields(image_id=2**63),
    with_fields(image_id=...),
    with_fields(category_id=3.0),
    with_fields(category_id=None),
    with_fields(bbox=...),
    with_fields(bbox={"x": 1}),
    with_fields(bbox=[1, 2, 3]),
    with_fields(bbox=[1, 2, 3, "4"]),
    with_fields(bbox=[1, 2, 3, True]),
    with_fields(bbox=[1, 2, 0, 4]),
    with_fields(bbox=[1, 2, 3, -4]),
    with_fields(bbox=[1, float("nan"), 3, 4]),
    with_fields(bbox=[1, 2, float("inf"), 4]),
    with_fields(bbox=[1, 2, 3, 10**400]),
    with_fields(bbox=[1, 2, 3, 1e300]),
    with_fields(iscrowd=2),
    with_fields(iscrowd=True),
    with_fields(iscrowd="0"),
    with_fields(area="12"),
    with_fields(area=True),
    with_fields(attributes={"rotation": 30.0}),
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_what_is_not_ordinary_is_kept_as_it_stands(odd):
    annotations = Annotations([ORDINARY, ORDINARY, odd, ORDINARY])
    assert len(annotations) == 4 and annotations.is_ordinary.tolist() == [True, True, False, True]
    assert annotations[2] is odd or annotations[2] == odd
    assert annotations.others.keys() == {2}
    assert [annotations[index] for index in (0, 1, 3)] == [ORDINARY] * 3


@pytest.mark.parametrize(
    ("fields", "given"),
    [
        ({}, {}),
        ({"iscrowd": 1}, {}),
        ({"id": "a"}, {}),
        ({"id": None}, {}),
        ({"id": ...}, {}),
        ({"bbox": [-5, 1.0, 2, 3.5]}, {}),
        ({"iscrowd": ...}, {"iscrowd": 0}),
        ({"area": ...}, {"area": None}),
        ({"area": 0}, {"area": None}),
        ({"area": -3.5}, {"area": None}),
        ({"area": 7}, {"area": 7.0}),
        ({"keypoints": [1, 2], "attributes": {"occluded": True}}, ...),
        ({"attributes": {"rotation": 0.0}}, ...),
    ],
    ids=str,
)
def test_an_ordinary_entry_comes_back_with_what_is_read_of_it(fields, given):
    entry = with_fields(**fields)
    annotations = Annotations([entry])
    assert not annotations.others
    expected = ORDINARY if given is ... else entry | given
    assert annotations[0] == expected
    assert [type(number) for number in annotations[0]["bbox"]] == [
        type(number) for number in expected["bbox"]
    ]
    assert annotations.ids == [entry.get("id")]


@given(
    places=st.lists(st.booleans(), max_size=40),
    odd=st.sampled_from(ODD),
    batch=st.integers(1, 8),
)
def test_columns_hold_the_same_whatever_the_batch(places, odd, batch):
    entries = [
        odd if is_odd else with_fields(id=index, image_id=index, bbox=[index, 1, 2, 3])
        for index, is_odd in enumerate(places)
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(coco_annotations, "_BATCH", batch)
        annotations = Annotations(entries)
    assert len(annotations) == len(entries)
    assert list(annotations.others) == [index for index, is_odd in enumerate(places) if is_odd]
    for index, is_odd in enumerate(places):
        assert annotations.image_ids[index] == (0 if is_odd else index)
        assert annotations.boxes[index].tolist() == ([0] * 4 if is_odd else [index, 1, 2, 3])


SIDES = st.integers(-300, 300) | st.floats(-300, 300) | st.sampled_from([0.1, 33.4, 199.9, 1e-12])
ENTRIES = st.builds(
    with_fields,
    category_id=st.sampled_from([3, 3, 3, 3, 4]),
    bbox=st.lists(SIDES, min_size=4, max_size=4),
    iscrowd=st.sampled_from([0, 1, ...]),
    area=st.sampled_from([5, 2.5, 0, None, ...]),
)


@given(entries=st.lists(ENTRIES, max_size=3), is_mixed=st.booleans())
def test_columns_give_the_objects_and_faults_that_single_entries_give(entries, is_mixed):
    entries = [entry for entry in entries if is_mixed or min(entry["bbox"][2:]) > 0]
    places = [f"a.json: annotations[{index}] (id 7)" for index in range(len(entries))]
    one_by_one = list(zip(places, entries, strict=True))
    expected, expected_faults = read_objects(one_by_one, {3: "cat"}, SIZE)
    content = CocoFile(Path("a.json"), {3: "cat"}, [], Annotations(entries))
    found, faults = read_objects_of(content, range(len(entries)), SIZE)
    assert faults == expected_faults
    found, expected = Objects.stack(found), Objects.stack(expected)
    assert found.names == expected.names and list(found.places) == list(expected.places)
    for field in dataclasses.fields(Objects)[1:]:
        if field.name != "places":
            ours, theirs = getattr(found, field.name), getattr(expected, field.name)
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            np.testing.assert_array_equal(ours, theirs)
