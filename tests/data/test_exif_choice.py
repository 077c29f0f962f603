"""In whose pixels boxes are where images have an EXIF orientation: one choice for a data set."""

import logging

import numpy as np
import pytest
from PIL import Image

from tests.conftest import voc_xml
from tests.data.coco_writer import annotation, content, image, write_json
from tf_frcnn.config import DataConfig, ModelConfig
from tf_frcnn.data.coco import read_coco
from tf_frcnn.data.csv_table import read_csv
from tf_frcnn.data.image import read_image
from tf_frcnn.data.loading import load_dataset, load_datasets
from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.verification import verify_images
from tf_frcnn.data.voc import read_voc
from tf_frcnn.data.yolo import read_yolo
from tf_frcnn.doctor.check import check_data
from tf_frcnn.doctor.remarks import list_remarks
from tf_frcnn.errors import DataError

SHOWN = (60, 40)  # (height, width) of what a viewer shows; a quarter turn stores 40 x 60
STORED = SHOWN[::-1]
BOX = (10, 5, 30, 25)  # xmin, ymin, xmax, ymax of a green box on the shown image, half-open
# Of orientation 6: x is the shown y, 5 to 25; y is the shown x from the right, 40 - 30 to 40 - 10.
STORED_BOX = (5, 10, 25, 30)
GREEN, GREY = (20, 200, 40), (90, 90, 90)


def write_turned(path, orientation):
    """Write an image that a viewer shows as SHOWN, with a green BOX."""
    pixels = np.full((*SHOWN, 3), GREY, np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = GREEN
    # What turning upright undoes: EXIF 2.32, table 6, from the shown image to the stored one.
    transposed = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, 1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels, -1),
    }
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(transposed[orientation])).save(path, exif=exif)


