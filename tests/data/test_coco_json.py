"""What is in a COCO file: boxes, ids, crowds, and the message for everything that can be wrong."""

import json
import logging
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_masks

from tests.data.coco_writer import (
    SIZE,
    annotation,
    content,
    image,
    message_of,
    read_train,
    write_coco,
    write_images,
)
from tf_frcnn.data.coco_json import read_objects

# === Boxes ===


def read_one(tmp_path, *annotations, **fields):
    root = write_coco(tmp_path, content([image(0, **fields)], annotations))
    return read_train(root)


def boxes_of(*boxes):
    """Read annotations with these boxes, all in one image -> (objects, faults)."""
    entries = [(f"a.json: annotations[{i}]", annotation(i, 0, box)) for i, box in enumerate(boxes)]
    return read_objects(entries, {3: "cat"}, SIZE)


def test_a_box_is_turned_into_yxyx(tmp_path):
    # [x, y, w, h] = [10, 20, 30, 5]: y 20 to 20 + 5 = 25, x 10 to 10 + 30 = 40.
    # [0.5, 0.25, 199.5, 99.75] reaches the lower right corner, y 100 and x 200.
    dataset = read_one(
        tmp_path, annotation(1, 0, [10, 20, 30, 5]), annotation(2, 0, [0.5, 0.25, 199.5, 99.75], 7)
    )
    (example,) = dataset.examples
    assert example.boxes.dtype == np.float32 and example.classes.dtype == np.int32
    assert example.boxes.tolist() == [[20, 10, 25, 40], [0.25, 0.5, 100, 200]]
    assert example.classes.tolist() == [1, 2]  # of the category ids 3 and 7
    assert dataset.class_names == ("cat", "dog") and dataset.num_clipped == 0
    assert example.image_size == SIZE and example.image_path.name == "p0.png"
    assert "instances_train.json: images[0] (p0.png)" in example.source


def test_a_box_partly_outside_is_clipped_counted_and_told_once(tmp_path, caplog):
    # x -4 to 6 and y 90 to 110 in an image 100 high: [90, 0, 100, 6].
    with caplog.at_level(logging.WARNING):
        dataset = read_one(
            tmp_path,
            annotation(11, 0, [-4, 90, 10, 20]),
            annotation(12, 0, [1, 2, 3, 4]),
            annotation(13, 0, [190, 0, 1e300, 9], 7),
        )
    assert dataset.examples[0].boxes.tolist() == [[90, 0, 100, 6], [2, 1, 6, 4], [0, 190, 9, 200]]
    assert dataset.num_clipped == 2
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "clipped: 2 (are the boxes x, y, width, height in pixels?)" in warning
    assert "instances_train.json: annotations[0] (id 11) (cat)" in warning


def test_rounding_of_a_sum_is_no_clipping():
    height = 66.60000000000002  # as a difference of sums may give it
    assert 33.4 + height > 100
    (item,), faults = boxes_of([0.7, 33.4, 199.3, height])
    assert not item.clipped and not faults
    np.testing.assert_array_equal(item.box, np.float32([33.4, 0.7, 100, 200]))


@given(
    box=st.tuples(
        *(st.integers(-150, 250) for _ in range(2)), *(st.integers(-9, 300) for _ in range(2))
    )
)
def test_a_box_holds_the_pixels_that_it_shares_with_its_image(box):
    x, y, width, height = box
    rows = [row for row in range(y, y + height) if 0 <= row < SIZE[0]]
    columns = [column for column in range(x, x + width) if 0 <= column < SIZE[1]]
    objects, faults = boxes_of(list(box))
    if not rows or not columns:
        assert not objects and len(faults) == 1
        return
    assert objects[0].box.tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
    assert objects[0].clipped == (len(rows) < height or len(columns) < width)


