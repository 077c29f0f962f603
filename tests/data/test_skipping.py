"""`--data.on-error skip`: what is left out of a data set, what stays, and what is said of it."""

import logging

import pytest
from PIL import Image

from tests.conftest import voc_xml
from tests.data import coco_writer, voc_writer
from tests.data.voc_writer import SIZE
from tf_frcnn.config import DataConfig
from tf_frcnn.data.faults import log_faults
from tf_frcnn.data.loading import read_dataset, read_datasets
from tf_frcnn.data.verification import verify_images
from tf_frcnn.errors import DataError
from tf_frcnn.evaluation.evaluator import compute_metrics


def skipping(root, **options):
    options = {"val_split": "none", "test_split": "none", "on_error": "skip", **options}
    return DataConfig(root=str(root), **options)


def write_faulty_voc(root):
    """Write five images: a and e are sound, b has a good and a bad box, c and d are unusable."""
    voc_writer.write_voc(
        root,
        {
            "a": voc_xml(SIZE, [("cat", 1, 2, 30, 40)]),
            "b": voc_xml(SIZE, [("cat", 50, 2, 30, 40), ("dog", 5, 6, 70, 80)]),  # xmin > xmax
            "c": "<annotation><object>",
            "d": voc_xml(SIZE, [("cat", 1, 2, 3, 4)]),
            "e": voc_xml(SIZE, []),
        },
    )
    (root / "JPEGImages" / "d.png").write_bytes(b"no image")
    return root


