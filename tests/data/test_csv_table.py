"""The CSV reader: three forms of tables, their splits and images, and how faults are told."""

import logging

import pytest
from PIL import Image

from tf_frcnn.config import DataConfig
from tf_frcnn.data.csv_layout import detect_csv
from tf_frcnn.data.csv_table import read_csv
from tf_frcnn.data.loading import load_datasets, read_dataset, read_datasets
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import DataError

SIZE = (100, 200)  # (height, width) of the images drawn below
TUTORIAL = "filename,width,height,class,xmin,ymin,xmax,ymax"
OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf"
KAGGLE = "image_id,width,height,bbox,source"


def write_images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", SIZE[::-1]).save(folder / name)


def write_table(path, header, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read_train(root, class_names=()):
    return read_csv(root, ("train",), class_names, Divider(0))["train"]


def message_of(root, splits=("train",)):
    with pytest.raises(DataError) as caught:
        read_csv(root, splits, (), Divider(0))
    return str(caught.value)


# === Forms ===


def test_the_tutorials_columns_are_corners_from_0(tmp_path):
    write_images(tmp_path / "images", "b.png", "a.png", "empty.png")
    rows = ["b.png,200,100,dog,10,20,30,25", "a.png,200,100,cat,0,0,200,100"]
    rows += ["b.png,200,100,cat,1.5,2,3,4", "", "empty.png,200,100,,,,,"]
    write_table(tmp_path / "train_labels.csv", TUTORIAL, *rows)
    dataset = read_train(tmp_path)
    assert (dataset.split, dataset.class_names) == ("train_labels", ("cat", "dog"))
    found = [
        (item.image_id, item.boxes.tolist(), item.classes.tolist()) for item in dataset.examples
    ]
    assert found == [
        ("b.png", [[20, 10, 25, 30], [2, 1.5, 4, 3]], [2, 1]),
        ("a.png", [[0, 0, 100, 200]], [1]),
        ("empty.png", [], []),
    ]
    assert dataset.num_clipped == 0


def test_open_images_columns_are_fractions_and_labels_have_names(tmp_path):
    write_images(tmp_path / "train", "00ab.png")
    rows = ["00ab,xclick,/m/01,1,0.25,0.5,0.1,0.4,0", "00ab,xclick,/m/02,1,0,1,0,1,1"]
    write_table(tmp_path / "oidv6-train-annotations-bbox.csv", OPEN_IMAGES, *rows)
    write_table(tmp_path / "class-descriptions-boxable.csv", "/m/01,Cat", '/m/02,"Dog, big"')
    dataset = read_train(tmp_path)
    assert dataset.class_names == ("Cat", "Dog, big")
    (example,) = dataset.examples
    # Of 200 columns 0.25 to 0.5, of 100 rows 0.1 to 0.4.
    assert example.boxes.tolist() == [[10, 50, 40, 100], [0, 0, 100, 200]]
    assert example.crowd.tolist() == [False, True]
    assert example.image_path == tmp_path / "train" / "00ab.png"


def test_kaggles_column_is_x_y_width_height(tmp_path):
    write_images(tmp_path / "train", "b6.png", "c7.png")
    rows = ['b6,200,100,"[10.5, 20, 30, 5]",usask', 'b6,200,100,"[0, 0, 4, 4]",usask']
    write_table(tmp_path / "train.csv", KAGGLE, *rows, "c7,200,100,,usask")
    dataset = read_train(tmp_path)
    assert dataset.class_names == ("object",)
    boxes = [example.boxes.tolist() for example in dataset.examples]
    assert boxes == [[[20, 10.5, 25, 40.5], [0, 0, 4, 4]], []]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(tmp_path, delimiter):
    write_images(tmp_path, "a.png")
    text = f"\ufeff{TUTORIAL}\r\na.png,200,100,cat,1,2,3,4\r\n".replace(",", delimiter)
    (tmp_path / "train.csv").write_bytes(text.encode())
    assert read_train(tmp_path).examples[0].boxes.tolist() == [[2, 1, 4, 3]]


# === Splits, detection ===


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train.csv", "val.csv"),
        ("data/train_labels.csv", "data/validation_labels.csv"),
        ("train/_annotations.csv", "valid/_annotations.csv"),
        ("train-annotations-bbox.csv", "validation-annotations-bbox.csv"),
    ],
)
def test_splits_are_found_and_val_stands_in_for_test(tmp_path, caplog, train, val):
    write_images(tmp_path / "images", "a.png", "b.png", "c.png")
    row = "{}.png,200,100,cat,1,2,3,4"
    write_table(tmp_path / train, TUTORIAL, row.format("a"), row.format("b"))
    write_table(tmp_path / val, TUTORIAL, row.format("c"))
    with caplog.at_level(logging.INFO):
        datasets = read_datasets(DataConfig(root=str(tmp_path)), seed=0)
    assert "format csv detected" in caplog.text
    ids = {role: [item.image_id for item in data.examples] for role, data in datasets.items()}
    assert ids == {"train": ["a.png", "b.png"], "val": ["c.png"], "test": ["c.png"]}
    assert datasets["test"] is datasets["val"] and datasets["val"].split != "test"
    assert "Expected one of the splits that are there" in message_of(tmp_path, ("dev",))