@pytest.mark.parametrize(
    ("box", "parts"),
    [
        ([10, 20, 0, 5], "bbox = [10, 20, 0, 5]: the box is empty or inverted. Expected [x, y, w"),
        ([10, 20, 5, -1], "bbox = [10, 20, 5, -1]: the box is empty or inverted"),
        ([200, 20, 5, 5], "[200, 20, 5, 5]: no area inside of the image. Expected [x, y, width"),
        ([10, -9, 5, 9], "no area inside of the image"),
        ([10, 100, 5, 5], "with x from 0 to 200 and y from 0 to 100."),
        ([10, 20, 5], "bbox = [10, 20, 5]. Expected [x, y, width, height], four finite numbers"),
        ([10, 20, 5, float("nan")], "bbox = [10, 20, 5, nan]. Expected"),
        ([10, float("inf"), 5, 5], "bbox = [10, inf, 5, 5]. Expected"),
        ([10, 20, 5, 10**400], "Expected [x, y, width, height], four finite numbers of pixels"),
        ([10, 20, 5, "5"], "bbox = [10, 20, 5, '5']. Expected"),
        ([10, 20, 5, True], "bbox = [10, 20, 5, True]. Expected"),
        ([10, 20, 5, None], "bbox = [10, 20, 5, None]. Expected"),
        ({"x": 1}, "bbox = {'x': 1}. Expected"),
    ],
)
def test_a_wrong_box_is_a_fault_that_names_it(tmp_path, box, parts):
    wrong = annotation(42, 0, [1, 2, 3, 4]) | {"bbox": box}
    root = write_coco(tmp_path, content([image(0)], [annotation(1, 0, [1, 2, 3, 4]), wrong]))
    message = message_of(root)
    assert "1 fault " in message and parts in message
    assert (
        f"{root / 'annotations' / 'instances_train.json'}: annotations[1] (id 42) (cat)," in message
    )


# === Ids, crowds, images without boxes ===


def test_ids_over_32_bits_gaps_and_text(tmp_path):
    images = [image(0, id=2**40 + 1), image(1, id=2**63), image(2, id="a b")]
    annotations = [
        annotation(2**50, 2**63, [1, 2, 3, 4], 90),
        annotation(2**50 + 1, 2**40 + 1, [5, 6, 7, 8], 2**33),
        annotation(2**50 + 2, "a b", [9, 10, 11, 12], 0),
    ]
    categories = {2**33: "ant", 90: "bee", 0: "cow"}
    dataset = read_train(write_coco(tmp_path, content(images, annotations, categories)))
    assert dataset.class_names == ("cow", "bee", "ant")  # by rising id: 0, 90, 2^33
    ids = [(example.image_id, example.classes.tolist()) for example in dataset.examples]
    assert ids == [("1099511627777", [3]), ("9223372036854775808", [2]), ("a b", [1])]


def test_crowds_are_marked_and_segmentations_play_no_part(tmp_path):
    rle = {"counts": [0, 5, 19995], "size": [100, 200]}
    (example,) = read_one(
        tmp_path,
        annotation(1, 0, [1, 2, 3, 4], segmentation=[[1, 2, 4, 2, 4, 6]]),
        annotation(2, 0, [5, 6, 70, 80], iscrowd=1, segmentation=rle),
        {"image_id": 0, "category_id": 7, "bbox": [1, 1, 1, 1]},  # no id, no iscrowd
    ).examples
    assert example.crowd.tolist() == [False, True, False]
    assert not example.difficult.any() and example.difficult.shape == (3,)
    assert example.boxes[1].tolist() == [6, 5, 86, 75]


def test_images_without_boxes_are_kept_in_the_order_of_the_file(tmp_path):
    root = write_coco(
        tmp_path,
        content([image(2), image(0), image(1)], [annotation(1, 0, [1, 2, 3, 4])]),
    )
    examples = read_train(root).examples
    assert [example.image_id for example in examples] == ["2", "0", "1"]
    assert [example.boxes.shape for example in examples] == [(0, 4), (1, 4), (0, 4)]


def test_the_size_is_the_images_and_a_difference_is_told_once(tmp_path, caplog):
    images = [image(0, width=201), image(1, height=200, width=100), image(2)]
    del images[2]["height"], images[2]["width"]  # nothing stated
    root = write_coco(tmp_path, content(images, [annotation(1, 0, [1, 2, 3, 4], 3)], {3: "cat"}))
    with caplog.at_level(logging.WARNING):
        assert [example.image_size for example in read_train(root).examples] == [SIZE] * 3
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "used: 2;" in warning and "images[0] (p0.png), image 200 x 100" in warning


