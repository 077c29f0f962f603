"""`tf-frcnn check-data` on folders with planted problems."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import voc_xml
from tests.data.voc_writer import write_without_lists
from tf_frcnn.cli import main
from tf_frcnn.doctor.remarks import list_remarks

KEYS = {
    *(
        "data",
        "would_stop_training",
        "verdict",
        "faults",
        "roles",
        "class_names",
        "splits",
        "pictures",
    ),
    *("duplicates", "suspicions", "anchors"),
}
SMALL = ("--data.short-side", "72", "--data.long-side", "96", "--model.anchor-sizes", "16", "32")


def check(root, output, *options):
    status = main(["check-data", "--data.root", str(root), "--output", str(output), *options])
    report = json.loads((output / "check_data.json").read_text())
    return status, report, (output / "check_data.html").read_text(encoding="utf-8")


def annotate(root, name, *objects):
    (root / "Annotations" / f"{name}.xml").write_text(voc_xml((72, 96), objects))


def make_distinct(root):
    """Turn the images of val and test: the fixtures draw those of the splits alike."""
    for split, way in (("val", Image.Transpose.ROTATE_180), ("test", Image.Transpose.TRANSPOSE)):
        for path in root.glob(f"*/{split}_*.jpg"):
            turned = Image.open(path).transpose(way).resize((96, 72))
            turned.save(path, quality=95)


@pytest.mark.parametrize("fixture", ["voc_folder", "coco_folder"])
def test_clean_folder(fixture, request, tmp_path, capsys):
    root = request.getfixturevalue(fixture)
    make_distinct(root)
    status, report, page = check(root, tmp_path / "out", *SMALL)
    assert status == 0 and report.keys() == KEYS
    assert report["faults"] == {"count": 0, "first": []}
    names = ("class_names", "box_format", "files", "untrained_classes")
    assert report["suspicions"] == dict.fromkeys(names, [])
    assert report["duplicates"]["exact"]["count"] == 0
    assert report["class_names"] == ["cat", "dog", "duck"]
    # Six images; 1, 3 and 5 have a second box: 6 + 3 = 9 boxes, three of each class.
    train = report["splits"]["train"]
    assert (train["num_pictures"], train["num_boxes"]) == (6, 9)
    assert train["boxes_a_picture"] == {"1": 3, "2": 3}
    assert [counts["num_boxes"] for counts in train["per_class"].values()] == [3, 3, 3]
    assert report["anchors"]["num_boxes"] == 9
    assert "Nothing would stop training" in page and "<svg" in page
    assert "left out</th>" not in page
    assert "src=" not in page and 'href="http' not in page  # opens without a network
    assert "Nothing would stop training" in capsys.readouterr().out


@pytest.mark.parametrize("seed", ["4294967296", "-1"])
def test_a_seed_that_training_would_refuse_is_refused(seed, voc_folder, tmp_path, capsys):
    arguments = ["--data.root", str(voc_folder), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main(["check-data", *arguments, "--train.seed", seed])
    assert stopped.value.code == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())  # a box on old tyro
    assert f"--train.seed {seed}: expected 0 or more, at most 2147483647" in said
    assert not (tmp_path / "out").exists()


def test_too_few_images_to_divide_would_stop_training(tmp_path):
    root = tmp_path / "voc"
    write_without_lists(root, root, 2)
    status, report, page = check(root, tmp_path / "out", *SMALL)
    assert status == 1
    verdict = "No image is left in val, test: that would stop training."
    assert report["verdict"] == verdict and verdict in page
    assert [one["num_pictures"] for one in report["splits"].values()] == [2, 0, 0]


def test_a_damaged_jpeg_would_stop_training(voc_folder, tmp_path):
    path = voc_folder / "JPEGImages" / "train_2.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    status, report, _ = check(voc_folder, tmp_path / "out", *SMALL)
    assert status == 1 and report["faults"]["count"] == 1
    assert f"{path}: the image is damaged (Corrupt JPEG data: " in report["faults"]["first"][0]


def test_planted_faults_are_all_counted_and_the_rest_is_reported(voc_folder, tmp_path, capsys):
    annotate(voc_folder, "train_0", ("cat", 50, 10, 20, 40), ("dog", 3, 4, 30, 40))  # inverted
    (voc_folder / "Annotations" / "train_1.xml").write_text("<annotation><obj")
    whole = (voc_folder / "JPEGImages" / "train_2.jpg").read_bytes()
    (voc_folder / "JPEGImages" / "train_2.jpg").write_bytes(whole[: len(whole) // 2])
    annotate(voc_folder, "val_0", *[("cat", 300, 10, 400, 40)] * 25)  # wholly outside
    status, report, page = check(voc_folder, tmp_path / "out", *SMALL)
    assert status == 1 and report["would_stop_training"]
    assert report["faults"]["count"] == 1 + 1 + 1 + 25
    assert len(report["faults"]["first"]) == 20
    assert report["pictures"]["num_unreadable"] == 1
    # train_1 is gone with its two boxes and train_2 with its one, of train_0 one box stays of two
    # that were written over its one: 9 - 2 - 1.
    train, val = report["splits"]["train"], report["splits"]["val"]
    assert (train["num_pictures"], train["num_pictures_left_out"]) == (4, 2)
    assert (train["num_boxes"], train["num_boxes_left_out"]) == (6, 1)
    assert (val["num_empty_pictures"], val["num_boxes_left_out"]) == (1, 25)
    assert "28 faults would stop training" in page and "And 8 more" in page
    assert "<th>left out</th>" in page and "<th>boxes left out</th>" in page
    printed = capsys.readouterr().out
    assert "28 faults would stop training" in printed and "and 8 more" in printed

    # Told to skip them, training goes on, and the counts stay what they are.
    status, skipped, page = check(
        voc_folder, tmp_path / "skip", "--data.on-error", "skip", "--data.crop", "0.5", *SMALL
    )
    assert status == 0 and not skipped["would_stop_training"]
    assert skipped["splits"] == report["splits"] and skipped["faults"] == report["faults"]
    assert "28 faults: training would go on without" in page


def test_planted_oddities_stop_nothing(voc_folder, tmp_path):
    images = voc_folder / "JPEGImages"
    make_distinct(voc_folder)
    (images / "test_1.jpg").write_bytes((images / "train_0.jpg").read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.open(images / "train_3.jpg").save(images / "train_3.jpg", exif=exif, quality=95)
    annotate(voc_folder, "train_4")
    annotate(voc_folder, "train_5", ("cat", 5, 6, 5, 60), ("Cats", 10, 20, 99, 70))
    status, report, page = check(voc_folder, tmp_path / "out", *SMALL)
    assert status == 0 and report["faults"]["count"] == 0
    train = report["splits"]["train"]
    assert (train["num_empty_pictures"], train["num_one_pixel"], train["num_clipped"]) == (1, 1, 1)
    assert report["pictures"]["exif_orientations"] == {"8": 1}
    exact = report["duplicates"]["exact"]
    assert (exact["count"], exact["between_splits"]) == (1, 1)
    assert exact["first"] == [["train: train_0.jpg", "test: test_1.jpg"]]
    assert report["suspicions"]["class_names"] == [["Cats", "cat"]]
    remarks = " ".join(list_remarks(report))
    for words in (
        "'Cats' and 'cat'",
        "once: 1 (2 images), between",
        "one pixel",
        "EXIF",
        "clipped",
    ):
        assert words in remarks
    assert "train: train_0.jpg = test: test_1.jpg" in page


def test_what_is_odd_about_the_files_is_on_the_page(coco_folder, tmp_path):
    source = coco_folder / "annotations" / "instances_train.json"
    content = json.loads(source.read_text())
    first, second, third, *_ = content["annotations"]
    second["id"] = third["id"] = first["id"]
    source.write_text(json.dumps(content))
    status, report, page = check(coco_folder, tmp_path / "out", *SMALL)
    (remark,) = report["suspicions"]["files"]
    assert status == 0 and remark in list_remarks(report)
    assert remark.startswith(f"{source}: annotations with the id of one before: 2; the first: ")
    assert "annotations with the id of one before: 2" in page


def test_no_box_can_be_read(voc_folder, tmp_path):
    for source in (voc_folder / "Annotations").glob("*.xml"):
        annotate(voc_folder, source.stem, ("cat", 50, 30, 20, 20))
    status, report, _ = check(voc_folder, tmp_path / "out", *SMALL)
    assert status == 1 and report["faults"]["count"] == 10
    assert report["anchors"]["suggested"] is None and report["class_names"] == []
    assert "10 of 10" in report["suspicions"]["box_format"][0]  # 50 + 20 < 96, 30 + 20 < 72
    assert "xywh" in report["suspicions"]["box_format"][0]
    page = (tmp_path / "out" / "check_data.html").read_text()
    assert 'id="splits"' in page and 'id="classes"' not in page and "<svg" not in page


def test_what_is_skipped_must_leave_an_image(voc_folder, tmp_path):
    for path in (voc_folder / "JPEGImages").glob("val_*"):
        path.write_bytes(b"no image")
    status, report, _ = check(voc_folder, tmp_path / "out", "--data.on-error", "skip", *SMALL)
    assert status == 1 and report["verdict"] == (
        "No image is left in val: that would stop training."
    )


def test_a_class_that_was_not_given_is_a_fault(coco_folder, tmp_path):
    status, report, _ = check(coco_folder, tmp_path / "out", "--data.classes", "cat", "dog", *SMALL)
    assert status == 1 and "'duck'" in report["faults"]["first"][0]
    assert report["splits"]["train"]["num_boxes"] == 6  # nine without three ducks


def test_an_architecture_brings_its_sizes_and_its_maps(voc_folder, tmp_path, capsys):
    name = "fasterrcnn_resnet50_fpn"
    status, report, page = check(voc_folder, tmp_path / "out", "--model.architecture", name)
    assert status == 0 and f"of {name} overlaps" in " ".join(page.split())
    assert (report["data"]["short_side"], report["data"]["long_side"]) == (800, 1333)
    anchors = report["anchors"]
    assert anchors["architecture"] == name
    assert anchors["chosen"]["sizes"] == [32, 64, 128, 256, 512]
    assert len(anchors["suggested"]["sizes"]) == 5
    options = ["--model.architecture", name, "--output", str(tmp_path / "two"), *SMALL]
    assert main(["check-data", "--data.root", str(voc_folder), *options]) == 2
    assert "--model.anchor-sizes 16.0 32.0: expected one size for each map, with the 5 maps of" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "two").exists()


def test_usage_errors(voc_folder, tmp_path, capsys):
    assert main(["check-data", "--data.root", str(tmp_path / "gone")]) == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    options = ["check-data", "--data.root", str(voc_folder), "--output", str(tmp_path / "full")]
    assert main(options) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*options, *SMALL, "--overwrite"]) == 0
    assert len(list(tmp_path.glob("full.bak-*/mine.txt"))) == 1
    with pytest.raises(SystemExit) as stopped:
        main(["check-data", "--data.rot", "x"])
    assert stopped.value.code == 2


def test_tensorflow_is_not_imported(voc_folder, tmp_path):
    program = (
        "import sys; from tf_frcnn.cli import main; status = main(sys.argv[1:]); "
        "sys.exit(status or 'tensorflow' in sys.modules)"
    )
    options = ["--data.root", str(voc_folder), *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program, "check-data", *options],
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "check-data" / "voc" / "check_data.html").is_file()


def test_boxes_that_stand_there_again_are_counted(voc_folder, tmp_path):
    make_distinct(voc_folder)
    box = ("cat", 10, 20, 60, 70)
    # Two more of the first; another class, or a pixel more, is another object.
    annotate(voc_folder, "train_0", box, box, box, ("dog", *box[1:]), ("cat", 10, 20, 60, 71))
    status, report, page = check(voc_folder, tmp_path / "out", *SMALL)
    assert status == 0
    assert report["splits"]["train"]["num_repeated"] == 2
    assert report["splits"]["test"]["num_repeated"] == 0
    (remark,) = [text for text in list_remarks(report) if "again" in text]
    assert remark == (
        "Boxes that stand there again, same class and same place, in train: 2; each counts as "
        "another object."
    )
    assert "<th>repeated</th>" in page