def test_a_lone_table_is_divided(tmp_path, caplog):
    names = [f"p{number}.png" for number in range(10)]
    write_images(tmp_path / "images", *names)
    rows = [f"{name},200,100,cat,1,2,3,4" for name in names]
    write_table(tmp_path / "labels.csv", TUTORIAL, *rows, *rows[:4])
    write_table(tmp_path / "notes.csv", "name,age", "x,3")
    config = DataConfig(root=str(tmp_path))
    with caplog.at_level(logging.INFO):
        datasets = read_datasets(config, seed=0)
    assert "one CSV table; images divided with seed 0: train 8, val 1, test 1" in caplog.text
    ids = {role: [item.image_id for item in data.examples] for role, data in datasets.items()}
    assert sorted(sum(ids.values(), [])) == names
    alone = read_dataset(config, "test", ("cat",), seed=0)
    assert [item.image_id for item in alone.examples] == ids["test"]
    assert len(read_csv(tmp_path, ("labels",), (), Divider(0))["labels"].examples) == 10
    assert "would be made from labels.csv" in message_of(tmp_path, ("labels", "val"))
    assert "'trainval' cannot be made: labels.csv is the only" in message_of(
        tmp_path, ("trainval",)
    )


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "the first line has no column of an image's file name"),
        ("name,age", "the first line has no column of an image's file name"),
        ("filename,class,xmin,ymin,xmax", "the first line has no column of a box"),
        ("image_id,PredictionString", "the first line has no column of a box"),
        ("filename,xmin,ymin,xmax,ymax,xmin", "the column 'xmin' more than once"),
    ],
)
def test_other_tables_are_no_data_set(tmp_path, header, reason):
    write_table(tmp_path / "train.csv", header)
    assert not detect_csv(tmp_path)
    message = message_of(tmp_path)
    assert "no table of boxes: train.csv: " in message and reason in message


# === Faults ===


