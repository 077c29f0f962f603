import errno
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tf_frcnn.data import drawings
from tf_frcnn.data.drawings import CLASS_NAMES, SPLITS, draw_image, ensure_drawings
from tf_frcnn.data.drawn import image
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc import read_voc
from tf_frcnn.errors import DataError

COUNTS = {"train": 3, "val": 2, "test": 1}


def tree(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_annotations_are_one_based_and_inclusive():
    drawing = image.Drawing(
        image=Image.new("RGB", (256, 192)),
        boxes=np.array([[2, 5, 40, 90], [0, 0, 192, 256]], np.float32),
        classes=("duck", "cat"),
        truncated=(False, True),
        visible=(1.0, 1.0),
    )
    root = ElementTree.fromstring(drawings._annotation(drawing, "000007.jpg"))
    assert [child.tag for child in root] == [
        *("folder", "filename", "source", "size", "segmented", "object", "object")
    ]
    assert root.findtext("filename") == "000007.jpg" and root.findtext("source/database")
    assert [child.text for child in root.find("size")] == ["256", "192", "3"]  # width first
    found = [{child.tag: child.text for child in item.iter()} for item in root.iter("object")]
    # ymin 2 -> 3, xmin 5 -> 6; the ends exclude row 40 and column 90, counted from 0, so the last
    # ones inside are 39 and 89, which are 40 and 90 counted from 1.
    edges = {"xmin": "6", "ymin": "3", "xmax": "90", "ymax": "40"}
    assert found[0].items() >= {"name": "duck", "truncated": "0", "difficult": "0"}.items()
    assert found[0].items() >= edges.items() and found[0]["pose"] == "Unspecified"
    edges = {"xmin": "1", "ymin": "1", "xmax": "256", "ymax": "192"}
    assert found[1].items() >= {"name": "cat", "truncated": "1"}.items() | edges.items()


def test_the_reader_reads_what_was_drawn(tmp_path):
    root = tmp_path / "new" / "drawings"
    assert ensure_drawings(root, 3, COUNTS)
    datasets = read_voc(root, SPLITS, CLASS_NAMES, Divider(0))
    names = []
    for split in SPLITS:
        assert len(datasets[split].examples) == COUNTS[split]
        for index, example in enumerate(datasets[split].examples):
            drawing = draw_image(3, split, index)
            np.testing.assert_array_equal(example.boxes, drawing.boxes)
            assert [CLASS_NAMES[k - 1] for k in example.classes] == list(drawing.classes)
            assert example.image_size == (192, 256)
            names.append(example.image_path.name)
            with Image.open(example.image_path) as stored:
                difference = np.asarray(stored, int) - np.asarray(drawing.image, int)
            assert np.abs(difference).mean() < 6  # JPEG at quality 90
    assert names == [f"{number:06d}.jpg" for number in range(1, 7)]
    assert "cat, dog, duck" in (root / "README.txt").read_text()
    recipe = json.loads((root / "recipe.json").read_text())
    assert recipe == {"recipe": drawings.RECIPE, "seed": 3, "counts": COUNTS}
    assert [path.name for path in root.parent.iterdir()] == ["drawings"]


def test_the_same_data_set_is_reused(tmp_path):
    root = tmp_path / "drawings"
    assert ensure_drawings(root, 3, COUNTS) is True
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert ensure_drawings(root, 3, dict(reversed(COUNTS.items()))) is False
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_the_same_seed_gives_the_same_bytes_and_counts_do_not_matter(tmp_path):
    ensure_drawings(tmp_path / "a", 4, COUNTS)
    ensure_drawings(tmp_path / "b", 4, COUNTS)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    ensure_drawings(tmp_path / "c", 4, {"train": 1})
    files = tree(tmp_path / "c")
    assert files["JPEGImages/000001.jpg"] == tree(tmp_path / "a")["JPEGImages/000001.jpg"]
    assert files["ImageSets/Main/val.txt"] == b""


@pytest.mark.parametrize("change", ["seed", "counts", "recipe", "picture", "list", "no json"])
def test_what_does_not_match_is_moved_aside_and_kept(tmp_path, monkeypatch, caplog, change):
    root = tmp_path / "drawings"
    ensure_drawings(root, 3, COUNTS)
    seed, counts = 3, COUNTS
    if change == "seed":
        seed = 4
    elif change == "counts":
        counts = {**COUNTS, "test": 2}
    elif change == "recipe":
        monkeypatch.setattr(drawings, "RECIPE", drawings.RECIPE + 1)
    elif change == "picture":
        (root / "JPEGImages" / "000002.jpg").unlink()
    elif change == "list":
        (root / "ImageSets" / "Main" / "val.txt").write_text("000001\n")
    else:
        (root / "recipe.json").write_bytes(b"\xff{")
    before = tree(root)
    with caplog.at_level(logging.INFO):
        assert ensure_drawings(root, seed, counts) is True
    (backup,) = tmp_path.glob("drawings.bak-*")
    assert tree(backup) == before
    found = {
        "seed": "drawings of seed 3",
        "no json": "something that is no set of drawings",
    }.get(change, "drawings of seed 3 in other numbers or of another release, or changed ones")
    assert (
        f"{root}: what was there ({found}) is kept under {backup}; drawings of seed {seed} take "
        "its place"
    ) in caplog.text
    assert ensure_drawings(root, seed, counts) is False


def test_backups_of_the_same_second_are_all_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda _: "20240131-235959")
    root = tmp_path / "drawings"
    for number in range(3):
        root.mkdir()
        (root / "precious.txt").write_text(str(number))
        assert ensure_drawings(root, 0, {"val": 1}) is True
        root.rename(tmp_path / f"drawn{number}")
    backups = sorted(tmp_path.glob("drawings.bak-20240131-235959*"))
    assert [(path / "precious.txt").read_text() for path in backups] == ["0", "1", "2"]