def test_voc_drops_bad_boxes_and_unreadable_images(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        train = read_datasets(skipping(write_faulty_voc(tmp_path)), seed=0)["train"]
    assert [example.image_id for example in train.examples] == ["a", "b", "e"]
    assert [len(example.boxes) for example in train.examples] == [1, 1, 0]
    # VOC 5..70 and 6..80, 1-based inclusive -> yxyx [5, 4, 80, 70].
    assert train.examples[1].boxes.tolist() == [[5, 4, 80, 70]]
    assert (train.num_images_left_out, train.num_boxes_left_out) == (2, 1)
    warning = next(record.message for record in caplog.records if "3 faults" in record.message)
    assert "b.xml: object 1 (cat), xmin = 50 and xmax = 30" in warning
    assert "c.xml" in warning and "d.png" in warning
    assert "Going on without these boxes and images" in warning


def test_the_default_stops_and_says_how_to_go_on(tmp_path):
    with pytest.raises(DataError, match="(?s)3 faults.*--data.on-error skip") as caught:
        read_datasets(skipping(write_faulty_voc(tmp_path), on_error="stop"), seed=0)
    assert caught.value.exit_status == 2


def test_objects_of_other_classes_are_left_out_and_counted(tmp_path):
    root = voc_writer.write_one(tmp_path, ("cat", 1, 2, 3, 4), ("dog", 1, 2, 9, 9))
    train = read_datasets(skipping(root, classes=("cat",)), seed=0)["train"]
    assert train.examples[0].classes.tolist() == [1]
    assert (train.num_images_left_out, train.num_boxes_left_out) == (0, 1)


def test_coco_counts_images_of_the_split_only(tmp_path):
    entry, note = coco_writer.image, coco_writer.annotation
    nan_box, outside = [1, 2, float("nan"), 4], [500, 0, 10, 10]
    coco_writer.write_coco(
        tmp_path,
        coco_writer.content(
            [entry(0), entry(1), entry(9), {"id": 5}],  # p9.png is missing; 5 has no name
            [
                note(1, 0, nan_box),
                note(2, 0, [1, 2, 30, 4]),
                note(3, 1, outside),
                note(4, 9, outside),
            ],
        ),
    )
    coco_writer.write_coco(
        tmp_path, coco_writer.content([entry(2)], [note(1, 2, [0, 0, 5, 6])]), split="val"
    )
    datasets = read_datasets(skipping(tmp_path, val_split="val"), seed=0)
    train, val = datasets["train"], datasets["val"]
    assert [len(example.boxes) for example in train.examples] == [1, 0]
    # The boxes of an image that is left out go with it and are not counted again.
    assert (train.num_images_left_out, train.num_boxes_left_out) == (2, 2)
    assert (val.num_images_left_out, val.num_boxes_left_out) == (0, 0)


@pytest.mark.parametrize("data_format", ["voc", "coco"])
def test_nothing_left_is_an_error(tmp_path, data_format):
    if data_format == "voc":
        root = voc_writer.write_voc(tmp_path, {"a": "<annotation>", "b": "no XML"})
    else:
        root = coco_writer.write_coco(tmp_path, "{", count=0)
    with pytest.raises(DataError, match="split train: no image is left"):
        read_datasets(skipping(root, format=data_format, classes=("cat",)), seed=0)


def test_an_image_that_cannot_be_decoded_is_left_out_before_training(voc_folder, caplog):
    datasets = read_datasets(skipping(voc_folder, val_split="val"), seed=0)
    broken = datasets["train"].examples[2].image_path
    broken.write_bytes(broken.read_bytes()[:-200])  # the header is whole
    kept = verify_images(datasets, on_faults=log_faults)
    assert [len(kept[role].examples) for role in ("train", "val")] == [5, 2]
    assert broken not in [example.image_path for example in kept["train"].examples]
    assert kept["train"].num_images_left_out == 1 and kept["val"].num_images_left_out == 0
    assert str(broken) in caplog.text


def test_an_image_that_lost_all_of_its_boxes_stays_and_is_named(tmp_path, caplog):
    annotations = {
        "all_bad": voc_xml(SIZE, [("cat", 50, 2, 30, 40), ("dog", 9, 9, 5, 5)]),
        "other_class": voc_xml(SIZE, [("duck", 1, 2, 3, 4)]),
        "half": voc_xml(SIZE, [("cat", 50, 2, 30, 40), ("cat", 5, 6, 70, 80)]),
        "none": voc_xml(SIZE, []),
    }
    root = voc_writer.write_voc(tmp_path, annotations)
    train = read_datasets(skipping(root, classes=("cat", "dog")), seed=0)["train"]
    assert {e.image_id: len(e.boxes) for e in train.examples} == {
        "all_bad": 0,
        "other_class": 0,
        "half": 1,
        "none": 0,
    }
    warning = next(r.message for r in caplog.records if "kept as images without" in r.message)
    assert "without objects: 2: " in warning and "counts as background" in warning
    assert "all_bad.xml" in warning and "other_class.xml" in warning
    assert "half.xml" not in warning and "none.xml" not in warning


def test_what_was_left_out_stands_in_the_metrics(tmp_path):
    config = skipping(write_faulty_voc(tmp_path))
    dataset = read_dataset(config, "train", ("cat", "dog"), seed=0)
    metrics = compute_metrics(dataset, [])
    assert (metrics["num_pictures_left_out"], metrics["num_boxes_left_out"]) == (2, 1)
    assert (metrics["num_pictures"], metrics["num_boxes"]) == (3, 2)


def test_made_splits_do_not_change_when_a_broken_image_is_mended(tmp_path):
    entries = [coco_writer.image(number) for number in range(20)]
    notes = [coco_writer.annotation(1 + n, n, [1, 2, 30, 40]) for n in range(20)]
    coco_writer.write_images(tmp_path / "images", *(f"p{number}.png" for number in range(20)))
    coco_writer.write_json(tmp_path / "all.json", coco_writer.content(entries, notes))
    config = skipping(tmp_path, val_split="val", test_split="test")

    def ids():
        datasets = read_datasets(config, seed=3)
        return {role: [e.image_id for e in dataset.examples] for role, dataset in datasets.items()}

    whole = ids()
    broken = whole["train"][4]
    (tmp_path / "images" / f"p{broken}.png").write_bytes(b"")
    without = {role: [i for i in names if i != broken] for role, names in whole.items()}
    assert ids() == without
    Image.new("RGB", (200, 100)).save(tmp_path / "images" / f"p{broken}.png")
    assert ids() == whole
