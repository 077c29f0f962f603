"""Where a COCO data set has its files: splits by name, path or seed, images, detection."""

import logging
import shutil

import pytest

from tests.conftest import VOC_SPLIT_COUNTS
from tests.data.coco_writer import (
    annotation,
    content,
    image,
    message_of,
    read_train,
    write_coco,
    write_images,
    write_json,
)
from tf_frcnn.config import DataConfig
from tf_frcnn.data.coco import read_coco
from tf_frcnn.data.coco_layout import detect_coco, explain_missing_coco_split
from tf_frcnn.data.loading import read_dataset, read_datasets
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import DataError

BOX = [1, 2, 3, 4]
ONE = content([image(0)], [annotation(1, 0, BOX)])


def many(count):
    return content(map(image, range(count)), [annotation(n, n, BOX) for n in range(count)])


# === The file of a split ===


@pytest.mark.parametrize(
    "path",
    [
        "annotations/instances_train2017.json",
        "annotations/train2017.json",
        "train2017.json",
        "train2017/_annotations.coco.json",
    ],
)
def test_a_split_is_found_by_its_name_and_by_its_path(tmp_path, path):
    source = write_json(tmp_path / path, ONE)
    write_json(tmp_path / "annotations" / "instances_val2017.json", many(2))
    write_images(tmp_path / "images", "p0.png")
    assert detect_coco(tmp_path)
    for split in ("train2017", path, str(source)):
        dataset = read_coco(tmp_path, (split,), (), Divider(0))[split]
        assert dataset.split == split and len(dataset.examples) == 1
        assert dataset.examples[0].source.startswith(f"{source}: ")


def test_cocos_own_names_and_val_that_stands_in_for_test(coco_folder, caplog):
    for split in ("train", "val"):
        path = coco_folder / "annotations" / f"instances_{split}.json"
        path.rename(path.with_name(f"instances_{split}2017.json"))
    (coco_folder / "annotations" / "instances_test.json").unlink()
    config = DataConfig(root=str(coco_folder), train_split="train2017", val_split="val2017")
    with caplog.at_level(logging.INFO):
        datasets = read_datasets(config, seed=0)
    sizes = {role: (data.split, len(data.examples)) for role, data in datasets.items()}
    assert sizes == {"train": ("train2017", 6), "val": ("val2017", 2), "test": ("val2017", 2)}
    assert "format coco detected" in caplog.text
    assert datasets["train"].class_names == ("cat", "dog", "duck")
    assert "no split 'test': split 'val2017' is evaluated" in caplog.text


def test_a_json_outside_of_the_root_names_images_inside_of_it(tmp_path):
    source = write_json(tmp_path / "elsewhere" / "mine.json", ONE)
    write_images(tmp_path / "root" / "images", "p0.png")
    split = str(source)
    (example,) = read_coco(tmp_path / "root", (split,), (), Divider(0))[split].examples
    assert example.image_path == tmp_path / "root" / "images" / "p0.png"
    shutil.move(tmp_path / "root" / "images" / "p0.png", source.with_name("p0.png"))
    assert "there is no such image in" in message_of(tmp_path / "root", splits=(split,))


def test_a_missing_split_lists_those_that_are_there(tmp_path):
    write_coco(tmp_path, ONE)
    write_json(tmp_path / "held_out" / "_annotations.coco.json", ONE)
    write_json(tmp_path / "package.json", {"name": "no COCO"})
    message = message_of(tmp_path, splits=("train", "val"))
    assert (
        "there is no split 'val'. Expected one of the splits that are there: held_out, train;"
        in (message)
    )
    message = message_of(tmp_path, splits=("more.json",))
    assert f"{tmp_path / 'more.json'}: there is no such file. Expected COCO JSON" in message


def test_a_split_in_two_places_is_an_error(tmp_path):
    write_coco(tmp_path, ONE)
    write_json(tmp_path / "train.json", ONE)
    message = message_of(tmp_path)
    assert (
        "split 'train' is there more than once: annotations/instances_train.json, train.json."
        in (message)
    )
    assert "Expected one file; give its path as the split" in message
    assert explain_missing_coco_split(tmp_path, "train") == ""


