"""Data sets through the configuration: format, splits and their stand-ins, classes, folders."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import VOC_SPLIT_COUNTS, voc_xml
from tests.data.coco_writer import annotation, content, image, write_images, write_json
from tests.data.voc_writer import SIZE, write_voc, write_without_lists
from tf_frcnn.config import DataConfig
from tf_frcnn.data.formats import DATASETS, find_format
from tf_frcnn.data.image import read_image
from tf_frcnn.data.loading import load_dataset, load_datasets, read_dataset, read_datasets
from tf_frcnn.errors import ConfigError, DataError


def test_read_datasets_finds_format_and_classes_over_all_splits(tmp_path, caplog):
    annotations = {
        "a": voc_xml(SIZE, [("dog", 11, 21, 30, 25)]),
        "b": voc_xml(SIZE, [("cat", 1, 2, 3, 4), ("dog", 1, 2, 3, 4)]),
        "c": voc_xml(SIZE, [("ant", 1, 2, 3, 4)]),
    }
    lists = {"train": "a", "val": "b", "test": "a", "unused": "c"}
    root = write_voc(tmp_path, annotations, lists)
    with caplog.at_level(logging.INFO):
        datasets = load_datasets(DataConfig(root=str(root)), seed=0)
    assert list(datasets) == ["train", "val", "test"]
    assert all(dataset.class_names == ("cat", "dog") for dataset in datasets.values())
    assert datasets["train"].examples[0].classes.tolist() == [2]
    assert datasets["val"].examples[0].classes.tolist() == [1, 2]
    assert "format voc detected" in caplog.text and "2 classes found: cat, dog" in caplog.text


def test_given_classes_fix_the_ids(voc_folder):
    config = DataConfig(root=str(voc_folder), format="voc", classes=("duck", "dog", "cat"))
    datasets = read_datasets(config, seed=0)
    counts = {role: len(dataset.examples) for role, dataset in datasets.items()}
    assert counts == VOC_SPLIT_COUNTS
    # The fixture's second image holds a dog and a duck.
    assert datasets["train"].examples[1].classes.tolist() == [2, 1]


def test_splits_set_to_none_are_absent_and_two_roles_may_share_one(voc_folder):
    config = DataConfig(root=str(voc_folder), val_split="none", test_split="train")
    datasets = read_datasets(config, seed=0)
    assert list(datasets) == ["train", "test"]
    assert datasets["test"] is datasets["train"]


# === Splits that are not there ===


def remove_split(root, *splits):
    for split in splits:
        (root / "ImageSets" / "Main" / f"{split}.txt").unlink()


def test_without_a_val_split_there_is_no_validation(voc_folder, caplog):
    remove_split(voc_folder, "val")
    datasets = read_datasets(DataConfig(root=str(voc_folder)), seed=0)
    assert {role: dataset.split for role, dataset in datasets.items()} == {
        "train": "train",
        "test": "test",
    }
    assert "no validation: " in caplog.text and "there is no val.txt" in caplog.text


def test_without_a_test_split_val_is_evaluated_and_named_so(voc_folder, caplog):
    remove_split(voc_folder, "test")
    config = DataConfig(root=str(voc_folder))
    datasets = read_datasets(config, seed=0)
    assert list(datasets) == ["train", "val", "test"]
    assert datasets["test"] is datasets["val"] and datasets["test"].split == "val"
    assert "no split 'test': split 'val' is evaluated" in caplog.text
    caplog.clear()
    alone = read_dataset(config, "test", ("cat", "dog", "duck"), seed=0)
    assert alone.split == "val"
    assert [example.image_id for example in alone.examples] == ["val_0", "val_1"]
    assert "no split 'test': split 'val' is evaluated" in caplog.text


def test_the_split_that_stands_in_for_test_is_the_configured_val_split(voc_folder):
    remove_split(voc_folder, "test")
    main = voc_folder / "ImageSets" / "Main"
    (main / "val.txt").rename(main / "held_out.txt")
    config = DataConfig(root=str(voc_folder), val_split="held_out")
    assert read_datasets(config, seed=0)["test"].split == "held_out"
    assert read_dataset(config, "test", ("cat", "dog", "duck"), seed=0).split == "held_out"


def test_splits_that_are_there_are_used_without_a_word(voc_folder, caplog):
    with caplog.at_level(logging.WARNING):
        datasets = read_datasets(DataConfig(root=str(voc_folder)), seed=0)
    assert {role: dataset.split for role, dataset in datasets.items()} == {
        role: role for role in ("train", "val", "test")
    }
    assert not caplog.records


@pytest.mark.parametrize(
    ("removed", "options", "missing"),
    [
        (["train"], {}, ("train", "train")),
        (["test", "val"], {}, ("test", "test")),  # nothing can stand in
        (["test"], {"val_split": "none"}, ("test", "test")),
        ([], {"train_split": "training"}, ("train", "training")),
        ([], {"val_split": "valid"}, ("val", "valid")),
        ([], {"test_split": "testing"}, ("test", "testing")),
        (["test"], {"val_split": "valid"}, ("val", "valid")),
    ],
)
def test_a_missing_split_names_the_splits_and_the_way_out(voc_folder, removed, options, missing):
    remove_split(voc_folder, *removed)
    with pytest.raises(DataError) as caught:
        read_datasets(DataConfig(root=str(voc_folder), **options), seed=0)
    message = str(caught.value)
    role, split = missing
    there = [name for name in ("test", "train", "val") if name not in removed]
    assert f"--data.{role}-split {split}: " in message and f"there is no {split}.txt" in message
    assert f"lists that are there: {', '.join(there)}." in message
    assert (f"--data.{role}-split none" in message) == (role != "train")


# === Too few images to divide ===


def write_two_coco(root):
    write_images(root / "images", "p0.png", "p1.png")
    boxes = [annotation(number, number, [1, 2, 3, 4]) for number in range(2)]
    write_json(root / "all.json", content(map(image, range(2)), boxes))


def write_two_yolo(root):
    write_images(root / "images", "p0.png", "p1.png")
    for number in range(2):
        (root / "images" / f"p{number}.txt").write_text("0 0.5 0.5 0.25 0.1")
    (root / "images" / "classes.txt").write_text("cat")


def write_two_csv(root):
    write_images(root / "images", "p0.png", "p1.png")
    rows = [f"p{number}.png,cat,1,2,3,4" for number in range(2)]
    (root / "boxes.csv").write_text("\n".join(["filename,class,xmin,ymin,xmax,ymax", *rows]))


@pytest.mark.parametrize(
    "write",
    [
        lambda root: write_without_lists(root, root, 2),
        write_two_coco,
        write_two_yolo,
        write_two_csv,
    ],
    ids=["voc", "coco", "yolo", "csv"],
)
def test_too_few_images_are_told_with_what_the_command_takes(tmp_path, write):
    write(tmp_path)
    config = DataConfig(root=str(tmp_path))
    with pytest.raises(DataError) as caught:  # to train
        load_datasets(config, seed=0)
    assert str(caught.value) == (
        "no image came to val, test: 2 images were divided. Expected at least 3, or "
        "`--data.val-split none --data.test-split none`."
    )
    whole = DataConfig(root=str(tmp_path), val_split="none", test_split="none")
    trained = load_datasets(whole, seed=0)["train"]
    assert len(trained.examples) == 2
    with pytest.raises(DataError) as caught:  # to evaluate, which takes no split "none"
        load_dataset(config, "test", trained.class_names, seed=0)
    assert str(caught.value) == (
        "no image came to test: 2 images were divided. Expected at least 3, or "
        "`--data.test-split train`."
    )
    evaluated = load_dataset(config, "train", trained.class_names, seed=0)
    assert len(evaluated.examples) == 2


def test_images_of_a_kept_division_that_are_gone_are_told(tmp_path):
    write_without_lists(tmp_path, tmp_path, 5)
    config = DataConfig(root=str(tmp_path))
    division = load_datasets(config, seed=0)["train"].division
    for name in division["val"]:
        next(tmp_path.glob(f"**/{name}.xml")).unlink()
    with pytest.raises(DataError, match="none of the images of val, as they were divided when the"):
        load_datasets(config, seed=0, division=division)


@pytest.mark.parametrize(
    ("split", "val_split"), [("testing", "val"), ("test", "none"), ("test", "valid")]
)
def test_evaluation_of_a_split_that_is_not_there_is_an_error(voc_folder, split, val_split):
    remove_split(voc_folder, "test")
    config = DataConfig(root=str(voc_folder), val_split=val_split)
    with pytest.raises(DataError, match=f"there is no {split}.txt.*train, val"):
        read_dataset(config, split, ("cat", "dog", "duck"), seed=0)


# === Folders ===


def test_the_home_of_nobody_names_the_field():
    with pytest.raises(ConfigError, match="--data.root ~nobody-of-that-name/x: .*Expected"):
        read_datasets(DataConfig(root="~nobody-of-that-name/x"), seed=0)


def test_no_root_and_a_missing_root_name_the_option(tmp_path):
    with pytest.raises(ConfigError, match="--data.root is missing.*`--data.root DIR`"):
        read_datasets(DataConfig(), seed=0)
    with pytest.raises(DataError, match="nowhere: .*no such folder.*`--data.root DIR`"):
        read_datasets(DataConfig(root=str(tmp_path / "nowhere")), seed=0)


@pytest.mark.parametrize("data_format", ["auto", "voc"])
def test_a_folder_that_is_no_data_set_says_what_it_holds(tmp_path, data_format):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError) as caught:
        read_datasets(DataConfig(root=str(tmp_path), format=data_format), seed=0)
    assert "the folder holds notes.txt" in str(caught.value)
    assert "Annotations" in str(caught.value)


def test_what_was_seen_and_what_is_known_is_said(tmp_path):
    for name in ("empty", "scans/deep"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a.JPG", "b.jpg", "notes"):
        (tmp_path / "scans" / name).touch()
    with pytest.raises(DataError) as caught:
        read_datasets(DataConfig(root=str(tmp_path)), seed=0)
    message = str(caught.value)
    assert "the folder holds empty/, scans/; empty/ holds nothing; scans/ holds " in message
    assert "2 .jpg, " in message and "1 others" in message and "1 folders" in message
    assert "Known are, by --data.format voc, coco, yolo, csv, tfds:\n  Pascal VOC: " in message
    for layout in ("COCO JSON: ", "YOLO: ", "CSV: ", "TensorFlow Datasets: "):
        assert f"\n  {layout}" in message


def test_a_file_of_detections_in_the_place_of_a_data_set_is_told(tmp_path):
    results = [{"image_id": 0, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]
    (tmp_path / "found.json").write_text(json.dumps(results))
    for root in (tmp_path, tmp_path / "found.json"):
        with pytest.raises(DataError, match=r"found\.json: is a file of detections .*no data"):
            find_format(DataConfig(root=str(root)))


def test_the_folder_above_the_data_set_suggests_it(voc_folder):
    with pytest.raises(DataError, match=f"`--data.root DIR`, perhaps {voc_folder}"):
        read_datasets(DataConfig(root=str(voc_folder.parent)), seed=0)


def test_read_dataset_takes_the_models_classes(voc_folder):
    config = DataConfig(root=str(voc_folder), classes=("ignored",))
    dataset = read_dataset(config, "val", ("duck", "cat", "dog"), seed=0)
    assert dataset.split == "val" and dataset.class_names == ("duck", "cat", "dog")
    assert [example.classes.tolist() for example in dataset.examples] == [[2], [3, 1]]
    with pytest.raises(DataError, match=r"name = 'duck' .*: 1\). Expected .* cat, dog"):
        read_dataset(config, "val", ("cat", "dog"), seed=0)


def test_read_dataset_divides_as_read_datasets_does(tmp_path):
    write_without_lists(tmp_path, tmp_path, 40)
    config = DataConfig(root=str(tmp_path))
    tests = {}
    for seed in (0, 7):
        expected = [example.image_id for example in read_datasets(config, seed)["test"].examples]
        alone = read_dataset(config, "test", ("cat",), seed).examples
        assert [example.image_id for example in alone] == expected
        tests[seed] = expected
    assert tests[0] != tests[7]


def test_every_format_of_the_configuration_has_a_reader():
    formats = DataConfig.__dataclass_fields__["format"].type
    assert set(formats.__args__) == {"auto", *DATASETS}


def test_the_fixtures_boxes_lie_on_its_drawings(voc_folder):
    example = read_dataset(DataConfig(root=str(voc_folder)), "train", (), 0).examples[4]
    image = read_image(example.image_path)
    assert image.shape == (72, 96, 3)
    ymin, xmin, ymax, xmax = example.boxes[0].astype(int)
    background = np.array([90, 100, 90])
    inside = np.abs(image[ymin:ymax, xmin:xmax].astype(int) - background).sum(axis=-1)
    assert inside.min() > 60  # every pixel of the box is drawn on
    for y, x in ((ymin - 3, xmin), (ymin, xmin - 3), (ymax + 3, xmax), (ymax, xmax + 3)):
        assert np.abs(image[y, x].astype(int) - background).sum() < 40


def test_readers_do_not_import_tensorflow():
    modules = "tf_frcnn.data.loading, tf_frcnn.data.example, tf_frcnn.data.verification"
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert result.returncode == 0
