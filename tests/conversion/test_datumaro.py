"""Every format that Datumaro reads: hand-written sources, and the boxes that have to come out."""

import re

import numpy as np
import pytest

from tests.conversion import sources
from tests.conversion.reading import boxes_in_coco, boxes_in_voc, convert
from tests.conversion.sources import (
    cvat_box,
    cvat_image,
    cvat_shape,
    datumaro_item,
    datumaro_shape,
    labelme_object,
    write_cvat,
    write_datumaro,
    write_image,
    write_labelme,
    write_open_images,
    write_wider,
)
from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import load_datasets, read_datasets

pytest.importorskip("datumaro", reason="the extra convert is not installed")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "made" / "here"


def lines_of(capsys):
    return capsys.readouterr().out.splitlines()


# === CVAT ===

DIFFICULT = '<attribute name="difficult">true</attribute>'
CVAT_SHAPES = [
    cvat_box(10, 20, 40, 25.5),
    cvat_box(0, 0, 10, 10).replace("></box>", f">{DIFFICULT}</box>"),
    # 40 wide and 20 high about (70, 60): turned by a quarter, 20 wide and 40 high.
    cvat_box(50, 50, 90, 70, "dog", rotation="90.00"),
    cvat_shape("polygon", points="1,2;30,2;30,40"),
    # Runs of 1 pixel off, 2 on, 3 off in rows of 3 pixels from (5, 6): columns 6 and 7 of row 6.
    cvat_shape("mask", rle="1,2,3", left=5, top=6, width=3, height=2),
    cvat_shape("points", points="1,2"),
    cvat_shape("polyline", points="1,2;3,4"),
    cvat_shape("ellipse", cx=50, cy=50, rx=10, ry=5),
    '<tag label="dog" source="manual"></tag>',
]
CVAT_BOXES = [
    ("cat", 10, 20, 30, 5.5, 0),
    ("cat", 0, 0, 10, 10, 1),
    ("dog", 60, 40, 20, 40, 0),
    ("cat", 1, 2, 29, 38, 0),
    ("cat", 6, 6, 2, 1, 0),
]


def test_cvat_for_images(tmp_path, output, capsys):
    root = tmp_path / "cvat"
    for name in ("images/a.jpg", "images/sub/b.png", "images/unused.jpg"):
        write_image(root / name)
    write_cvat(root, cvat_image(0, "a.jpg", *CVAT_SHAPES), cvat_image(1, "sub/b.png"))
    assert convert("cvat", root, output) == 0
    assert boxes_in_coco(output) == {"default": {"a.jpg": CVAT_BOXES, "sub/b.png": []}}
    for name in ("a.jpg", "sub/b.png"):
        assert (output / "images" / name).read_bytes() == (root / "images" / name).read_bytes()
    assert lines_of(capsys) == [
        f"{output}: written as coco, and read again",
        "2 images, 5 boxes",
        "no splits: training divides the images 80/10/10",
        "2 classes: cat 4, dog 1",
        "crowds and difficult boxes, not trained on: 1",
        "boxes around other shapes: turned boxes 1, polygons 1, masks 1",
        "left out, being no boxes: ellipses 1, points 1, lines 1, labels of whole images 1",
        "image files that no annotation names, not taken: 1; the first: "
        f"{root / 'images' / 'unused.jpg'}",
        f"Next: tf-frcnn check-data --data.root {output}",
    ]


def test_cvat_images_beside_a_file_without_meta(tmp_path, output):
    root = tmp_path / "cvat"
    write_image(root / "a.jpg")
    write_cvat(root, cvat_image(0, "a.jpg", *CVAT_SHAPES))
    path = root / "annotations.xml"
    path.write_text(re.sub("<meta>.*</meta>", "", path.read_text()))
    for number, source in enumerate((root, path)):
        assert convert("cvat", source, output / str(number)) == 0
        assert boxes_in_coco(output / str(number)) == {"default": {"a.jpg": CVAT_BOXES}}