# === Faults in entries ===


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


BOX = [1, 2, 3, 4]
CAT = {"id": 3, "name": "cat"}


@pytest.mark.parametrize(
    ("key", "entries", "expected"),
    [
        ("images", [image(0), 5], "images[1] = 5. Expected an object with the key 'id'"),
        ("images", [without(image(0), "id")], "images[0], key 'id': there is none. Expected"),
        ("images", [image(0, id=None)], "images[0], id = None. Expected an id: a whole number"),
        ("images", [image(0, id=True)], "images[0], id = True. Expected an id"),
        ("images", [image(0, id=1.5)], "images[0], id = 1.5. Expected an id"),
        ("images", [without(image(0), "file_name")], "images[0], key 'file_name': there is none"),
        ("images", [image(0, file_name="")], "images[0], file_name = ''. Expected a name"),
        ("images", [image(0, file_name=7)], "images[0], file_name = 7. Expected a name"),
        ("images", [image(0), image(1, id=0)], "images[1], id = '0': images[0] has the same"),
        ("images", [image(0), image(1, id="0")], "images[1], id = '0': images[0] has the same"),
        (
            "images",
            [image(0), image(1, file_name="p0.png")],
            "images[1], file_name = 'p0.png': images[0] has the same. Expected each only once",
        ),
        ("annotations", [[1, 2]], "annotations[0] = [1, 2]. Expected an object with the key 'ima"),
        (
            "annotations",
            [without(annotation(1, 0, BOX), "image_id")],
            "annotations[0], key 'image_id': there is none. Expected an id",
        ),
        (
            "annotations",
            [without(annotation(8, 0, BOX), "category_id")],
            "annotations[0] (id 8), key 'category_id': there is none. Expected an id",
        ),
        (
            "annotations",
            [without(annotation(8, 0, BOX), "bbox")],
            "annotations[0] (id 8) (cat), key 'bbox': there is none. Expected [x, y, width, height",
        ),
        (
            "annotations",
            [annotation(8, 0, BOX, 4)],
            "(id 8), category_id = 4: there is no such category. Expected one of the ids in "
            "categories: 3 cat, 7 dog.",
        ),
        ("annotations", [annotation(8, 0, BOX, "3")], "category_id = '3': there is no such cat"),
        ("annotations", [annotation(8, 0, BOX, [3])], "category_id = [3]. Expected an id"),
        (
            "annotations",
            [annotation(8, 0, BOX, iscrowd=2)],
            "annotations[0] (id 8) (cat), iscrowd = 2. Expected 0 or 1",
        ),
        (
            "annotations",
            [annotation(8, 99, BOX), annotation(9, 99, BOX)],
            "annotations[0] (id 8), image_id = 99 (annotations with it: 2): there is no such "
            "image. Expected the id of an entry of images",
        ),
        ("annotations", [annotation(8, "0", BOX)], "image_id = '0' (annotations with it: 1)"),
        ("categories", [CAT, "dog"], "categories[1] = 'dog'. Expected an object with the key 'id'"),
        ("categories", [{"name": "cat"}], "categories[0], key 'id': there is none"),
        ("categories", [{"id": "3", "name": "x"}], "categories[0], id = '3'. Expected a whole num"),
        ("categories", [{"id": 3}], "categories[0], key 'name': there is none. Expected a name"),
        ("categories", [{"id": 3, "name": " "}], "categories[0], name = ' '. Expected a name"),
        ("categories", [CAT, {"id": 3, "name": "x"}], "categories[1], id = 3: categories[0] has"),
        (
            "categories",
            [CAT, {"id": 4, "name": " cat"}],
            "categories[1], name = 'cat': categories[0] has the same. Expected each only once",
        ),
    ],
)
def test_a_wrong_entry_is_one_fault_that_names_file_entry_and_key(tmp_path, key, entries, expected):
    value = content([image(0)], [annotation(1, 0, BOX)]) | {key: entries}
    if key == "images":
        value["annotations"] = []
    message = message_of(write_coco(tmp_path, value), class_names=("cat",))
    source = tmp_path / "annotations" / "instances_train.json"
    assert "1 fault " in message and f"{source}: {key}[" in message and expected in message


