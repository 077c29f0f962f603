"""The YOLO reader: Ultralytics' and Darknet's layouts, labels, segments, faults."""

import logging

import pytest
from PIL import Image

from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import load_datasets, read_dataset, read_datasets
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.yolo import read_yolo
from tf_frcnn.data.yolo_layout import detect_yolo, find_below
from tf_frcnn.errors import DataError

SIZE = (100, 200)  # (height, width) of the images drawn below
ONE = "1 0.5 0.5 0.25 0.1"  # class 1; columns 75 to 125, rows 45 to 55


def write_pair(image, label, text=ONE):
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1]).save(image)
    if text is not None:
        label.write_text(text)


def write_ultralytics(root, splits=("train", "val"), text=ONE):
    """Write `images/SPLIT/SPLIT0.png` with its label for each split, and data.yaml."""
    for split in splits:
        write_pair(
            root / "images" / split / f"{split}0.png",
            root / "labels" / split / f"{split}0.txt",
            text,
        )
    lines = ["path: /content/datasets/pets", *(f"{split}: images/{split}" for split in splits)]
    (root / "data.yaml").write_text("\n".join([*lines, "names:\n  0: cat\n  1: dog\n"]))
    return root


def ids_of(root, **options):
    datasets = read_datasets(DataConfig(root=str(root), **options), seed=0)
    return {role: [item.image_id for item in data.examples] for role, data in datasets.items()}


def read_train(root, class_names=()):
    return read_yolo(root, ("train",), class_names, Divider(0))["train"]


def message_of(root, splits=("train",), class_names=()):
    with pytest.raises(DataError) as caught:
        read_yolo(root, splits, class_names, Divider(0))
    return str(caught.value)


# === Labels ===