def test_boxes_that_have_left_a_video_are_left_out(tmp_path, output, capsys):
    root = tmp_path / "cvat"
    places = 'keyframe="1" occluded="0" xtl="1" ytl="2" xbr="30" ybr="40" z_order="0"></box>'
    boxes = [f'<box frame="{n}" outside="{int(n == 1)}" {places}' for n in range(2)]
    for number in range(2):
        write_image(root / "images" / f"frame_{number:06d}.png")
    write_cvat(root, tracks=f'<track id="0" label="cat" source="manual">{"".join(boxes)}</track>')
    assert convert("cvat", root, output) == 0
    assert boxes_in_coco(output) == {
        "default": {"frame_000000.png": [("cat", 1, 2, 29, 38, 0)], "frame_000001.png": []}
    }
    written = lines_of(capsys)
    assert "left out, being no boxes: boxes of objects that have left the frame 1" in written
    assert "classes without a box, left out: dog" in written


def test_tasks_that_are_no_splits_become_folders_of_one_set(tmp_path, output):
    root = tmp_path / "cvat"
    for name, image in (("monday", "a.jpg"), ("friday", "b.jpg")):
        write_image(root / "images" / image)
        write_cvat(root, cvat_image(0, image, cvat_box(10, 20, 40, 25)), name=name)
    assert convert("cvat", root, output) == 0
    box = [("cat", 10, 20, 30, 5, 0)]
    assert boxes_in_coco(output) == {"default": {"friday/b.jpg": box, "monday/a.jpg": box}}


def test_a_project_keeps_its_splits(tmp_path, output):
    root = tmp_path / "cvat"
    images = []
    for number, split in enumerate(("Train", "Validation")):
        write_image(root / "images" / split / "a.jpg")
        image = cvat_image(number, "a.jpg", cvat_box(10, 20, 40, 25, f" {split.lower()} "))
        images.append(image.replace("<image ", f'<image subset="{split}" '))
    write_cvat(root, *images, labels=(" train ", " validation "))
    path = root / "annotations.xml"
    subsets = "<subsets><subset>Train</subset><subset>Validation</subset></subsets>"
    text = path.read_text().replace("</labels>", f"</labels>{subsets}")
    path.write_text(text.replace("<task>", "<project>").replace("</task>", "</project>"))
    assert convert("cvat", root, output) == 0
    assert boxes_in_coco(output) == {
        "Train": {"a.jpg": [("train", 10, 20, 30, 5, 0)]},
        "Validation": {"a.jpg": [("validation", 10, 20, 30, 5, 0)]},
    }
    datasets = read_datasets(DataConfig(root=str(output)), seed=0)
    assert [data.split for data in datasets.values()] == ["Train", "Validation", "Validation"]


# === LabelMe's XML, Open Images, Datumaro, WIDER FACE, VoTT, KITTI ===


def test_labelme_xml(tmp_path, output, capsys):
    corners = [(10, 20), (40, 20), (40, 25), (10, 25)]
    triangle = [(50, 50), (90, 60), (70, 70)]
    shapes = [
        labelme_object(0, "cat", corners, is_box=True),
        labelme_object(1, "dog", triangle),
        labelme_object(2, "dog", triangle, deleted=1),
    ]
    write_labelme(tmp_path / "in", "train", "a", *shapes)
    write_labelme(tmp_path / "in", "val", "b")
    assert convert("labelme", tmp_path / "in", output) == 0
    assert boxes_in_coco(output) == {
        "train": {"a.jpg": [("cat", 10, 20, 30, 5, 0), ("dog", 50, 50, 40, 20, 0)]},
        "val": {"b.jpg": []},
    }
    assert "boxes around other shapes: polygons 1" in lines_of(capsys)


