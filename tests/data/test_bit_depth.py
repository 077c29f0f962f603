"""Images of 16 bits a channel whose values use a part of the range only."""

import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.coco_writer import annotation, content, image, write_json
from tf_frcnn.config import DataConfig, ModelConfig
from tf_frcnn.data.bit_depth import explain_unused_range
from tf_frcnn.data.image import read_image, read_image_header
from tf_frcnn.data.loading import load_datasets
from tf_frcnn.doctor.check import check_data
from tf_frcnn.doctor.remarks import list_remarks

SIDES = (40, 60)


@pytest.mark.parametrize(
    ("brightest", "words"),
    [
        ([], None),
        ([255, 3], None),
        ([64], None),  # 15 bits: half of the range may be how bright it was
        ([63, 2], ("16 bits a channel: 2, whose values use 1/4", "at most 14 bits", "pixels << 2")),
        ([15, 7], ("use 1/16 of the range", "12 bits", "levels 0 to 15 of 255", "times 16")),
        ([0], ("use 1/256 of the range", "at most 8 bits", "pixels << 8")),
    ],
)
def test_the_share_of_the_range_is_that_of_the_brightest(brightest, words):
    message = explain_unused_range(brightest)
    assert bool(message) == (words is not None)
    assert all(word in message for word in words or ())


def write_16_bit_rgb(path, values):
    """Write [H, W, 3] uint16, which Pillow cannot, by the specification of PNG."""

    def chunk(name, body):
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_16_bits_are_known_by_the_header(tmp_path):
    grey = np.full(SIDES, 4095, np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    write_16_bit_rgb(tmp_path / "rgb.png", np.full((*SIDES, 3), 4095, np.uint16))
    Image.fromarray(grey).save(tmp_path / "grey.tif")
    for name in ("grey.png", "rgb.png", "grey.tif"):
        assert read_image_header(tmp_path / name).is_16_bit
        assert read_image(tmp_path / name).max() == 15  # 4095 >> 8
    for mode in ("RGB", "L", "P", "1", "LA", "RGBA"):
        Image.new(mode, SIDES).save(tmp_path / "other.png")
        assert not read_image_header(tmp_path / "other.png").is_16_bit
    for name in ("other.jpg", "other.tif"):
        Image.new("RGB", SIDES).save(tmp_path / name)
        assert not read_image_header(tmp_path / name).is_16_bit


def test_training_and_check_data_say_it_and_training_again_from_its_cache(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data" / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(2):
        values = random.integers(0, 4096, SIDES).astype(np.uint16)  # 12 bits
        Image.fromarray(values).save(tmp_path / "data" / "images" / f"p{number}.png")
    Image.new("RGB", SIDES[::-1], "white").save(tmp_path / "data" / "images" / "p2.png")
    entries = [image(number, height=SIDES[0], width=SIDES[1]) for number in range(3)]
    boxes = [annotation(number, number, [5, 5, 20, 20]) for number in range(3)]
    write_json(tmp_path / "data" / "annotations" / "instances_train.json", content(entries, boxes))
    config = DataConfig(
        root=str(tmp_path / "data"), format="coco", val_split="none", test_split="none"
    )
    words = "Images of 16 bits a channel: 2, whose values use 1/16 of the range (at most 12 bits)"
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            load_datasets(config, 0)
        (record,) = [record for record in caplog.records if "16 bits" in record.getMessage()]
        assert record.levelname == "WARNING" and record.getMessage().startswith(words)
    assert "3 unchanged since an earlier check" in caplog.text
    report = check_data(config, ModelConfig(), 0).report
    assert any(text.startswith(words) for text in list_remarks(report))
