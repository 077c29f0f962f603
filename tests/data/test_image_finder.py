"""Images elsewhere, and names that lead elsewhere: `--data.images`, and the last part of a name."""

import logging

import pytest

from tests.conftest import voc_xml
from tests.data.coco_writer import annotation, content, image, write_images, write_json
from tests.data.voc_writer import SIZE
from tf_frcnn.config import DataConfig
from tf_frcnn.data.image_finder import ImageFinder, image_folders
from tf_frcnn.data.loading import read_datasets
from tf_frcnn.errors import ConfigError, DataError

BOX = [1, 2, 3, 4]


def finder_of(root, split=""):
    return ImageFinder(image_folders(root, split), split)


# === The last part of a name ===


@pytest.mark.parametrize(
    "name",
    [
        "..\\..\\label-studio\\upload\\4\\p0.png",
        "C:\\Users\\me\\p0.png",
        "/home/me/p0.png",
        "../p0.png",
        "train/p0.png",
        "https://host/bucket/p0.png",
        "p0.png",
        "p0",
    ],
)
def test_a_name_is_found_by_its_last_part(tmp_path, caplog, name):
    write_images(tmp_path / "images" / "deep", "p0.png", "p1.png")
    finder = finder_of(tmp_path)
    assert finder.find(name, "a.json: file_name") == tmp_path / "images" / "deep" / "p0.png"
    with caplog.at_level(logging.WARNING):
        finder.log_found(tmp_path / "a.json")
    assert "a.json: images found by the last part of their names: 1; the first: " in caplog.text


def test_a_path_that_is_there_goes_first_and_is_not_told(tmp_path, caplog):
    write_images(tmp_path / "images", "p0.png", "sub/p0.png")
    finder = finder_of(tmp_path)
    assert finder.find("sub/p0.png", "x") == tmp_path / "images" / "sub" / "p0.png"
    assert finder.find("p0.png", "x") == tmp_path / "images" / "p0.png"
    finder.log_found(tmp_path)
    assert not caplog.records


def test_of_several_none_is_taken(tmp_path):
    write_images(tmp_path / "images", "a/p0.png", "b/p0.png")
    with pytest.raises(DataError) as caught:
        finder_of(tmp_path).find("../p0.png", "x.json: images[0], file_name")
    message = str(caught.value)
    assert message.startswith("x.json: images[0], file_name = '../p0.png': leads out of the data")
    there = ", ".join(str(tmp_path / "images" / folder / "p0.png") for folder in "ab")
    assert f"of its last part there are several: {there}. Expected a path inside" in message


@pytest.mark.parametrize("order", [("p0.png", "gone/p0.png"), ("gone/p0.png", "p0.png")])
def test_one_image_is_not_given_to_two_names(tmp_path, order):
    write_images(tmp_path / "images", "p0.png")
    finder = finder_of(tmp_path)
    finder.find(order[0], "first")
    with pytest.raises(DataError, match=f"second = '{order[1]}': the only image of that name"):
        finder.find(order[1], "second")


def test_another_splits_image_is_not_taken(tmp_path):
    write_images(tmp_path / "val", "p0.png")
    with pytest.raises(DataError, match="x = 'p0.png': there is no such image in"):
        finder_of(tmp_path, "train").find("p0.png", "x")
    assert finder_of(tmp_path, "valid").find("p0.png", "x") == tmp_path / "val" / "p0.png"


def test_nothing_outside_of_the_folders_is_found(tmp_path):
    write_images(tmp_path, "secret.png")
    (tmp_path / "root" / "images").mkdir(parents=True)
    (tmp_path / "root" / "images" / "up").symlink_to(tmp_path, target_is_directory=True)
    for name in ("../secret.png", str(tmp_path / "secret.png"), "secret.png"):
        with pytest.raises(DataError):
            finder_of(tmp_path / "root").find(name, "x")


def test_a_name_without_extension_that_two_images_have(tmp_path):
    write_images(tmp_path, "p0.png", "p0.bmp")
    with pytest.raises(DataError, match="of its last part there are several"):
        finder_of(tmp_path).find("p0", "x")


# === --data.images ===


def write_annotations(root, data_format):
    """Write two images' annotations, without the images."""
    if data_format == "voc":
        root.mkdir()
        for name in ("p0", "p1"):
            (root / f"{name}.xml").write_text(voc_xml(SIZE, [("cat", 2, 3, 4, 6)]))
    elif data_format == "coco":
        images = [image(0), image(1)]
        write_json(root / "train.json", content(images, [annotation(1, 0, BOX)]))
    else:
        root.mkdir()
        rows = ["filename,class,xmin,ymin,xmax,ymax", "p0.png,cat,1,2,4,6", "p1.png,cat,1,2,4,6"]
        (root / "train.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("data_format", ["voc", "coco", "csv"])
@pytest.mark.parametrize("inside", ["", "sub"])
def test_images_elsewhere_are_found(tmp_path, data_format, inside):
    write_annotations(tmp_path / "data", data_format)
    write_images(tmp_path / "pictures" / inside, "p0.png", "p1.png")
    options = {"val_split": "none", "test_split": "none"}
    config = DataConfig(root=str(tmp_path / "data"), images=str(tmp_path / "pictures"), **options)
    examples = read_datasets(config, seed=0)["train"].examples
    paths = [example.image_path for example in examples]
    assert paths == [tmp_path / "pictures" / inside / f"p{number}.png" for number in (0, 1)]
    assert examples[0].boxes.tolist() == [[2, 1, 6, 4]]


def test_a_folder_in_the_data_sets_own_and_one_that_is_not_there(tmp_path):
    write_annotations(tmp_path / "data", "coco")
    write_images(tmp_path / "data" / "scans", "p0.png", "p1.png")
    options = {"val_split": "none", "test_split": "none"}
    config = DataConfig(root=str(tmp_path / "data"), images="scans", **options)
    assert len(read_datasets(config, seed=0)["train"].examples) == 2
    config = DataConfig(root=str(tmp_path / "data"), images="nowhere", **options)
    with pytest.raises(ConfigError, match="--data.images nowhere: there is no such folder, here"):
        read_datasets(config, seed=0)


# === Folders of other tools ===


def test_fiftyones_data_and_a_json_named_after_its_content(tmp_path):
    write_images(tmp_path / "one" / "data", "p0.png", "p1.png", "p2.png")
    boxes = [annotation(number, number, BOX) for number in range(3)]
    write_json(tmp_path / "one" / "labels.json", content(map(image, range(3)), boxes))
    sizes = {
        role: len(data.examples)
        for role, data in read_datasets(DataConfig(root=str(tmp_path / "one")), 0).items()
    }
    assert sizes == {"train": 1, "val": 1, "test": 1}
    for split in ("train", "val"):
        write_images(tmp_path / "two" / split, "p0.png")
        value = content([image(0)], [annotation(1, 0, BOX)])
        write_json(tmp_path / "two" / "annotations" / f"{split}_annotations.json", value)
    datasets = read_datasets(DataConfig(root=str(tmp_path / "two")), 0)
    found = {role: (data.split, data.examples[0].image_path) for role, data in datasets.items()}
    val = ("val_annotations", tmp_path / "two" / "val" / "p0.png")
    train = ("train_annotations", tmp_path / "two" / "train" / "p0.png")
    assert found == {"train": train, "val": val, "test": val}
