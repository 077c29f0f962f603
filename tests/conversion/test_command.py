"""`tf-frcnn convert-data` without Datumaro: LabelMe's JSON, names of formats, folders."""

import base64
import dataclasses
import io
import json
import os
import sys
from types import ModuleType

import pytest
from PIL import Image

from tests.conversion.reading import boxes_in_coco, boxes_in_voc, convert
from tests.conversion.sources import (
    labelme_content,
    labelme_shape,
    write_cvat,
    write_image,
    write_text,
)
from tf_frcnn.config import DataConfig
from tf_frcnn.conversion.foreign import (
    ForeignImage,
    ForeignObject,
    ForeignSet,
    check_images,
    name_splits,
)
from tf_frcnn.conversion.formats import FORMATS
from tf_frcnn.data.formats import find_format
from tf_frcnn.errors import DataError

CAT = labelme_shape("cat", "rectangle", [40, 25], [10, 20])  # in either order
CAT_BOX = ("cat", 10, 20, 30, 5, 0)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "made" / "here"


def write_json(path, image, *shapes, **fields):
    return write_text(path, json.dumps(labelme_content(image, *shapes, **fields)))


# === LabelMe's JSON ===


def test_labelme_json(tmp_path, output, capsys):
    root = tmp_path / "in"
    shapes = [
        CAT,
        labelme_shape("dog", "polygon", [50, 50], [90, 60], [70, 70]),
        # The radius is 5, as 3 * 3 + 4 * 4 = 5 * 5.
        labelme_shape("dog", "circle", [100, 50], [103, 54]),
        labelme_shape("cat", "polygon", [0, 0], [10, 0], [10, 10], group=1),
        labelme_shape("cat", "polygon", [50, 50], [60, 50], [60, 60], group=1),
        labelme_shape("cat", "mask", [10, 20], [19, 29]),  # ten pixels a side
        labelme_shape("dog", "point", [1, 1]),
        labelme_shape("dog", "linestrip", [1, 1], [2, 2]),
    ]
    write_image(root / "train" / "a.jpg")
    write_json(root / "train" / "a.json", "a.jpg", *shapes)
    write_image(root / "pics" / "b.png")
    write_json(root / "train" / "b.json", "C:\\me\\b.png")
    content = (root / "pics" / "b.png").read_bytes()
    data = base64.b64encode(content).decode()
    write_json(root / "val" / "c.json", "gone.png", CAT, imageData=data)
    assert convert("labelme", root, output) == 0
    assert boxes_in_coco(output) == {
        "train": {
            "a.jpg": [
                CAT_BOX,
                ("dog", 50, 50, 40, 20, 0),
                ("dog", 95, 45, 10, 10, 0),
                ("cat", 0, 0, 60, 60, 0),
                ("cat", 10, 20, 10, 10, 0),
            ],
            "b.png": [],
        },
        "val": {"c.png": [CAT_BOX]},
    }
    assert (output / "images" / "val" / "c.png").read_bytes() == content
    areas = [
        entry["area"]
        for entry in json.loads((output / "annotations/instances_train.json").read_text())[
            "annotations"
        ]
    ]
    # The triangle (50, 50), (90, 60), (70, 70): (40 * 20 - 20 * 10) / 2; two halves of 10 x 10.
    assert areas == [150, 300, 100, 100, 100]
    written = capsys.readouterr().out.splitlines()
    assert "boxes around other shapes: polygons 3, circles 1, masks 1" in written
    assert "left out, being no boxes: points 1, lines 1" in written


def test_faults_of_labelme_json_are_told_together(tmp_path, output, capsys):
    root = tmp_path / "in"
    write_image(root / "a.jpg")
    bad = [
        labelme_shape("cat", "rectangle", [1, 2]),
        labelme_shape("cat", "polygon", [1, 2], [3, 4]),
        labelme_shape("cat", "rectangle", [1, "2"], [3, 4]),
        labelme_shape("cat", "rectangle", [1, 10**400], [3, 4]),
        labelme_shape("", "rectangle", [1, 2], [3, 4]),
        labelme_shape("cat", "rectangle", [1, 2], [1, 4]),
        labelme_shape("cat", "rectangle", [300, 2], [310, 4]),
        7,
        CAT,
    ]
    source = write_json(root / "a.json", "a.jpg", *bad)
    lost = write_json(root / "lost.json", "lost.jpg", CAT)
    other = write_text(root / "other.json", "[]")
    write_json(root / "second.json", "a.jpg", CAT)
    assert convert("labelme", root, output) == 2
    err = capsys.readouterr().err
    for words in (
        "11 faults",
        f"{source}: shapes[0], points: expected at least 2 pairs of finite numbers",
        f"{source}: shapes[1], points: expected at least 3 pairs",
        f"{source}: shapes[2], points",
        f"{source}: shapes[3], points",
        f"{source}: shapes[7]: expected an object",
        f"{source}: object 1: there is no class",
        f"{source}: object 2 (cat), x 1 to 1, y 2 to 4: the box is empty",
        f"{source}: object 3 (cat), x 300 to 310, y 2 to 4: wholly outside",
        f"{lost}: imagePath = 'lost.jpg': there is no such image",
        f"{other}: there is no list `shapes`",
        f"second.json: its image {root / 'a.jpg'} is that of {source} already",
    ):
        assert words in err
    assert not output.parent.exists()
    assert convert("labelme", root, output, "--on-error", "skip") == 0
    assert boxes_in_coco(output) == {"default": {"a.jpg": [CAT_BOX]}}
    assert "left out for their faults: 11" in capsys.readouterr().out