def test_annotations_of_a_broken_image_are_no_further_faults(tmp_path):
    root = write_coco(tmp_path, content([image(0)], [annotation(1, 0, BOX)]))
    (root / "images" / "p0.png").write_bytes(b"no image")
    message = message_of(root)
    assert "1 fault " in message and "p0.png: the content is not that of an image" in message
    write_coco(tmp_path, content([image(0, file_name=None)], [annotation(1, 0, BOX)]))
    message = message_of(root)
    assert "1 fault " in message and "images[0], file_name = None. Expected a name" in message


# === Files that are no COCO ===


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "cannot be read (the file is empty)"),
        (" ", "cannot be read as JSON (Expecting value: line 1 column 2 (char 1))"),
        ('{"images": [\n1,, 2]}', "cannot be read as JSON (Expecting value: line 2 column 3"),
        ("[" * 200_000, "cannot be read as JSON"),
        ("[]", "the top level is a list. Expected an object with the keys images, annotations"),
        ('"text"', "the top level is a str. Expected an object"),
        ('{"images": []}', "key 'annotations': there is none. Expected a list, as in COCO"),
        ('{"annotations": []}', "key 'images': there is none. Expected a list"),
        (json.dumps(without(content([image(0)]), "categories")), "key 'categories': there is"),
        (json.dumps(content([]) | {"images": {"a": 1}}), "key 'images': {'a': 1}. Expected a list"),
        (json.dumps(content([])), "images is empty. Expected at least one image"),
    ],
)
def test_a_file_of_another_form_is_named_with_the_place(tmp_path, text, expected):
    message = message_of(write_coco(tmp_path, text))
    assert "1 fault " in message
    assert f"instances_train.json: {expected}" in message


def test_text_that_is_no_utf8_is_an_error_and_a_byte_order_mark_is_none(tmp_path):
    root = write_coco(tmp_path, content([image(0)], [annotation(1, 0, BOX)]))
    path = root / "annotations" / "instances_train.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_train(root).examples) == 1
    path.write_bytes(b'{"images": "\xff\xfe"}')
    assert "instances_train.json: cannot be read as JSON ('utf-8' codec can't" in message_of(root)


# === Polygons without a box, categories that are no classes ===


def test_annotations_of_one_id_are_told_and_kept(tmp_path, caplog):
    entries = [annotation(number, 0, [1, 2, 3, 4 + i]) for i, number in enumerate([7, 8, 7, 9, 7])]
    entries += [{key: value for key, value in entries[0].items() if key != "id"}] * 2
    assert len(read_one(tmp_path, *entries).examples[0].boxes) == 7
    assert "instances_train.json: annotations with the id of one before: 2; the" in caplog.text
    assert "annotations[2], id = 7. Each counts as an object of its own" in caplog.text