def test_open_images_as_our_reader_of_tables_has_them(tmp_path, output, capsys):
    # 0.05 and 0.2 of 200 columns, 0.2 and 0.25 of 100 rows: x 10 to 40, y 20 to 25.
    boxes = {
        "train": [
            ("a", "/m/01yrx", 0.05, 0.2, 0.2, 0.25, False),
            ("a", "/m/0bt9lr", 0.5, 1, 0.5, 0.75, True),
        ],
        "validation": [("b", "/m/01yrx", 0, 1, 0, 1, False)],
    }
    root = write_open_images(tmp_path / "in", boxes)
    assert convert("open_images", root, output) == 0
    assert boxes_in_coco(output) == {
        "train": {"a.jpg": [("Cat", 10, 20, 30, 5, 0), ("Dog", 100, 50, 100, 25, 1)]},
        "validation": {"b.jpg": [("Cat", 0, 0, 200, 100, 0)]},
    }
    written = lines_of(capsys)
    assert "split train: 1 image, 2 boxes" in written
    assert "crowds and difficult boxes, not trained on: 1" in written
    assert "classes without a box, left out: Ant" in written
    before, after = (
        read_datasets(DataConfig(root=str(path), format=name, classes=("Cat", "Dog")), seed=0)
        for path, name in ((root, "csv"), (output, "coco"))
    )
    for role in ("train", "val"):
        (one,), (other,) = before[role].examples, after[role].examples
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-5)
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.crowd, other.crowd)


def test_datumaros_own_and_what_one_group_is(tmp_path, output, capsys):
    triangle = [10, 20, 40, 20, 40, 25]
    items = [
        datumaro_item(
            "sub/a",
            # A box with its polygon; two parts of one object: x 50 to 90, y 50 to 90.
            datumaro_shape("bbox", bbox=[10, 20, 30, 5], group=1),
            datumaro_shape("polygon", points=triangle, group=1),
            datumaro_shape("polygon", 1, points=[50, 50, 60, 50, 60, 60], group=2),
            datumaro_shape("polygon", 1, points=[80, 80, 90, 80, 90, 90], group=2),
            datumaro_shape("bbox", 1, bbox=[1, 2, 3, 4], attributes={"is_crowd": True}),
            datumaro_shape("label"),
        )
    ]
    root = write_datumaro(tmp_path / "in", {"train": items, "test": [datumaro_item("b")]})
    for to, expected in (
        (
            "coco",
            {
                "sub/a.png": [
                    ("cat", 10, 20, 30, 5, 0),
                    ("dog", 50, 50, 40, 40, 0),
                    ("dog", 1, 2, 3, 4, 1),
                ]
            },
        ),
        # VOC counts from 1 and its last pixel is inside: columns 10 to 39 are 11 to 40.
        (
            "voc",
            {
                "train/sub/a": [
                    ("cat", 11, 21, 40, 25, 0),
                    ("dog", 51, 51, 90, 90, 0),
                    ("dog", 2, 3, 4, 6, 1),
                ]
            },
        ),
    ):
        assert convert("datumaro", root, output / to, "--to", to) == 0
        read = {"coco": boxes_in_coco, "voc": boxes_in_voc}[to](output / to)
        assert read["train"] == expected and list(read["test"].values()) == [[]]
        written = lines_of(capsys)
        assert "split train: 1 image, 3 boxes" in written
        assert "boxes around other shapes: polygons 1" in written
        options = {"val_split": "none", "classes": ("cat", "dog")}
        datasets = load_datasets(DataConfig(root=str(output / to), **options), seed=0)
        (example,) = datasets["train"].examples
        assert example.boxes.tolist() == [[20, 10, 25, 40], [50, 50, 90, 90], [2, 1, 6, 4]]
        assert example.is_trained_on.tolist() == [True, True, False]


def test_an_empty_mask_is_a_fault(tmp_path, output, capsys):
    empty = cvat_shape("mask", rle="6", left=5, top=6, width=3, height=2)
    root = write_cvat(tmp_path / "in", cvat_image(0, "a.jpg", empty, cvat_box(1, 2, 3, 4)))
    write_image(root / "images" / "a.jpg")
    assert convert("cvat", root, output) == 2
    err = capsys.readouterr().err
    assert "annotations/a: mask (cat): there is no box around it" in err and "1 fault" in err
    assert convert("cvat", root, output, "--on-error", "skip") == 0
    assert boxes_in_coco(output) == {"default": {"a.jpg": [("cat", 1, 2, 2, 2, 0)]}}