def test_centre_and_size_are_fractions_and_segments_become_boxes(tmp_path):
    segment = "0 0.1 0.2 0.3 0.2 0.3 0.6"  # a triangle: columns 20 to 60, rows 20 to 60
    turned = "0 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5"  # a turned box: columns 20 to 180, rows 10 to 90
    write_ultralytics(tmp_path, text=f"{ONE}\r\n\n{segment}\n{turned}\n")
    dataset = read_train(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    (example,) = dataset.examples
    assert example.boxes.tolist() == [[45, 75, 55, 125], [20, 20, 60, 60], [10, 20, 90, 180]]
    assert example.classes.tolist() == [2, 1, 1] and dataset.num_clipped == 0


def test_rounding_at_an_edge_is_no_clipping_but_a_box_past_it_is(tmp_path):
    # 0.0833333 - 0.1666667 / 2 is 5e-8 below 0: 1e-5 of a pixel.
    write_ultralytics(tmp_path, text="0 0.0833333 0.5 0.1666667 0.5\n0 0.05 0.5 0.2 0.5")
    dataset = read_train(tmp_path)
    assert dataset.num_clipped == 1
    assert dataset.examples[0].boxes[:, 1].tolist() == [0, 0]
    assert dataset.examples[0].boxes[1].tolist() == pytest.approx([25, 0, 75, 30])


def test_all_faults_are_told_with_line_field_value_and_expectation(tmp_path):
    bad = [
        "cat 0.5 0.5 0.1 0.1",
        "2 0.5 0.5 0.1 0.1",
        "0 0.5 0.5 0.1",
        "0 0.5 0.5 0.1 0.1 0.9",
        "0 150 0.5 0.1 0.1",
        "0 0.5 x 0.1 0.1",
        "0 0.5 0.5 0 0.1",
        "-1 0.5 0.5 0.1 0.1",
        "nan 0.5 0.5 0.1 0.1",
        ONE,
    ]
    write_ultralytics(tmp_path, text="\n".join(bad))
    write_pair(tmp_path / "images/train/broken.png", tmp_path / "labels/train/broken.txt")
    (tmp_path / "images/train/broken.png").write_bytes(b"no image")
    source = tmp_path / "labels" / "train" / "train0.txt"
    message = message_of(tmp_path)
    for expected in (
        "10 faults",
        f"{source}: line 1, class = 'cat'. Expected one of the ids in {tmp_path / 'data.yaml'}: "
        "0 cat, 1 dog.",
        f"{source}: line 2, class = '2'. Expected one of the ids",
        f"{source}: line 3: 4 fields. Expected 5, class x y width height, or a class and at least",
        f"{source}: line 4: 6 fields (is the last one a score?). Expected 5",
        f"{source}: line 5 (cat), x = '150'. Expected a fraction of the image's side, from 0 to 1.",
        f"{source}: line 6 (cat), y = 'x'. Expected a fraction",
        f"{source}: line 7 (cat), 0.5 0.5 0 0.1: the box is empty. Expected width and height above",
        f"{source}: line 8, class = '-1'.",
        f"{source}: line 9, class = 'nan'.",
        "broken.png: the content is not that of an image",
    ):
        assert expected in message
    options = {"val_split": "none", "test_split": "none", "format": "yolo"}
    config = DataConfig(root=str(tmp_path), on_error="skip", **options)
    dataset = load_datasets(config, seed=0)["train"]
    (example,) = dataset.examples
    assert example.boxes.tolist() == [[45, 75, 55, 125]]
    assert (dataset.num_boxes_left_out, dataset.num_images_left_out) == (9, 1)


def test_an_image_without_labels_is_background_and_said(tmp_path, caplog):
    write_ultralytics(tmp_path)
    write_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.txt", None)
    write_pair(tmp_path / "images/train/b.png", tmp_path / "labels/train/b.txt", "")
    boxes = {item.image_id: len(item.boxes) for item in read_train(tmp_path).examples}
    assert boxes == {
        "images/train/a": 0,
        "images/train/b": 0,
        "images/train/train0": 1,
    }
    assert "images without a file of labels, taken for images without objects: 1;" in caplog.text
    assert f"expected {tmp_path / 'labels' / 'train' / 'a.txt'}" in caplog.text


def test_two_images_that_share_a_label_are_a_fault(tmp_path):
    write_ultralytics(tmp_path)
    write_pair(tmp_path / "images/train/train0.bmp", tmp_path / "labels/train/train0.txt")
    message = message_of(tmp_path)
    assert "images named 'images/train/train0': train0.bmp, train0.png. Expected one" in message


# === Layouts ===


def test_ultralytics_data_yaml_and_val_that_stands_in_for_test(tmp_path, caplog):
    write_ultralytics(tmp_path)
    with caplog.at_level(logging.INFO):
        val = ["images/val/val0"]
        expected = {"train": ["images/train/train0"], "val": val, "test": val}
        assert ids_of(tmp_path) == expected
    assert "format yolo detected" in caplog.text
    assert "no split 'test': split 'val' is evaluated" in caplog.text
    test = read_dataset(DataConfig(root=str(tmp_path)), "test", ("cat", "dog"), seed=0)
    assert test.split == "val"
    assert "there is no split 'dev'. Expected one of the splits that are there: train, val" in (
        message_of(tmp_path, ("dev",))
    )


def test_roboflows_paths_that_lead_out_are_found_inside(tmp_path, caplog):
    for split in ("train", "valid"):
        folder = tmp_path / split
        write_pair(folder / "images" / "a.png", folder / "labels" / "a.txt")
    lines = ["train: ../train/images", "val: ../valid/images", "test: ../test/images", "nc: 2"]
    (tmp_path / "data.yaml").write_text("\n".join([*lines, "names: ['cat', 'dog']"]))
    val = ["valid/images/a"]
    assert ids_of(tmp_path) == {"train": ["train/images/a"], "val": val, "test": val}
    assert "data.yaml: test = '../test/images': there is no such folder or list in" in caplog.text


def test_a_list_in_data_yaml_and_several_folders(tmp_path):
    write_ultralytics(tmp_path, ("train", "more", "val"))
    (tmp_path / "val.txt").write_text("./images/val/val0.png\n\n/mnt/x/images/more/more0.png\n")
    text = "train: [images/train, images\\more]\nval: val.txt\nnames: [cat, dog]\n"
    (tmp_path / "data.yaml").write_text(text)
    ids = ids_of(tmp_path)
    assert ids["train"] == ["images/train/train0", "images/more/more0"]
    assert ids["val"] == ["images/val/val0", "images/more/more0"]
    (tmp_path / "val.txt").write_text("images/val/val0.png\n../gone.png\n")
    source = tmp_path / "val.txt"
    assert f"{source}: line 2 = '../gone.png': there is no such image in {tmp_path}" in message_of(
        tmp_path, ("val",)
    )


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}/a.png", "labels/{}/a.txt"),
        ("{}/images/a.png", "{}/labels/a.txt"),
        ("{}/a.png", "{}/a.txt"),
    ],
)
def test_folders_without_data_yaml(tmp_path, image, label):
    for split in ("Train", "valid"):
        write_pair(tmp_path / image.format(split), tmp_path / label.format(split))
    names = tmp_path / ("_darknet.labels" if image.startswith("{}/a") else "classes.txt")
    if names.name == "_darknet.labels":
        names = tmp_path / "Train" / names.name
    names.write_text("cat\ndog\n")
    train, val = (image.format(split).removesuffix(".png") for split in ("Train", "valid"))
    assert ids_of(tmp_path) == {"train": [train], "val": [val], "test": [val]}
    names.unlink()
    message = message_of(tmp_path)
    assert "nothing names the classes. Expected `names` in data.yaml, or classes.txt" in message
    (example,) = read_train(tmp_path, ("ant", "bee")).examples
    assert example.classes.tolist() == [2]