def test_a_file_of_that_name_is_kept_and_an_empty_folder_is_used(tmp_path):
    (tmp_path / "file").write_text("precious")
    assert ensure_drawings(tmp_path / "file", 0, {"val": 1}) is True
    (backup,) = tmp_path.glob("file.bak-*")
    assert backup.read_text() == "precious"
    (tmp_path / "empty").mkdir()
    assert ensure_drawings(tmp_path / "empty", 0, {"val": 1}) is True
    assert not list(tmp_path.glob("empty.bak-*"))


def test_the_folder_may_be_given_as_a_string(tmp_path):
    assert ensure_drawings(str(tmp_path / "drawings"), 0, {"val": 1}) is True
    assert ensure_drawings(tmp_path / "drawings", 0, {"val": 1}) is False


def test_a_link_is_followed(tmp_path):
    (tmp_path / "large-disk").mkdir()
    (tmp_path / "drawings").symlink_to(tmp_path / "large-disk")
    assert ensure_drawings(tmp_path / "drawings", 0, {"val": 1}) is True
    assert (tmp_path / "drawings").is_symlink()
    assert (tmp_path / "large-disk" / "recipe.json").is_file()


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DataError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_half_way_leaves_everything_as_it_was(tmp_path, monkeypatch, failure, raised):
    root = tmp_path / "drawings"
    root.mkdir()
    (root / "precious.txt").write_text("precious")
    write, calls = Path.write_bytes, []

    def fail_at_the_fifth(path, data):
        calls.append(path)
        if len(calls) == 5:
            raise failure
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail_at_the_fifth)
    with pytest.raises(raised) as caught:
        ensure_drawings(root, 0, COUNTS)
    if raised is DataError:
        for part in (str(root), "No space left on device", "Expected", "--data.root"):
            assert part in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["drawings"]
    assert tree(root) == {"precious.txt": b"precious"}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file/drawings.*--data.root"):
        ensure_drawings(tmp_path / "file" / "drawings", 0, COUNTS)


def test_a_faster_process_wins(tmp_path, monkeypatch):
    root = tmp_path / "drawings"
    write = drawings._write_dataset

    def write_after_another_process(place, seed, counts):
        write(root, seed, counts)
        (root / "of-the-other").write_text("")
        write(place, seed, counts)

    monkeypatch.setattr(drawings, "_write_dataset", write_after_another_process)
    assert ensure_drawings(root, 0, {"val": 1}) is False
    assert (root / "of-the-other").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["drawings"]


@pytest.mark.parametrize(
    ("seed", "counts", "named"),
    [(-1, COUNTS, "seed -1"), (0, {"dev": 3}, "'dev'"), (0, {"train": -2}, "'train': -2")],
)
def test_impossible_requests_are_refused(tmp_path, seed, counts, named):
    with pytest.raises(DataError, match=f"{named}.*expected"):
        ensure_drawings(tmp_path / "drawings", seed, counts)
    assert not list(tmp_path.iterdir())


def test_no_tensorflow_is_imported():
    code = "import sys, tf_frcnn.data.drawings; sys.exit('tensorflow' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