def test_missing_folders_and_files_are_named(tmp_path):
    message = message_of(tmp_path / "nowhere")
    assert (
        "nowhere: there is no such folder. Expected a data set, COCO JSON: annotations" in message
    )
    message = message_of(tmp_path)
    assert "no COCO JSON file: the folder is empty. Expected COCO JSON: annotations/inst" in message


# === Images ===


@pytest.mark.parametrize("folder", ["train", "images/train", "images", ".", "annotations"])
def test_images_are_found_in_each_place(tmp_path, folder):
    write_images(tmp_path / folder, "p0.png", "sub/p1.png")
    images = [image(0), image(1, file_name="sub\\p1.png"), image(2, file_name="./p0.png")]
    value = content(images, [annotation(1, 0, BOX)])
    write_json(tmp_path / "annotations" / "instances_train.json", value)
    paths = [example.image_path for example in read_train(tmp_path).examples]
    assert paths == [tmp_path / folder / name for name in ("p0.png", "sub/p1.png", "p0.png")]


def test_the_splits_own_folder_goes_first(tmp_path):
    for folder in (".", "images", "images/train", "train"):
        write_images(tmp_path / folder, "p0.png")
    write_json(tmp_path / "train.json", ONE)
    for folder in ("train", "images/train", "images", "."):
        path = tmp_path / folder / "p0.png"
        assert read_train(tmp_path).examples[0].image_path == path
        path.unlink()
    message = message_of(tmp_path)
    assert "images[0] (p0.png), file_name = 'p0.png': there is no such image in " in message
    assert f"in {tmp_path / 'train'}, {tmp_path / 'images' / 'train'}, {tmp_path}" in message


@pytest.mark.parametrize(
    "name", ["../secret.png", "images/../../secret.png", "/{0}/secret.png", "..\\secret.png"]
)
def test_a_file_name_cannot_leave_the_root(tmp_path, name):
    write_images(tmp_path, "secret.png")
    name = name.format(str(tmp_path).lstrip("/"))
    root = write_coco(tmp_path / "root", content([image(0, file_name=name)]))
    message = message_of(root, class_names=("cat",))
    assert "1 fault " in message
    assert f"file_name = {name!r}: leads out of the data set, and there is not one" in message
    assert "named 'secret.png' in" in message and "Expected a path inside of it" in message


@pytest.mark.parametrize(
    "name", ["gone.png", "a\0/gone.png", "\ud800.png", ".", "x/", "p0.png/gone.png"]
)
def test_odd_file_names_are_faults(tmp_path, name):
    root = write_coco(tmp_path, content([image(0, file_name=name)]))
    message = message_of(root, class_names=("cat",))
    assert "1 fault " in message
    assert f"file_name = {name!r}: there is no such image in {root / 'images'}, {root}" in message


def test_names_in_composed_and_decomposed_letters_are_the_same(tmp_path):
    write_images(tmp_path / "images", "Bla\u0308schen.png")
    value = content([image(0, file_name="Bl\u00e4schen.png")], [annotation(1, 0, BOX)])
    write_json(tmp_path / "train.json", value)
    assert read_train(tmp_path).examples[0].image_path.is_file()


# === One file without splits ===


@pytest.mark.parametrize(
    "path", ["annotations/instances_default.json", "result.json", "_annotations.coco.json"]
)
def test_one_file_without_splits_is_divided_80_10_10(tmp_path, caplog, path):
    write_images(tmp_path / "images", *(f"p{number}.png" for number in range(20)))
    write_json(tmp_path / path, many(20))
    config = DataConfig(root=str(tmp_path))
    ids = {}
    for seed in (3, 4):
        with caplog.at_level(logging.INFO):
            datasets = read_datasets(config, seed)
        ids[seed] = {
            role: [int(e.image_id) for e in data.examples] for role, data in datasets.items()
        }
        assert sorted(sum(ids[seed].values(), [])) == list(range(20))
        assert [len(ids[seed][role]) for role in ("train", "val", "test")] == [16, 2, 2]
        assert ids[seed]["train"] == sorted(ids[seed]["train"])  # the order of the file
        alone = read_dataset(config, "test", ("cat", "dog"), seed)
        assert [int(example.image_id) for example in alone.examples] == ids[seed]["test"]
    assert "one JSON file; images divided with seed 3: train 16, val 2, test 2" in caplog.text
    assert ids[3] != ids[4]