def test_darknets_files(tmp_path):
    for name in ("a", "b", "c"):
        folder = tmp_path / "obj_train_data"
        write_pair(folder / f"{name}.png", folder / f"{name}.txt")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    (tmp_path / "valid.txt").write_text("data/obj_train_data/c.png\n")
    (tmp_path / "obj.names").write_text("cat\ndog\n\n")
    lines = [
        "classes = 2",
        "train = data/train.txt",
        "valid=data/valid.txt",
        "names = data/obj.names",
    ]
    (tmp_path / "obj.data").write_text("\n".join([*lines, "backup = backup/"]))
    expected = {
        "train": ["obj_train_data/a", "obj_train_data/b"],
        "val": ["obj_train_data/c"],
        "test": ["obj_train_data/c"],
    }
    assert ids_of(tmp_path) == expected
    (tmp_path / "obj.data").unlink()  # the lists and the names are enough
    assert ids_of(tmp_path) == expected
    assert read_train(tmp_path).class_names == ("cat", "dog")


@pytest.mark.parametrize("label", ["labels/p{}.txt", "images/p{}.txt"])
def test_one_folder_is_divided(tmp_path, caplog, label):
    for number in range(10):
        write_pair(tmp_path / "images" / f"p{number}.png", tmp_path / label.format(number))
    (tmp_path / "images" / "classes.txt").write_text("cat\ndog")
    with caplog.at_level(logging.INFO):
        ids = ids_of(tmp_path)
    assert "images divided with seed 0: train 8, val 1, test 1" in caplog.text
    assert sorted(sum(ids.values(), [])) == [f"images/p{number}" for number in range(10)]
    assert "split 'trainval' cannot be made" in message_of(tmp_path, ("trainval",))


# === What describes a data set ===


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: images/train\nnames: [cat", "data.yaml: cannot be read as YAML ("),
        ("train: images/train\nnames: [cat]\nnc: 2", "nc = 2, and names has 1. Expected the same"),
        ("train: images/train\nnames: {1: cat, 2: dog}", "names has the ids [1, 2]. Expected 0, 1"),
        ("train: images/train\nnames:", "names = None. Expected a list of classes' names"),
        ("train: images/train\nnames: [a, a]", "the class 'a' is there more than once"),
        ("train: {a: 1}\nnames: [a]", "train = {'a': 1}. Expected a path, or a list of some"),
        ("train: nowhere\nnames: [a]", "train = 'nowhere': there is no such folder or list in"),
    ],
)
def test_a_data_yaml_that_is_wrong(tmp_path, text, expected):
    write_ultralytics(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    assert expected in message_of(tmp_path)


def test_two_files_that_describe_it_need_a_usual_name(tmp_path):
    write_ultralytics(tmp_path)
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "pets.yaml").write_text(text)
    assert len(read_train(tmp_path).examples) == 1
    (tmp_path / "data.yaml").rename(tmp_path / "cats.yaml")
    assert "several files describe a YOLO data set: cats.yaml, pets.yaml" in message_of(tmp_path)