def test_a_results_file_is_no_data_set(tmp_path):
    results = [{"image_id": 0, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]
    message = message_of(write_coco(tmp_path, json.dumps(results)))
    assert "instances_train.json: is a file of detections (COCO's results), no data set" in message
    assert "tf-frcnn evaluate --detections FILE" in message


def test_the_box_of_polygons_stands_in_for_a_missing_one(tmp_path, caplog):
    # Two polygons of one object: x from 10 to 90, y from 5 to 40.
    parts = [[10, 20, 30, 20, 30, 40], [50.5, 5, 90, 5, 90, 9, 50.5, 9]]
    polygons = [
        {**annotation(1, 0, [1, 2, 3, 4]), "segmentation": parts, "bbox": []},
        {"image_id": 0, "category_id": 7, "segmentation": parts[:1]},
        {**annotation(3, 0, [1, 2, 3, 4]), "segmentation": parts},  # its own box counts
        {**annotation(4, 0, [1, 2, 3, 4]), "segmentation": parts, "bbox": None},
    ]
    (example,) = read_one(tmp_path, *polygons).examples
    both = [5, 10, 40, 90]
    assert example.boxes.tolist() == [both, [20, 10, 40, 30], [2, 1, 6, 4], both]
    assert "annotations without bbox, whose box is that of their polygons or mask: 3" in caplog.text


def test_the_box_of_a_mask_stands_in_for_a_missing_one(tmp_path, caplog):
    # Rows 20 to 30 of columns 40 to 54, and one pixel at row 25 of column 60: x 40 to 61 and y 20
    # to 31, half-open. Runs go down the columns of 100 rows: 40 * 100 + 20 = 4020 zeros come first,
    # between the columns 100 - 11 = 89; from row 31 of column 54 to row 25 of column 60
    # (60 - 54) * 100 + 25 - 31 = 594, and at the end 139 * 100 + 100 - 26 = 13974.
    runs = [4020, 11, *([89, 11] * 14), 594, 1, 13974]
    assert sum(runs) == SIZE[0] * SIZE[1]
    drawn = np.zeros(SIZE, np.uint8, order="F")
    drawn[20:31, 40:55] = drawn[25, 60] = 1
    text = coco_masks.encode(drawn)["counts"].decode()
    masks = [
        {"image_id": 0, "category_id": 3, "segmentation": {"size": [*SIZE], "counts": counts}}
        for counts in (runs, text)
    ]
    with_box = {**annotation(3, 0, [1, 2, 3, 4]), "segmentation": masks[0]["segmentation"]}
    (example,) = read_one(tmp_path, *masks, with_box).examples
    assert example.boxes.tolist() == [[20, 40, 31, 61], [20, 40, 31, 61], [2, 1, 6, 4]]
    assert "annotations without bbox, whose box is that of their polygons or mask: 2" in caplog.text


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        ([[1, 2, 3, 4]], "bbox = []. Expected [x, y, width, height]"),  # two points
        ([[1, 2, 3, 4, 5, 6, 7]], "bbox = []. Expected"),
        ([[1, 2, 3, 4, 5, "6"]], "bbox = []. Expected"),
        ({"counts": [0, 5], "size": [100, 200]}, "bbox = []. Expected"),  # not all pixels
        ({"counts": [20000], "size": [100, 200]}, "bbox = []. Expected"),  # none of them
        ({"counts": [0, 20000, "0"], "size": [100, 200]}, "bbox = []. Expected"),
        ({"counts": [2**32, 1], "size": [2**32 + 1, 1]}, "bbox = []. Expected"),
        ({"counts": "", "size": [100, 200]}, "bbox = []. Expected"),
        ({"counts": "\u00e9", "size": [100, 200]}, "bbox = []. Expected"),
        ({"counts": "ooooo", "size": [100, "200"]}, "bbox = []. Expected"),
        ({"counts": {}, "size": [100, 200]}, "bbox = []. Expected"),
        ({"size": [100, 200]}, "bbox = []. Expected"),
        ([], "bbox = []. Expected"),
        ([[1, 2, 1, 4, 1, 6]], "the box is empty or inverted"),  # all on one line
    ],
)
def test_other_segmentations_are_no_box(tmp_path, segmentation, fault):
    entry = {**annotation(1, 0, [1, 2, 3, 4]), "segmentation": segmentation} | {"bbox": []}
    root = write_coco(tmp_path, content([image(0)], [entry]))
    message = message_of(root, class_names=("cat",))
    assert "1 fault " in message and fault in message


def with_supercategories(*categories):
    fields = ("id", "name", "supercategory")
    return [dict(zip(fields, category, strict=True)) for category in categories]


@pytest.mark.parametrize("root_name", ["cat", "pets"])
def test_a_root_that_others_have_as_supercategory_is_no_class(tmp_path, caplog, root_name):
    value = content([image(0)], [annotation(1, 0, [1, 2, 3, 4], 1)])
    value["categories"] = with_supercategories((0, root_name, "none"), (1, "cat", root_name))
    dataset = read_train(write_coco(tmp_path, value))
    assert dataset.class_names == ("cat",) and dataset.examples[0].classes.tolist() == [1]
    assert f"others have as supercategory, left out: {root_name}" in caplog.text