def test_wider_face_and_boxes_with_faults(tmp_path, output, capsys):
    splits = {
        "train": {
            "0--Parade/a.jpg": [
                "10 20 30 5 0 0 0 0 0 0",
                "50 50 0 9 0 0 0 0 0 0",  # not wide at all
                "60 10 20 20 2 0 0 1 2 0",  # the eighth number: invalid, not to be judged
                "80 10 20 20 2 1 1 0 1 1",  # the others: blur, expression, ..., occlusion, pose
            ],
            "1--Group/b.jpg": [],
        },
        "val": {"0--Parade/c.jpg": ["1 2 3 4 0 0 0 0 0 0"]},
    }
    root = write_wider(tmp_path / "in", splits)
    assert convert("wider_face", root, output) == 2
    err = capsys.readouterr().err
    assert "1 fault" in err and "`--on-error skip`" in err
    assert "train/a: object 2 (face), x 50 to 50, y 50 to 59: the box is empty" in err
    assert not output.parent.exists()
    assert convert("wider_face", root, output, "--on-error", "skip") == 0
    assert boxes_in_coco(output) == {
        "train": {
            "a.jpg": [
                ("face", 10, 20, 30, 5, 0),
                ("face", 60, 10, 20, 20, 1),
                ("face", 80, 10, 20, 20, 0),
            ],
            "b.jpg": [],
        },
        "val": {"c.jpg": [("face", 1, 2, 3, 4, 0)]},
    }
    assert "left out for their faults: 1, told above" in lines_of(capsys)


def test_vott_whose_paths_are_those_of_another_machine(tmp_path, output):
    regions = {"a.jpg": [("cat", 10, 20, 30, 5)], "b c.jpg": [("dog", 1.5, 2, 3, 4)]}
    root = sources.write_vott(tmp_path / "in", "pets", regions)
    assert convert("vott", root, output) == 0
    assert boxes_in_coco(output) == {
        "default": {
            "a.jpg": [("cat", 10, 20, 30, 5, 0)],
            "b c.jpg": [("dog", 1.5, 2, 3, 4, 0)],
        }
    }


def test_kitti_without_its_regions_of_no_class(tmp_path, output, capsys):
    lines = {"0": [("Car", 10, 20, 40.5, 25), ("DontCare", 1, 2, 3, 4)], "1": []}
    root = sources.write_kitti(tmp_path / "in", "training", lines)
    assert convert("kitti", root, output) == 0
    expected = {"0.png": [("Car", 10, 20, 30.5, 5, 0)], "1.png": []}
    assert boxes_in_coco(output) == {"training": expected}
    assert "left out, being no boxes: regions of DontCare 1" in lines_of(capsys)


# === What Datumaro itself writes ===


@pytest.mark.parametrize("name", ["cvat", "labelme", "open_images", "datumaro", "wider_face"])
def test_what_datumaro_exports_comes_back(tmp_path, output, name):
    from datumaro.components.annotation import Bbox
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image

    boxes = {"a": [(10, 20, 30, 5, 1), (0.5, 0.25, 199.5, 99.75, 0)], "b": [(1, 2, 3, 4, 1)]}
    items = [
        DatasetItem(
            image,
            subset=split,
            media=Image.from_file(str(write_image(tmp_path / f"{image}.png"))),
            annotations=[Bbox(*box, label=label) for *box, label in boxes[image]],
        )
        for image, split in (("a", "train"), ("b", "val"))
    ]
    root = tmp_path / "exported"
    exported = {"labelme": "label_me"}.get(name, name)
    Dataset.from_iterable(items, categories=["cat", "dog"]).export(
        str(root), exported, save_media=True
    )
    assert convert(name, root, output) == 0
    assert boxes_in_coco(output) == {
        "train": {"a.png": [("dog", 10, 20, 30, 5, 0), ("cat", 0.5, 0.25, 199.5, 99.75, 0)]},
        "val": {"b.png": [("dog", 1, 2, 3, 4, 0)]},
    }


# === What cannot be converted ===