def test_two_files_of_names_that_differ(tmp_path):
    write_pair(tmp_path / "images" / "a.png", tmp_path / "labels" / "a.txt")
    (tmp_path / "classes.txt").write_text("cat\ndog")
    (tmp_path / "labels" / "classes.txt").write_text("dog\ncat")
    assert "name different classes. Expected the same" in message_of(tmp_path)
    (tmp_path / "labels" / "classes.txt").write_text("cat\n\ndog")
    assert "line 2 is empty. Expected a class's name" in message_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("../../images/a.png", "images/a.png"),
        ("C:\\data\\images\\a.png", "images/a.png"),
        ("/a.png", None),
        ("../secret.png", None),
        ("", None),
        ("a\0.png", None),
    ],
)
def test_a_path_is_found_below_the_root_or_not_at_all(tmp_path, text, expected):
    root = tmp_path / "root"
    write_pair(root / "images" / "a.png", root / "labels" / "a.txt")
    (tmp_path / "secret.png").touch()
    assert find_below(root, text) == (root / expected if expected else None)


@pytest.mark.parametrize(
    ("name", "text"),
    [("notes.txt", ONE), ("labels/a.txt", "Car 0 1 2 3 4"), ("a.yaml", "names: [a]")],
)
def test_other_text_is_no_data_set(tmp_path, name, text):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert not detect_yolo(tmp_path) and not detect_yolo(tmp_path / "nowhere")


# === Images elsewhere, labels without an image ===


@pytest.mark.parametrize("inside", ["images", "", "pets/images"])
def test_images_elsewhere_are_laid_out_as_in_the_data_set(tmp_path, inside):
    root, elsewhere = write_ultralytics(tmp_path / "root"), tmp_path / "elsewhere"
    (elsewhere / inside).parent.mkdir(parents=True, exist_ok=True)
    (root / "images").rename(elsewhere / inside)
    folder = elsewhere / inside.removesuffix("images")
    ids = ids_of(root, images=str(folder))
    prefix = "images/" if inside else ""
    val = [f"{prefix}val/val0"]
    assert ids == {"train": [f"{prefix}train/train0"], "val": val, "test": val}
    config = DataConfig(root=str(root), images=str(folder))
    (example,) = read_dataset(config, "train", ("cat", "dog"), seed=0).examples
    assert example.boxes.tolist() == [[45, 75, 55, 125]]
    assert example.image_path.is_relative_to(elsewhere)
    assert example.source == str(root / "labels" / "train" / "train0.txt")
    with pytest.raises(DataError) as caught:
        read_datasets(DataConfig(root=str(root), images=str(root / "labels" / "val")), seed=0)
    assert (
        f"train = 'images/train': there is no such folder or list in {root} or "
        f"{root / 'labels' / 'val'}"
    ) in str(caught.value)


def test_images_elsewhere_of_lists_and_of_a_folder_without_splits(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for number in range(4):
        write_pair(elsewhere / f"p{number}.png", root / "labels" / f"p{number}.txt")
    (root / "classes.txt").write_text("cat\ndog")
    ids = ids_of(root, images=str(elsewhere))
    assert sorted(sum(ids.values(), [])) == ["p0", "p1", "p2", "p3"]
    assert {role: len(names) for role, names in ids.items()} == {"train": 2, "val": 1, "test": 1}
    (root / "train.txt").write_text("/content/images/p0.png\n/content/images/p1.png\n")
    (root / "val.txt").write_text("/content/images/p3.png\n")
    assert ids_of(root, images=str(elsewhere)) == {
        "train": ["p0", "p1"],
        "val": ["p3"],
        "test": ["p3"],
    }


@pytest.mark.parametrize("label", ["labels/train/{}.txt", "images/train/{}.txt"])
def test_labels_without_an_image_are_counted(tmp_path, caplog, label):
    for name in ("train0", "val0", "other"):
        write_pair(tmp_path / "images" / "train" / f"{name}.png", tmp_path / label.format(name))
    for name, text in (("lost", ONE), ("gone", ONE), ("empty", ""), ("notes", "Look at these.")):
        (tmp_path / label.format(name)).write_text(text)
    (tmp_path / "train.txt").write_text("images/train/train0.png\n")
    (tmp_path / "val.txt").write_text("images/train/val0.png\n")  # and `other` is in no split
    (tmp_path / "classes.txt").write_text("cat\ndog")
    dataset = read_train(tmp_path)
    assert len(dataset.examples) == 1 and len(dataset.remarks) == 1
    assert dataset.remarks[0] in caplog.text
    assert (
        f"{tmp_path}: files of labels without an image, not used: 2; the first: "
        f"{tmp_path / label.format('gone')}; expected"
    ) in caplog.text