def write_coco(root, orientations, sizes, split="train"):
    """Write a COCO set: an image of each orientation with BOX, and these stated (height, width)."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    entries, boxes = [], []
    for number, (orientation, size) in enumerate(zip(orientations, sizes, strict=True)):
        name = f"{split}{number}.png"
        write_turned(root / "images" / name, orientation)
        stated = {"height": size[0], "width": size[1]} if size else {"height": None, "width": None}
        entries.append(image(number, file_name=name, **stated))
        xmin, ymin, xmax, ymax = STORED_BOX if size == STORED and orientation == 6 else BOX
        boxes.append(annotation(number, number, [xmin, ymin, xmax - xmin, ymax - ymin]))
    write_json(root / "annotations" / f"instances_{split}.json", content(entries, boxes))
    return root


def read_train(root, exif="auto", **options):
    return read_coco(root, ("train",), (), Divider(0), exif=exif, **options)["train"]


def message_of(root, exif="auto"):
    with pytest.raises(DataError) as caught:
        read_train(root, exif)
    return str(caught.value)


def colour_in_box(example):
    ymin, xmin, ymax, xmax = example.boxes[0].astype(int)
    pixels = read_image(example.image_path, example.orientation)
    assert pixels.shape[:2] == example.image_size
    is_green = (pixels == GREEN).all(axis=-1)
    assert is_green.sum() == 20 * 20  # BOX and nothing else
    return is_green[ymin:ymax, xmin:xmax].mean()


def mean_in_box(example):
    """Average the colour in the first box, but for its edges, which JPEG blurs."""
    ymin, xmin, ymax, xmax = example.boxes[0].round().astype(int)
    pixels = read_image(example.image_path, example.orientation)
    return pixels[ymin + 2 : ymax - 2, xmin + 2 : xmax - 2].mean(axis=(0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_drawn_on_what_is_shown_hold_their_object(orientation, tmp_path):
    dataset = read_train(write_coco(tmp_path, [orientation], [SHOWN]))
    (example,) = dataset.examples
    assert (dataset.exif, example.orientation) == ("apply", orientation)
    assert example.image_size == SHOWN
    assert example.stored_size == (STORED if orientation >= 5 else SHOWN)
    assert example.boxes.tolist() == [[5, 10, 25, 30]]  # BOX as yxyx
    assert colour_in_box(example) == 1.0


def test_all_stated_sizes_of_the_stored_pixels_speak_for_these(tmp_path, caplog):
    # Square shapes and images without a stated size or an orientation say nothing.
    root = write_coco(tmp_path, [6, 6, 6, 1], [STORED, STORED, None, SHOWN])
    with caplog.at_level(logging.INFO):
        dataset = read_train(root)
    assert dataset.exif == "ignore"
    assert [example.orientation for example in dataset.examples] == [1, 1, 1, 1]
    assert [example.image_size for example in dataset.examples] == [STORED] * 3 + [SHOWN]
    assert colour_in_box(dataset.examples[0]) == 1.0
    (record,) = [record for record in caplog.records if "EXIF" in record.getMessage()]
    assert record.levelname == "WARNING"  # of one nothing tells how its boxes were drawn
    assert (
        "orientation: 3, taken as they are stored (data.exif: ignore). The size of the turned "
        "image is stated by 0, that of the stored pixels by 2; nothing tells how the boxes of 1 "
        "were drawn, of which 0 have orientations 2 to 4, which keep the size"
    ) in record.getMessage()


def test_without_stated_sizes_images_are_turned(tmp_path):
    dataset = read_train(write_coco(tmp_path, [8, 3], [None, None]))
    assert dataset.exif == "apply"
    assert [example.orientation for example in dataset.examples] == [8, 3]


def test_orientation_3_keeps_the_size_and_is_counted(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        dataset = read_train(write_coco(tmp_path, [3, 3, 6], [SHOWN, SHOWN, SHOWN]))
    assert dataset.exif == "apply" and all(map(colour_in_box, dataset.examples))
    assert "boxes of 2 were drawn, of which 2 have orientations 2 to 4" in caplog.text
    assert "of the turned image is stated by 1" in caplog.text


def test_evidence_that_all_agrees_is_no_warning(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        read_train(write_coco(tmp_path, [6, 5], [SHOWN, SHOWN]))
    (record,) = [record for record in caplog.records if "EXIF" in record.getMessage()]
    assert record.levelname == "INFO" and "turned upright as viewers show them" in caplog.text
    assert "nothing tells" not in caplog.text


def test_a_size_that_contradicts_is_a_fault_of_its_image(tmp_path):
    root = write_coco(tmp_path, [6, 6, 6, 3], [SHOWN, STORED, SHOWN, SHOWN])
    message = message_of(root)
    assert "1 fault" in message and "images[1] (train1.png): the annotation states 60 x 40" in (
        message
    )
    assert "EXIF orientation 6, stored 60 x 40" in message
    assert "and --data.exif auto turns images upright. Of 3 images turned by a quarter, " in message
    assert "2 speak for `--data.exif apply`, 1 for `--data.exif ignore`: give the one" in message
    assert "--data.on-error skip" in message
    # Asked for stored pixels, it is the other two.
    message = message_of(root, "ignore")
    assert "2 faults" in message and "images[0]" in message and "images[2]" in message
    kept = read_train(root, on_faults=lambda *_: None)
    assert [example.image_id for example in kept.examples] == ["0", "2", "3"]
    assert kept.num_images_left_out == 1
    # Its file is looked at with the others, so that all that is wrong is told at once.
    assert [example.image_path.name for example in kept.left_out] == ["train1.png"]
    assert len(kept.left_out[0].boxes) == 0


def test_what_is_asked_for_is_done_whatever_speaks_against_it(tmp_path):
    root = write_coco(tmp_path, [6], [STORED])
    assert "--data.exif apply turns images upright" in message_of(root, "apply")
    assert read_train(root, "ignore").exif == "ignore"


def test_sizes_of_a_smaller_copy_speak_too(tmp_path):
    # 20 x 30 is the shown 40 x 60 halved.
    dataset = read_train(write_coco(tmp_path, [6], [(30, 20)]), on_faults=lambda *_: None)
    assert dataset.exif == "apply"
    dataset = read_train(write_coco(tmp_path, [6], [(20, 30)]), on_faults=lambda *_: None)
    assert dataset.exif == "ignore"


def test_the_splits_that_are_read_have_one_choice(tmp_path):
    write_coco(tmp_path, [1, 6], [SHOWN, STORED])
    write_coco(tmp_path, [6], [SHOWN], split="val")
    config = DataConfig(root=str(tmp_path), format="coco", test_split="none", on_error="skip")
    datasets = load_datasets(config, 0)
    assert {dataset.exif for dataset in datasets.values()} == {"apply"}
    assert datasets["train"].num_images_left_out == 1
    # A model's own choice goes on, whatever the split alone would say.
    assert load_dataset(config, "val", ("cat", "dog"), 0).exif == "apply"


@pytest.mark.parametrize(("stated", "choice"), [(SHOWN, "apply"), (STORED, "ignore")])
def test_voc_is_read_by_the_same_policy(stated, choice, tmp_path):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    xmin, ymin, xmax, ymax = BOX if choice == "apply" else STORED_BOX
    # VOC counts from 1, and the last pixel belongs to the box.
    for name, size, orientation in (("a", stated, 6), ("b", SHOWN, 3)):
        text = voc_xml(size, [("cat", xmin + 1, ymin + 1, xmax, ymax)])
        (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
        write_turned(tmp_path / "JPEGImages" / f"{name}.png", orientation)
    dataset = read_voc(tmp_path, ("train",), (), Divider(0))["train"]
    turned, half = dataset.examples
    assert dataset.exif == choice and turned.image_size == stated
    assert colour_in_box(turned) == 1.0
    assert half.orientation == (3 if choice == "apply" else 1)
    with pytest.raises(DataError, match=r"1 fault .*\n.*a\.xml: the annotation states"):
        other = "ignore" if choice == "apply" else "apply"
        read_voc(tmp_path, ("train",), (), Divider(0), exif=other)


def test_yolo_states_no_sizes_and_fractions_are_of_the_turned_image(tmp_path):
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    write_turned(tmp_path / "images" / "train" / "a.jpg", 6)
    write_turned(tmp_path / "images" / "train" / "background.jpg", 6)
    # BOX's centre (20, 15) and size 20 x 20, of 40 columns and 60 rows.
    text = f"0 {20 / 40} {15 / 60} {20 / 40} {20 / 60}"
    (tmp_path / "labels" / "train" / "a.txt").write_text(text)
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    dataset = read_yolo(tmp_path, ("train",), (), Divider(0))["train"]
    example, background = dataset.examples
    assert (dataset.exif, example.orientation, example.image_size) == ("apply", 6, SHOWN)
    assert example.boxes.round(4).tolist() == [[5, 10, 25, 30]]
    assert mean_in_box(example) == pytest.approx(GREEN, abs=3)
    assert (background.orientation, background.image_size) == (6, SHOWN)
    assert background.boxes.shape == (0, 4)
    # Asked for stored pixels, the fractions are of 60 columns and 40 rows: 15 to 45, 3.3 to 16.7.
    dataset = read_yolo(tmp_path, ("train",), (), Divider(0), exif="ignore")["train"]
    example = dataset.examples[0]
    assert (dataset.exif, example.orientation, example.image_size) == ("ignore", 1, STORED)
    assert example.boxes.round(1).tolist() == pytest.approx(np.array([[3.3, 15, 16.7, 45]]))


@pytest.mark.parametrize(
    ("header", "stated", "choice"),
    [
        ("width,height,", "40,60,", "apply"),
        ("width,height,", "60,40,", "ignore"),
        ("", "", "apply"),
    ],
)
def test_csv_is_read_by_the_same_policy(header, stated, choice, tmp_path, caplog):
    write_turned(tmp_path / "a.jpg", 6)
    box = BOX if choice == "apply" else STORED_BOX
    lines = (
        f"filename,{header}class,xmin,ymin,xmax,ymax",
        f"a.jpg,{stated}cat,{','.join(map(str, box))}",
    )
    (tmp_path / "train.csv").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        dataset = read_csv(tmp_path, ("train",), (), Divider(0))["train"]
    (example,) = dataset.examples
    assert dataset.exif == choice
    assert example.image_size == (SHOWN if choice == "apply" else STORED)
    assert mean_in_box(example) == pytest.approx(GREEN, abs=3)
    assert ("nothing tells how the boxes of 1" in caplog.text) == (not stated)
    other = "ignore" if choice == "apply" else "apply"
    if stated:
        with pytest.raises(DataError, match=r"line 2 \(a\.jpg\): the annotation states"):
            read_csv(tmp_path, ("train",), (), Divider(0), exif=other)


def test_what_the_network_is_given_is_turned(tmp_path):
    dataset = read_train(write_coco(tmp_path, [6], [SHOWN]))
    config = DataConfig(short_side=40, long_side=60)
    (batch,) = BatchPipeline(dataset, config, training=False)
    assert batch["image_sizes"].numpy().tolist() == [[60.0, 40.0]]
    pixels = batch["images"].numpy()[0]
    assert pixels.shape == (60, 40, 3)
    ymin, xmin, ymax, xmax = batch["gt_boxes"].numpy()[0, 0].astype(int)
    assert (pixels[ymin:ymax, xmin:xmax] == GREEN).all()


def test_an_image_stays_known_under_the_other_choice(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_coco(tmp_path / "data", [6, 3], [None, None])
    with caplog.at_level(logging.INFO):
        for exif in ("apply", "ignore", "apply"):
            verify_images({"train": read_train(root, exif)})
    checked = [text for text in caplog.messages if text.startswith("checked")]
    assert ["2 unchanged" in text for text in checked] == [False, True, True]


def test_check_data_says_what_is_done(tmp_path):
    root = write_coco(tmp_path, [6, 3, 1], [SHOWN, SHOWN, SHOWN])
    config = DataConfig(root=str(root), format="coco", val_split="none", test_split="none")
    report = check_data(config, ModelConfig(), 0).report
    assert report["pictures"]["exif"] == "apply"
    assert report["pictures"]["exif_orientations"] == {"3": 1, "6": 1}
    (remark,) = [text for text in list_remarks(report) if "EXIF" in text]
    assert remark == (
        "Images with an EXIF orientation: 2, turned upright as viewers show them (data.exif: "
        "apply): boxes must be drawn on the turned image. Of 1 with orientations 2 to 4 no stated "
        "size tells whether they are."
    )