def test_all_faults_are_told_with_line_field_value_and_expectation(tmp_path):
    write_images(tmp_path / "images", "a.png")
    rows = [
        "a.png,200,100,cat,one,2,3,4",
        "a.png,200,100,cat,9,2,3,4",
        "a.png,200,100,cat,1,2,3,inf",
        "a.png,200,100,,1,2,3,4",
        "a.png,200,100,cat,300,2,400,4",
        "a.png,200,100,cat,1,2",
        "gone.png,200,100,cat,1,2,3,4",
        ",200,100,cat,1,2,3,4",
        "a.png,200,100,cat,1,2,3,4",
    ]
    source = write_table(tmp_path / "train.csv", TUTORIAL, *rows)
    message = message_of(tmp_path)
    for expected in (
        "8 faults",
        f"{source}: line 2 (cat), xmin = 'one'. Expected a finite number of pixels.",
        f"{source}: line 3 (cat), xmin = 9 and xmax = 3: the box is empty or inverted. Expected",
        f"{source}: line 4 (cat), ymax = 'inf'. Expected a finite number",
        f"{source}: line 5, class: there is none. Expected the name of a class.",
        f"{source}: line 6 (cat), xmin = 300, ymin = 2, xmax = 400, ymax = 4: no area inside of "
        "the image. Expected 0 to 200 in x and 0 to 100 in y.",
        f"{source}: line 7: 6 fields. Expected the 8 of the header row.",
        f"{source}: line 8, filename = 'gone.png': there is no such image in ",
        f"{source}: line 9, filename: there is none. Expected an image.",
    ):
        assert expected in message
    config = DataConfig(
        root=str(tmp_path), val_split="none", test_split="none", on_error="skip", format="csv"
    )
    dataset = load_datasets(config, seed=0)["train"]
    (example,) = dataset.examples
    assert example.boxes.tolist() == [[2, 1, 4, 3]]
    assert (dataset.num_boxes_left_out, dataset.num_images_left_out) == (5, 1)


@pytest.mark.parametrize(
    ("header", "row", "fault"),
    [
        (KAGGLE, 'a,200,100,"[1, 2, 3]",x', "line 2 (object), bbox = '[1, 2, 3]'. Expected [x, y"),
        (KAGGLE, 'a,200,100,"[1, 2, 0, 4]",x', "the box is empty or inverted"),
        (OPEN_IMAGES, "a,x,/m/1,1,0,120,0,1,0", "xmax = '120'. Expected a fraction of the image"),
        (OPEN_IMAGES, "a,x,/m/1,1,0,1,0,1,2", "isgroupof = '2'. Expected 0 or 1"),
    ],
)
def test_faults_of_the_other_forms(tmp_path, header, row, fault):
    write_images(tmp_path, "a.png")
    write_table(tmp_path / "train.csv", header, row)
    assert fault in message_of(tmp_path)


def test_a_size_that_differs_is_told_and_boxes_past_the_edge_are_clipped(tmp_path, caplog):
    write_images(tmp_path, "a.png", "b.png")
    rows = ["a.png,400,200,cat,190,0,210,10", "b.png,200,100,cat,0,0,9,9"]
    write_table(tmp_path / "train.csv", TUTORIAL, *rows)
    dataset = read_train(tmp_path)
    assert dataset.examples[0].boxes.tolist() == [[0, 190, 10, 200]] and dataset.num_clipped == 1
    assert dataset.num_sizes_differ == 1
    assert "another size than the image has" in caplog.text and "pixels from 0" in caplog.text


def test_resized_images_are_a_fault_unless_boxes_are_fractions(tmp_path):
    write_images(tmp_path, "a.png")
    write_table(tmp_path / "train.csv", TUTORIAL, "a.png,400,200,cat,0,0,9,9")
    assert "1 of 1 image is 0.5 times as large as stated" in message_of(tmp_path)
    header, row = f"{OPEN_IMAGES},Width,Height", "a,x,/m/1,1,0,0.5,0,1,0,400,200"
    write_table(tmp_path / "train.csv", header, row)
    dataset = read_train(tmp_path)
    assert dataset.examples[0].boxes.tolist() == [[0, 0, 100, 100]]
    assert dataset.num_sizes_differ == 0


def test_a_table_that_cannot_be_read(tmp_path):
    (tmp_path / "train.csv").write_bytes(f"{TUTORIAL}\n".encode() + b"\xff\xfe,1\n")
    assert "train.csv: cannot be read (" in message_of(tmp_path)
    write_table(tmp_path / "train.csv", TUTORIAL)
    assert "there is no row below the header" in message_of(tmp_path)