def test_images_that_are_turned_keep_their_tag_and_state_only_what_the_source_does(
    tmp_path, output
):
    root = tmp_path / "cvat"
    exif = sources.Image.Exif()
    exif[0x0112] = 6  # stored 200 x 100, shown 100 x 200
    for name in ("a.jpg", "b.jpg"):
        write_image(root / "images" / name, exif=exif)
    shown = (200, 100)
    images = [
        cvat_image(n, name, cvat_box(10, 120, 40, 190), size=shown)
        for n, name in enumerate(("a.jpg", "b.jpg"))
    ]
    write_cvat(root, *images)
    assert convert("cvat", root, output) == 0
    options = {"val_split": "none", "test_split": "none"}
    dataset = read_datasets(DataConfig(root=str(output), **options), seed=0)["train"]
    assert dataset.exif == "apply" and {item.orientation for item in dataset.examples} == {6}
    assert dataset.examples[0].boxes.tolist() == [[120, 10, 190, 40]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("open_images", ["finds no data set of format open_images there. It looks like cvat, by"]),
        ("cvat", ["annotations.xml: Datumaro cannot read it as cvat", "which has name=a.jpg"]),
    ],
)
def test_a_source_of_another_kind_or_without_its_images(tmp_path, output, capsys, name, expected):
    root = write_cvat(tmp_path / "in", cvat_image(0, "a.jpg", cvat_box(1, 2, 3, 4)))
    (root / "images").mkdir()
    assert convert(name, root, output) == 2
    err = capsys.readouterr().err
    assert all(words in err for words in expected) and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["cvat", "labelme", "open_images", "datumaro", "wider_face"])
def test_an_empty_folder_is_none_of_them(tmp_path, output, capsys, name):
    (tmp_path / "in").mkdir()
    assert convert(name, tmp_path / "in", output) == 2
    assert "Datumaro finds no data set of format" in capsys.readouterr().err
    assert not output.parent.exists()


def test_an_image_outside_of_the_source_is_not_taken(tmp_path, output, capsys):
    root = write_datumaro(tmp_path / "in", {"train": [datumaro_item("a")]})
    write_image(tmp_path / "secret.png")
    path = root / "annotations" / "train.json"
    path.write_text(path.read_text().replace("a.png", "../../../secret.png"))
    assert convert("datumaro", root, output) == 2
    assert "secret.png" not in [path.name for path in tmp_path.rglob("*") if "made" in path.parts]
    assert "Traceback" not in capsys.readouterr().err


def test_a_broken_file_or_image_leaves_nothing_behind(tmp_path, output, capsys):
    shape = datumaro_shape("bbox", bbox=[1, 2, 3, 4])
    root = write_datumaro(tmp_path / "in", {"train": [datumaro_item("a", shape)]})
    image = root / "images" / "train" / "a.png"
    image.write_bytes(b"no image")
    assert convert("datumaro", root, output) == 2
    assert f"train/a: {image}: the content is not that of an image" in capsys.readouterr().err
    (root / "annotations" / "train.json").write_text("{")
    assert convert("datumaro", root, output) == 2
    err = capsys.readouterr().err
    assert "train.json: Datumaro cannot read it as datumaro (JSONDecodeError: " in err
    assert "Expected Datumaro's own JSON." in err
    assert not output.parent.exists()


def test_what_the_readers_would_refuse_is_not_written(tmp_path, output, capsys):
    # Stated at half the size that all images have: every box would be in a wrong place.
    shape = datumaro_shape("bbox", bbox=[1, 2, 3, 4])
    items = [datumaro_item(name, shape, size=(50, 100)) for name in ("a", "b", "c")]
    root = write_datumaro(tmp_path / "in", {"train": items})
    assert convert("datumaro", root, output) == 2
    err = capsys.readouterr().err
    assert "what would be written cannot be used, so nothing was written" in err
    assert (
        "3 of 3 images" in err
        and "skip" not in err
        and f"{output / 'annotations' / 'instances_train.json'}" in err
    )
    assert not output.parent.exists()
    # VOC has no box of less than one pixel.
    narrow = datumaro_shape("bbox", bbox=[10.2, 20, 0.5, 5])
    root = write_datumaro(tmp_path / "narrow", {"train": [datumaro_item("a", narrow)]})
    assert convert("datumaro", root, output, "--to", "voc") == 2
    assert "the box is inverted" in capsys.readouterr().err
    assert convert("datumaro", root, output) == 0
