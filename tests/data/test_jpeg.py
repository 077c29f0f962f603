"""JPEG files that decode: which of them are whole, and which are not."""

import io

import numpy as np
import pytest
from PIL import Image

from tf_frcnn.data.image import read_image, read_whole_image
from tf_frcnn.data.jpeg import decode_whole
from tf_frcnn.errors import DataError

END = b"\xff\xd9"
KINDS = {
    "plain": {},
    "progressive": {"progressive": True},
    "restarting": {"restart_marker_rows": 1},  # each row of blocks begins anew
    "grey": {"mode": "L"},
    "4:4:4": {"subsampling": 0},
    "CMYK": {"mode": "CMYK"},
}


def encode(mode="RGB", height=96, width=136, **options):
    """Encode waves with noise in them, so that every block has its numbers."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([120 + 60 * np.sin(x / 9 + i) + 50 * np.cos(y / 7) for i in range(3)], -1)
    noise = np.random.default_rng(0).normal(0, 8, waves.shape)
    buffer = io.BytesIO()
    image = Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8)).convert(mode)
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def start_of_pixels(content):
    """Find where the numbers of the first scan begin."""
    scan = content.index(b"\xff\xda")
    return scan + 2 + int.from_bytes(content[scan + 2 : scan + 4], "big")


@pytest.mark.parametrize("kind", KINDS)
def test_whole_images_are_whole(kind):
    pixels, damage = decode_whole(encode(**KINDS[kind]))
    assert damage == "" and pixels.shape == (96, 136, 1) and pixels.dtype == np.uint8


def test_the_pixels_are_those_of_the_other_decoder():
    content = encode(mode="L")
    np.testing.assert_array_equal(decode_whole(content)[0], read_image(content)[..., :1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.97])
def test_an_image_that_was_cut_and_closed_is_damaged(kind, share):
    content = encode(**KINDS[kind])
    start = start_of_pixels(content)
    cut = content[: start + int(share * (len(content) - start))] + END
    assert read_image(cut).shape == (96, 136, 3)  # nothing is told by the decoder that is used
    assert decode_whole(cut) == (None, "Corrupt JPEG data: premature end of data segment")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0x00, 0x55])
def test_an_image_of_which_much_was_overwritten_is_damaged(kind, value):
    content = encode(**KINDS[kind])
    start = start_of_pixels(content)
    middle, length = (start + len(content)) // 2, (len(content) - start) // 4
    content = content[:middle] + bytes([value]) * length + content[middle + length :]
    pixels, damage = decode_whole(content)
    assert pixels is None and damage.startswith("Corrupt JPEG data: ")


def insert(content, place, added):
    return content[:place] + added + content[place:]


HARMLESS = {
    "zeros before the end": lambda content: content[:-2] + bytes(300) + END,
    "a run of one byte before the end": lambda content: content[:-2] + 300 * b"\x20" + END,
    "more of the byte that begins the end": lambda content: content[:-2] + 300 * b"\xff" + END,
    "something after the end": lambda content: content + b"the film that goes with it" + END,
    "bytes between the parts of the header": lambda content: insert(
        content, content.index(b"\xff\xdb"), b"abc\xff\x00d"
    ),
    "another image after the end": lambda content: content[:-2] + bytes(300) + END + encode(),
    "several of these": lambda content: insert(
        content[:-2] + bytes(300) + END + bytes(50), content.index(b"\xff\xdb"), b"abc"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("oddity", HARMLESS)
def test_what_cameras_leave_in_a_file_is_no_damage(kind, oddity, tmp_path):
    content = encode(**KINDS[kind])
    (tmp_path / "a.jpg").write_bytes(HARMLESS[oddity](content))
    assert decode_whole(HARMLESS[oddity](content))[1] == ""
    assert read_whole_image(tmp_path / "a.jpg").shape[:2] == (96, 136)


@pytest.mark.parametrize("oddity", HARMLESS)
def test_damage_is_seen_beside_what_cameras_leave(oddity):
    content = encode()
    cut = content[: (start_of_pixels(content) + len(content)) // 2] + END
    assert decode_whole(HARMLESS[oddity](cut))[1].startswith("Corrupt JPEG data: ")


def test_the_message_names_the_file_and_what_to_do(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode()[:-900] + END)
    with pytest.raises(DataError, match=r"a\.jpg: the image is damaged \(Corrupt JPEG.*replace"):
        read_whole_image(tmp_path / "a.jpg")


def test_whether_the_end_may_be_missing_is_left_to_the_other_decoder(tmp_path):
    without = encode()[:-2]
    (tmp_path / "a.jpg").write_bytes(without)
    with pytest.raises(DataError, match=r"a\.jpg: the image cannot be decoded \(.*truncated"):
        read_whole_image(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(without + bytes(50))  # all rows are there
    assert read_whole_image(tmp_path / "b.jpg").shape == (96, 136, 3)


@pytest.mark.parametrize("content", [b"\xff\xd8", b"\xff\xd8\xff\xda", b"\xff\xd8" + bytes(99)])
def test_what_only_begins_as_a_jpeg_is_left_to_the_other_decoder(content, tmp_path):
    assert decode_whole(content) == (None, "")
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg: the (image cannot be decoded|content is not)"):
        read_whole_image(tmp_path / "a.jpg")


def test_other_formats_are_read_as_always(tmp_path):
    Image.new("RGB", (5, 3), (1, 2, 3)).save(tmp_path / "a.png")
    assert read_whole_image(tmp_path / "a.png").tolist() == [[[1, 2, 3]] * 5] * 3
