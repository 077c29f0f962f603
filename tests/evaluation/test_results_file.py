"""Detections in the format of COCO's results: written, read, and what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.evaluation.images import found, image, make_dataset
from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import read_dataset
from tf_frcnn.errors import DataError
from tf_frcnn.evaluation.results_file import read_results, write_results

GOOD = {"image_id": "a", "category_id": 1, "bbox": [20, 10, 60, 30], "score": 0.5}


@pytest.fixture
def dataset():
    return make_dataset(image("a", []), image("b", []))


def write(folder, *entries):
    path = folder / "found.json"
    path.write_text(json.dumps(list(entries)))
    return path


def in_folder(folder, name):
    """Make the example of an image FOLDER/NAME.jpg."""
    example = image(f"{folder}-{name}", [])
    return dataclasses.replace(example, image_path=Path(f"data/{folder}/{name}.jpg"))


# === What is read ===


def test_a_box_is_x_y_width_height(dataset, tmp_path):
    records = read_results(write(tmp_path, GOOD), dataset)
    assert [record.image_id for record in records] == ["a", "b"]
    # x 20, y 10, width 60, height 30: y from 10 to 40, x from 20 to 80.
    assert records[0].boxes.tolist() == [[10, 20, 40, 80]]
    assert records[0].boxes.dtype == np.float32 and records[0].classes.dtype == np.int32
    assert (records[0].scores.tolist(), records[0].classes.tolist()) == ([0.5], [1])
    assert records[1].boxes.shape == (0, 4)


def test_a_voc_box_written_as_the_format_says_is_the_readers_own(voc_folder, tmp_path):
    dataset = read_dataset(DataConfig(root=str(voc_folder)), "test", (), seed=0)
    # test_0 has one cat, 1-based and inclusive: xmin 4, ymin 6, xmax 40, ymax 30.
    xmin, ymin, xmax, ymax = 4, 6, 40, 30
    box = [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]
    entry = {"file_name": "test_0.jpg", "category_name": "cat", "bbox": box, "score": 1}
    records = read_results(write(tmp_path, entry), dataset)
    assert records[0].boxes.tolist() == dataset.examples[0].boxes.tolist() == [[5, 3, 30, 40]]


def test_order_of_entries_is_kept_within_an_image(dataset, tmp_path):
    entries = [
        {**GOOD, "image_id": image_id, "score": score}
        for image_id, score in [("b", 0.1), ("a", 0.2), ("b", 0.9), ("a", 0.2)]
    ]
    records = read_results(write(tmp_path, *entries), dataset)
    assert records[0].scores.tolist() == pytest.approx([0.2, 0.2])
    assert records[1].scores.tolist() == pytest.approx([0.1, 0.9])


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("dogs/1.jpg", "dogs-1"),
        ("data/cats/1.jpg", "cats-1"),
        ("2.jpg", "cats-2"),
        ("e\u0301.jpg", "cats-\u00e9"),  # decomposed, as macOS writes it
    ],
)
def test_images_by_file_name(tmp_path, file_name, expected):
    dataset = make_dataset(
        in_folder("cats", "1"),
        in_folder("dogs", "1"),
        in_folder("cats", "2"),
        in_folder("cats", "\u00e9"),
    )
    entry = {"file_name": file_name, "category_name": "dog", "bbox": [1, 2, 3, 4], "score": 1}
    records = read_results(write(tmp_path, entry), dataset)
    assert [record.image_id for record in records if len(record.boxes)] == [expected]
    assert next(record for record in records if len(record.boxes)).classes.tolist() == [2]


def test_ids_of_coco_data_are_those_of_its_file(coco_folder, tmp_path):
    dataset = read_dataset(DataConfig(root=str(coco_folder)), "test", (), seed=0)
    annotations = Path(dataset.examples[0].source.rpartition(": images[")[0])
    content = json.loads(annotations.read_text())
    image, category = content["images"][1], content["categories"][2]
    assert category["id"] != 3  # there are gaps
    entry = {**GOOD, "image_id": image["id"], "category_id": category["id"]}
    record = read_results(write(tmp_path, entry), dataset)[1]
    assert [dataset.class_names[class_id - 1] for class_id in record.classes] == [category["name"]]
    with pytest.raises(DataError, match="category_id = 1: no such class. Expected one of 2 "):
        read_results(write(tmp_path, {**entry, "category_id": 1}), dataset)
    other = next(one["name"] for one in content["categories"] if one != category)
    with pytest.raises(
        DataError, match=f"category_id = 12 and category_name = '{other}': they dis"
    ):
        read_results(write(tmp_path, {**entry, "category_name": other}), dataset)
    written = tmp_path / "written.json"
    write_results(written, dataset, read_results(write(tmp_path, entry), dataset))
    again = json.loads(written.read_text())[0]
    assert (again["image_id"], again["category_id"]) == (image["id"], category["id"])


def test_in_data_without_ids_a_name_counts_more_than_a_number(dataset, tmp_path):
    # As a detector of COCO's 80 classes numbers dogs.
    entry = {**GOOD, "category_id": 18, "category_name": "dog"}
    assert read_results(write(tmp_path, entry), dataset)[0].classes.tolist() == [2]


# === What is written ===


def test_entries_and_their_keys(dataset, tmp_path):
    path = tmp_path / "found.json"
    write_results(path, dataset, [found("b", [[10, 20, 40, 80]], [0.5], [2])])
    assert json.loads(path.read_text()) == [
        {
            "image_id": "b",
            "category_id": 2,
            "category_name": "dog",
            "bbox": [20, 10, 60, 30],
            "score": 0.5,
        }
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_no_detections_are_an_empty_list(dataset, tmp_path):
    write_results(tmp_path / "found.json", dataset, [])
    assert json.loads((tmp_path / "found.json").read_text()) == []
    assert all(len(r.boxes) == 0 for r in read_results(tmp_path / "found.json", dataset))


@given(
    corners=arrays(np.float32, (3, 2, 2), elements=st.floats(0, 2000, width=32)),
    scores=arrays(np.float32, 3, elements=st.floats(0, 1, width=32)),
)
def test_what_is_written_is_read_back_exactly(tmp_path_factory, corners, scores):
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    dataset = make_dataset(image("a", []))
    path = tmp_path_factory.mktemp("results") / "found.json"
    write_results(path, dataset, [found("a", boxes, scores, [1, 2, 1])])
    (record,) = read_results(path, dataset)
    np.testing.assert_array_equal(record.boxes, boxes)
    np.testing.assert_array_equal(record.scores, scores)
    assert record.classes.tolist() == [1, 2, 1]


# === What is refused ===


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": "c"}, r"image_id = 'c': the split 'test' has no such image.* such as 'a'"),
        ({"image_id": True}, "image_id = True: the split"),
        ({"category_id": 3}, "category_id = 3: no such class. Expected one of 1 cat, 2 dog"),
        ({"category_id": "1"}, "category_id = '1': no such class"),
        (
            {"category_name": "cow"},
            "category_name = 'cow': no such class.*cat, dog.*--data.classes",
        ),
        ({"file_name": "b.png"}, "image_id = 'a' and file_name = 'b.png': they disagree"),
        ({"file_name": "c.png"}, "file_name = 'c.png': .*no such image.*such as 'a.png'"),
        ({"file_name": ""}, "file_name = '': .*no such image"),
        ({"bbox": [1, 2, 3]}, r"bbox = \[1, 2, 3\]. Expected \[x, y, width, height\]"),
        ({"bbox": [1, 2, "3", 4]}, "bbox = .*finite"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox = .*finite"),
        ({"bbox": [90, 20, -60, 30]}, ".*the box is inverted. Expected .* not two corners"),
        ({"score": "high"}, "score = 'high'. Expected a finite number"),
        ({"score": 1e300}, r"score = 1e\+300. Expected a finite number"),
        ({"score": 10**400}, "score = 1000.*. Expected a finite number"),
    ],
)
def test_a_wrong_entry_is_named(dataset, tmp_path, change, message):
    path = write(tmp_path, GOOD, {**GOOD, **change})
    with pytest.raises(DataError, match=f"found.json: entry 2 of 2, {message}"):
        read_results(path, dataset)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("image_id", "there is no image_id and no file_name"),
        ("category_id", "there is no category_id and no category_name"),
        ("bbox", "there is no bbox"),
        ("score", "there is no score"),
    ],
)
def test_a_missing_key_is_named(dataset, tmp_path, key, message):
    entry = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(DataError, match=f"entry 1 of .*{message}"):
        read_results(write(tmp_path, entry), dataset)


def test_a_file_name_of_two_images(tmp_path):
    dataset = make_dataset(in_folder("cats", "1"), in_folder("dogs", "1"))
    entry = {"file_name": "1.jpg", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}
    with pytest.raises(DataError, match="several images have this name .*cats.*dogs"):
        read_results(write(tmp_path, entry), dataset)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"annotations": []}', "the top level is a dict. Expected a list"),
        ("[{", "cannot be read as JSON"),
        ("[3]", "entry 1 of 1 = 3. Expected an object"),
    ],
)
def test_a_file_of_another_form(dataset, tmp_path, text, message):
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(DataError, match=f"found.json: {message}"):
        read_results(tmp_path / "found.json", dataset)


def test_a_file_that_is_not_there(dataset, tmp_path):
    with pytest.raises(DataError, match=r"nothing.json: cannot be read \(No such file"):
        read_results(tmp_path / "nothing.json", dataset)


# === Names of any kind ===


def test_images_of_any_name_come_back(tmp_path):
    # The first looks like a place in a COCO file, the second is in Latin-1, the third like bytes.
    names = ["a: images[9] (b)", "caf\udce9", "bytes:a", "a\nb"]
    dataset = make_dataset(*(image(name, [[1, 2, 3, 4]]) for name in names))
    records = [found(name, [[1, 2, 3, 4 + n]], [0.5]) for n, name in enumerate(names)]
    path = tmp_path / "found.json"
    write_results(path, dataset, records)
    entries = json.loads(path.read_bytes().decode("utf-8"))
    assert entries[1]["image_id"] == "bytes:caf%E9"
    json.dumps(entries, ensure_ascii=False).encode("utf-8")  # any reader of JSON can keep them
    by_id = [(item.image_id, item.boxes.tolist()) for item in read_results(path, dataset)]
    assert by_id == [(name, [[1, 2, 3, 4 + n]]) for n, name in enumerate(names)]


@pytest.mark.parametrize("file_name", ["bytes:caf%E9.png", "caf\udce9.png"])
def test_an_image_is_found_by_a_files_name_in_latin_1(tmp_path, file_name):
    dataset = make_dataset(image("caf\udce9", []), image("b", []))
    entry = {**GOOD, "file_name": file_name}
    del entry["image_id"]
    assert len(read_results(write(tmp_path, entry), dataset)[0].scores) == 1


def test_a_class_is_found_by_either_form_of_its_name(tmp_path):
    dataset = make_dataset(image("a", []), class_names=("caf\u00e9", "dog"))
    entry = {**GOOD, "category_name": "cafe\u0301"}
    del entry["category_id"]
    assert read_results(write(tmp_path, entry), dataset)[0].classes.tolist() == [1]


def test_of_many_classes_some_are_named(tmp_path):
    dataset = make_dataset(image("a", []), class_names=tuple(f"class {n}" for n in range(10_000)))
    with pytest.raises(DataError, match="class 19 and 9980 more") as caught:
        read_results(write(tmp_path, {**GOOD, "category_id": 0}), dataset)
    assert len(str(caught.value)) < 1000