def test_labelme_json_as_voc(tmp_path, output):
    for name in ("a", "b", "c"):
        write_image(tmp_path / "in" / f"{name}.jpg")
        write_json(tmp_path / "in" / f"{name}.json", f"{name}.jpg", CAT)
    assert convert("labelme", tmp_path / "in", output, "--to", "voc") == 0
    # Columns 10 to 39 and rows 20 to 24, counted from 1.
    box = [("cat", 11, 21, 40, 25, 0)]
    assert boxes_in_voc(output) == {"default": {"a": box, "b": box, "c": box}}
    assert find_format(DataConfig(root=str(output))) == (output, "voc")


def test_names_that_are_no_place_inside_or_no_text_are_refused():
    cat = ForeignObject("cat", (1, 2, 3, 4), 4)
    content = io.BytesIO()
    Image.new("RGB", (20, 10)).save(content, "PNG")
    names = {
        "../a.png": "train",
        "/a.png": "train",
        "a": "train",
        "a\0.png": "train",
        "a\udce9.png": "train",
        "b.png": "x/../../y",
        "c.png": "..",
        "d.png": "",
        "e.jpg": "train",
        "e.png": "train",
    }
    found = ForeignSet()
    for name, split in names.items():
        image = ForeignImage(name, split, content.getvalue(), f"{split}/{name}", (cat,))
        found.images.append(image)
    bad = ForeignObject("c\udce9t", (1, 2, 3, 4), 4)
    found.images.append(dataclasses.replace(image, name="f.png", objects=(bad, cat)))
    images = check_images(found)
    assert [image.name for image in images] == ["d.png", "e.jpg", "f.png"]
    assert len(found.faults) == 9 and len(images[-1].objects) == 1
    assert sum("Expected a path inside of the data set" in fault for fault in found.faults) == 5
    assert sum("Expected a name without folders" in fault for fault in found.faults) == 2
    assert {
        split: [image.name for image in some] for split, some in name_splits(images).items()
    } == {
        "train": ["e.jpg", "f.png"],
        "default": ["d.png"],
    }
    lone = [
        dataclasses.replace(image, split=split)
        for image, split in zip(images, ["", "x", "y"], strict=True)
    ]
    assert [image.name for image in name_splits(lone)["default"]] == [
        "default/d.png",
        "x/e.jpg",
        "y/f.png",
    ]


def test_labels_beside_the_folders_of_splits(tmp_path, output, capsys):
    root = tmp_path / "in"
    for folder in (root, root / "train"):
        write_image(folder / "a.jpg")
        write_json(folder / "a.json", "a.jpg", CAT)
    assert convert("labelme", root, output) == 0
    assert boxes_in_coco(output) == {
        "default": {"a.jpg": [CAT_BOX]},
        "train": {"a.jpg": [CAT_BOX]},
    }
    assert capsys.readouterr().out.splitlines()[1:4] == [
        "2 images, 2 boxes",
        "split train: 1 image, 1 box",
        "split default: 1 image, 1 box",
    ]


def test_pipes_are_not_waited_for(tmp_path, output, capsys):
    write_image(tmp_path / "in" / "a.jpg")
    write_json(tmp_path / "in" / "a.json", "a.jpg", CAT)
    os.mkfifo(tmp_path / "in" / "b.json")
    os.mkfifo(tmp_path / "in" / "b.xml")
    assert convert("labelme", tmp_path / "in", output) == 2
    assert (
        "b.json: cannot be read as JSON (it is a named pipe, not a file). Expected a file of "
        "LabelMe" in capsys.readouterr().err
    )