def test_what_cannot_be_made_is_an_error(tmp_path):
    write_images(tmp_path / "images", "p0.png", "p1.png")
    write_json(tmp_path / "all.json", many(2))
    message = message_of(tmp_path, splits=("trainval",))
    assert "split 'trainval' cannot be made: all.json is the only COCO JSON file" in message
    assert "divided into train, val, test. Expected one of these, or the path" in message
    whole = read_coco(tmp_path, ("all",), (), Divider(0))["all"]  # if named
    assert len(whole.examples) == 2


@pytest.mark.parametrize("whole", ["all", "all.json"])
def test_a_whole_file_and_splits_made_of_it_do_not_mix(tmp_path, whole):
    write_json(tmp_path / "all.json", many(10))
    message = message_of(tmp_path, splits=(whole, "val", "test"))
    assert f"val, test would be made from all.json, and {whole} may hold the same" in message
    assert "`--data.val-split none` `--data.test-split none`" in message


@pytest.mark.parametrize("name", ["train2017", "my_train", "trainval", "valid", "test-dev"])
def test_a_file_with_a_splits_name_is_not_divided(tmp_path, name):
    write_json(tmp_path / f"{name}.json", many(10))
    message = message_of(tmp_path, splits=("train",))
    assert (
        f"there is no split 'train'. Expected one of the splits that are there: {name};" in message
    )


@pytest.mark.parametrize("name", ["latest", "interval", "restrained"])
def test_a_splits_name_inside_of_a_word_is_none(tmp_path, name):
    write_json(tmp_path / f"{name}.json", many(10))
    assert explain_missing_coco_split(tmp_path, "train") == ""


# === Detection ===


def test_coco_and_voc_are_told_apart(coco_folder, voc_folder, tmp_path, caplog):
    for folder, name in ((coco_folder, "coco"), (voc_folder, "voc")):
        with caplog.at_level(logging.INFO):
            datasets = read_datasets(DataConfig(root=str(folder)), seed=0)
        assert f"{folder}: format {name} detected" in caplog.text
        counts = {role: len(dataset.examples) for role, dataset in datasets.items()}
        assert counts == VOC_SPLIT_COUNTS
    with pytest.raises(DataError, match=f"`--data.root DIR`, perhaps {coco_folder} or .*voc"):
        read_datasets(DataConfig(root=str(tmp_path)), seed=0)


def test_both_formats_in_one_folder_ask_for_the_option(voc_folder):
    write_json(voc_folder / "annotations" / "instances_train.json", ONE)
    with pytest.raises(DataError) as caught:
        read_datasets(DataConfig(root=str(voc_folder)), seed=0)
    assert f"{voc_folder}: looks like several formats: voc, coco. Expected one" in str(caught.value)
    assert "`--data.format voc` or `--data.format coco`" in str(caught.value)
    datasets = read_datasets(DataConfig(root=str(voc_folder), format="voc"), seed=0)
    assert len(datasets["train"].examples) == 6


@pytest.mark.parametrize(
    "text", ["", "{", '{"images": 3}', '[{"images": []}]', '{"shapes": [], "imagePath": "a"}']
)
def test_other_json_files_are_no_data_set(tmp_path, text):
    write_json(tmp_path / "notes.json", text)
    write_json(tmp_path / "._train.json", ONE)  # as macOS leaves them
    assert not detect_coco(tmp_path)
    write_json(tmp_path / "more.json", '\ufeff\n {"info": {}, "images" : [{}]}')
    assert detect_coco(tmp_path)
    assert not detect_coco(tmp_path / "more.json") and not detect_coco(tmp_path / "nowhere")
