"""Headers in threads and from the cache: the same is read, and faults come in the same order."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from tests.conftest import voc_xml
from tf_frcnn.config import DataConfig
from tf_frcnn.data import image_cache, labelling
from tf_frcnn.data.loading import load_datasets, read_datasets
from tf_frcnn.errors import DataError

SIZE = (20, 30)


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def opened(monkeypatch):
    """List the names of the images whose headers are read from here on."""
    names = []

    def read_and_note(path):
        names.append(path.name)
        return read_image_header(path)

    read_image_header = labelling.read_image_header
    monkeypatch.setattr(labelling, "read_image_header", read_and_note)
    return names


def read(root):
    return read_datasets(DataConfig(root=str(root), val_split="none", test_split="none"), 0)


def write_voc(root, count, broken=(), inverted=(), missing=(), orientation=1):
    """Write images 0, 1, ... with one cat each; some broken, some with a wrong box or no XML."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    names = [f"{number:02}" for number in range(count)]
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number, name in enumerate(names):
        path = root / "JPEGImages" / f"{name}.jpg"
        Image.new("RGB", SIZE[::-1]).save(path, exif=exif)
        if number in broken:
            path.write_bytes(b"no image")
        box = (9, 2, 3, 5) if number in inverted else (1, 2, 3, 5)
        if number not in missing:
            text = voc_xml(SIZE if orientation < 5 else SIZE[::-1], [("cat", *box)])
            (root / "Annotations" / f"{name}.xml").write_text(text)
    return root


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 512])
def test_faults_come_in_the_order_of_the_images_however_many_are_read_at_once(
    tmp_path, monkeypatch, chunk
):
    monkeypatch.setattr(labelling, "_CHUNK", chunk)
    root = write_voc(tmp_path / "voc", 12, broken=(1, 4, 5, 11), inverted=(0, 3, 6), missing=(2, 7))
    with pytest.raises(DataError) as caught:
        read(root)
    lines = str(caught.value).splitlines()[1:-1]
    kinds = {
        "00.xml": "inverted",
        "01.jpg": "content",
        "'02'": "XML files",
        "03.xml": "inverted",
        "04.jpg": "content",
        "05.jpg": "content",
        "06.xml": "inverted",
        "'07'": "XML files",
        "11.jpg": "content",
    }
    assert len(lines) == len(kinds)
    for line, (name, kind) in zip(lines, kinds.items(), strict=True):
        assert name in line and kind in line


def test_an_image_that_was_checked_is_not_opened_again(tmp_path, opened):
    root = write_voc(tmp_path / "voc", 5)
    config = DataConfig(root=str(root), val_split="none", test_split="none")
    first = load_datasets(config, 0)["train"].examples
    assert sorted(opened) == [f"0{number}.jpg" for number in range(5)]
    opened.clear()
    changed = root / "JPEGImages" / "03.jpg"
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    again = read_datasets(config, 0)["train"].examples
    assert opened == ["03.jpg"]
    for one, other in zip(first, again, strict=True):
        assert one.image_path == other.image_path and one.image_size == other.image_size == SIZE
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_a_known_image_is_turned_as_one_that_is_opened(tmp_path, opened):
    root = write_voc(tmp_path / "voc", 3, orientation=6)
    config = DataConfig(root=str(root), val_split="none", test_split="none")
    first = load_datasets(config, 0)["train"]
    opened.clear()
    again = read_datasets(config, 0)["train"]
    assert not opened and first.exif == again.exif == "apply"
    for example in again.examples:
        assert example.orientation == 6 and example.image_size == SIZE[::-1]
        assert example.stored_size == SIZE


def test_formats_that_are_no_longer_read_make_their_images_unknown(tmp_path, opened, monkeypatch):
    root = write_voc(tmp_path / "voc", 2)
    load_datasets(DataConfig(root=str(root), val_split="none", test_split="none"), 0)
    opened.clear()
    monkeypatch.setattr(image_cache, "IMAGE_FORMATS", image_cache.IMAGE_FORMATS[:-1])
    read(root)
    assert sorted(opened) == ["00.jpg", "01.jpg"]


def test_reading_alone_makes_no_cache_and_says_nothing_of_one(tmp_path, caplog):
    root = write_voc(tmp_path / "voc", 2)
    read(root)
    assert not (tmp_path / "cache").exists()
    file = tmp_path / "cache" / "tf_frcnn" / "images-4.sqlite"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database" * 100)
    with caplog.at_level("INFO"):
        assert len(read(root)["train"].examples) == 2
    assert not re.search("cache", caplog.text)