def test_an_output_in_the_source_is_no_part_of_it(tmp_path, capsys):
    write_image(tmp_path / "a.jpg")
    write_json(tmp_path / "a.json", "a.jpg", CAT)
    assert convert("labelme", tmp_path, tmp_path / "coco") == 0
    assert "no annotation names" not in capsys.readouterr().out


# === Formats, folders, the library ===


def test_unknown_formats_and_those_that_are_read_as_they_are(tmp_path, output, capsys):
    assert convert("kittens", tmp_path, output) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: --from kittens: expected one of {', '.join(FORMATS)}.")
    assert all(known.what in err for known in FORMATS.values())
    assert convert("voc", tmp_path, output) == 2
    err = capsys.readouterr().err
    assert f"is read as it is, `--data.format voc --data.root {tmp_path}`" in err


def test_help_lists_the_formats(capsys):
    with pytest.raises(SystemExit):
        convert("cvat", "--help", "")
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}: {known.what}" in text for name, known in FORMATS.items())


@pytest.mark.parametrize("is_link", [False, True])
def test_an_output_that_holds_something_is_left_alone_an_empty_one_is_filled(
    tmp_path, capsys, is_link
):
    write_image(tmp_path / "in" / "a.jpg")
    write_json(tmp_path / "in" / "a.json", "a.jpg", CAT)
    output = real = tmp_path / "out"
    real.mkdir()
    if is_link:
        output = tmp_path / "link"
        output.symlink_to(real)
    kept = write_text(real / "kept.txt", "mine")
    assert convert("labelme", tmp_path / "in", output) == 2
    assert f"{output}: there is something already" in capsys.readouterr().err
    assert [path.name for path in real.iterdir()] == ["kept.txt"]
    kept.unlink()
    assert convert("labelme", tmp_path / "in", output) == 0
    assert boxes_in_coco(real) == {"default": {"a.jpg": [CAT_BOX]}}
    assert output.is_symlink() == is_link
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_no_source_no_box_and_no_place_to_write_to(tmp_path, output, capsys):
    assert convert("labelme", tmp_path / "nowhere", output) == 2
    assert "nowhere: there is no such folder" in capsys.readouterr().err
    write_image(tmp_path / "in" / "a.jpg")
    write_json(tmp_path / "in" / "a.json", "a.jpg")
    assert convert("labelme", tmp_path / "in", output) == 2
    assert "no box in 1 image. Expected JSON of LabelMe" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert convert("labelme", tmp_path / "in", tmp_path / "file") == 2
    assert "file: is a file. Expected a folder" in capsys.readouterr().err
    assert not output.parent.exists()


@pytest.mark.parametrize("module", [None, ModuleType("datumaro")])
def test_without_datumaro_the_extra_is_named(tmp_path, output, capsys, monkeypatch, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == "datumaro"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "datumaro", module)
    assert convert("datumaro", tmp_path, output) == 2
    err = capsys.readouterr().err
    assert "the extra convert: `python -m pip install -e '.[convert]'`, in an" in err
    assert "Traceback" not in err and not output.parent.exists()


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path, output, capsys, monkeypatch):
    write_image(tmp_path / "in" / "a.jpg")
    write_json(tmp_path / "in" / "a.json", "a.jpg", CAT)

    def fail(*paths):
        raise OSError(28, os.strerror(28), str(paths[1]))

    monkeypatch.setattr("tf_frcnn.conversion.writers.shutil.copyfile", fail)
    assert convert("labelme", tmp_path / "in", output) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# === The message where no format is found ===


@pytest.mark.parametrize("name", ["cvat", "labelme", "wider_face", "kitti", "vott", "datumaro", ""])
def test_no_data_set_found_names_the_command(tmp_path, name):
    if name == "cvat":
        write_cvat(tmp_path)
    if name == "labelme":
        write_json(tmp_path / "a.json", "a.jpg", CAT)
    if name == "wider_face":
        write_text(tmp_path / "wider_face_split" / "x.txt", "")
    if name == "kitti":
        write_text(tmp_path / "training" / "label_2" / "x.txt", "")
    if name == "vott":
        write_text(tmp_path / "pets-export.json", "{}")
    if name == "datumaro":
        text = '{"categories": {"label": {}}, "items": [{"annotations": []}]}'
        write_text(tmp_path / "annotations" / "train.json", text)
    with pytest.raises(DataError) as caught:
        find_format(DataConfig(root=str(tmp_path)))
    message = str(caught.value)
    assert f"{tmp_path}: no data set found: the folder " in message
    assert "Known are, by --data.format voc, coco, yolo, csv, tfds" in message
    assert (f"This looks like {name}." in message) == bool(name)
    assert f"`tf-frcnn convert-data --from {name or 'FORMAT'} {tmp_path} OUTPUT`" in message