def test_a_supercategory_with_boxes_and_one_of_itself_are_classes(tmp_path):
    value = content([image(0)], [annotation(1, 0, [1, 2, 3, 4], 0)])
    entries = [(0, "animal", "none"), (1, "cat", "animal"), (2, "person", "person")]
    value["categories"] = with_supercategories(*entries)
    assert read_train(write_coco(tmp_path, value)).class_names == ("animal", "cat", "person")


# === Names of any kind ===


def test_a_file_whose_name_looks_like_a_message_is_told_in_full(tmp_path):
    # ": images[" stands in the messages themselves, which nothing reads.
    name = "a: images[9] (b).png"
    images = [image(0, file_name=name), image(1, file_name=name)]
    message = message_of(write_coco(tmp_path, content(images)))
    assert f"images[1], file_name = {name!r}: images[0] has the same" in message


def test_long_names_that_differ_in_the_middle_are_two(tmp_path):
    names = ["x" * 120 + middle + "x" * 120 + ".png" for middle in "ab"]
    images = [image(number, file_name=name) for number, name in enumerate(names)]
    root = write_coco(tmp_path, content(images, [annotation(1, 0, BOX)]))
    write_images(root / "images", *names)
    assert len(read_train(root).examples) == 2


def test_a_category_that_is_no_text_is_a_fault(tmp_path):
    categories = {3: "cat", 7: "dog\ud83d"}  # half an emoji, as a careless cut leaves it
    boxes = [annotation(1, 0, BOX), annotation(2, 1, BOX, 7)]
    message = message_of(write_coco(tmp_path, content([image(0), image(1)], boxes, categories)))
    assert "1 fault " in message
    assert r"annotations[1] (id 2) (dog\ud83d), name = 'dog\ud83d' (objects of that" in message
    assert "It holds U+D83D" in message and "rename the class" in message


def test_an_id_that_is_no_text_is_a_fault(tmp_path):
    message = message_of(write_coco(tmp_path, content([image(0), image(1, id="a\udc00")])))
    assert r"images[1], id = 'a\udc00': holds a lone surrogate. Expected an id" in message


def test_a_file_name_that_is_no_text_is_a_fault(tmp_path):
    message = message_of(write_coco(tmp_path, content([image(0), image(1, file_name="a\ud800")])))
    assert r"images[1] (a\ud800), file_name = 'a\ud800': there is no such image in" in message


def test_a_file_whose_name_is_in_latin_1_is_read(tmp_path):
    # As Python's json writes what os.listdir gives.
    name = os.fsdecode("café.png".encode("latin-1"))
    root = write_coco(tmp_path, content([image(0, file_name=name)], [annotation(1, 0, BOX)]))
    write_images(root / "images", name)
    (example,) = read_train(root).examples
    assert example.image_path.name == name and r"(caf\xe9.png)" in example.source


def test_a_backslash_may_belong_to_a_files_name(tmp_path):
    root = write_coco(tmp_path, content([image(0, file_name="a\\b.png")], [annotation(1, 0, BOX)]))
    write_images(root / "images", "a\\b.png")
    assert read_train(root).examples[0].image_path.name == "a\\b.png"


def test_two_categories_that_look_alike_are_told(tmp_path):
    # Both forms of e with an accent: one name, and two ids that would mean different classes.
    categories = {3: "caf\u00e9", 7: "cafe\u0301"}
    message = message_of(write_coco(tmp_path, content([image(0)], (), categories)))
    assert "categories[1], name = 'caf\u00e9': categories[0] has the same" in message


@pytest.mark.parametrize(
    "entry",
    [
        annotation(1, 0, BOX) | {"bbox": [1, 2, 3, -(10**400)]},
        annotation(1, 0, BOX) | {"bbox": "9" * 3_000_000},
        annotation(10**400, "9" * 3_000_000, BOX),
        annotation(1, 0, BOX, "9" * 3_000_000),
    ],
    ids=["number", "text", "image_id", "category_id"],
)
def test_messages_are_short_whatever_the_file_holds(tmp_path, entry):
    assert len(message_of(write_coco(tmp_path, content([image(0)], [entry])))) < 2000
