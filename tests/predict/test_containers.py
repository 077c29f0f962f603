"""Which files are videos, and which of them were cut short; the files are made byte by byte."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tf_frcnn.errors import DataError
from tf_frcnn.predict.containers import check_whole, is_video


def box(kind, content=b"", length=None):
    """Make a box of MP4: length of it all, 4 letters, content."""
    return (8 + len(content) if length is None else length).to_bytes(4, "big") + kind + content


FTYP = box(b"ftyp", b"isom" + bytes(8))  # 20 bytes
LONG_MDAT = box(b"mdat", (16 + 50).to_bytes(8, "big") + bytes(50), length=1)
RIFF = b"RIFF" + (100).to_bytes(4, "little") + b"AVI " + bytes(96)  # 8 + 100 bytes
# 4 bytes, length 3 in a byte (0x80 + 3), 3 bytes; then 4 bytes, length 500 in two (0x4000 + 500).
EBML = b"\x1aE\xdf\xa3\x83abc"
MATROSKA = EBML + b"\x18S\x80g\x41\xf4" + bytes(500)


def write(folder, content, name="a.mp4"):
    path = folder / name
    path.write_bytes(content)
    return path


# === Which files are videos ===


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (FTYP, True),
        (box(b"moov", bytes(20)), True),
        (RIFF, True),
        (MATROSKA, True),
        (box(b"ftyp", b"heic" + bytes(8)), False),
        (box(b"ftyp", b"avif" + bytes(8)), False),
        (b"RIFF" + bytes(4) + b"WEBPVP8 ", False),
        (b"GIF89a" + bytes(20), False),
        (b"", False),
    ],
)
def test_content_tells_whatever_the_name(content, expected, tmp_path):
    assert is_video(write(tmp_path, content, "a.jpg")) == expected


def test_a_name_tells_where_the_content_does_not(tmp_path):
    assert is_video(write(tmp_path, b"", "a.MKV"))
    assert is_video(tmp_path / "gone.webm") and not is_video(tmp_path / "gone.jpg")
    Image.new("RGB", (4, 3)).save(tmp_path / "b.mp4", format="PNG")
    assert not is_video(tmp_path / "b.mp4")


# === Which are whole ===


@pytest.mark.parametrize(
    "content",
    [
        FTYP + box(b"mdat", bytes(50)) + box(b"moov", bytes(9)),
        FTYP + LONG_MDAT,
        FTYP + box(b"mdat", bytes(50), length=0),  # to the end of the file
        FTYP + box(b"mdat", bytes(5)) + b"what a camera wrote behind",
        FTYP + bytes(3),
        RIFF,
        RIFF + RIFF,
        b"RIFF" + (5).to_bytes(4, "little") + b"AVI x" + b"\0" + RIFF,  # begins at an even byte
        b"RIFF" + bytes(4) + b"AVI " + bytes(96),  # the recorder stated nothing
        MATROSKA,
        EBML + b"\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(50),  # not known
        EBML,
    ],
)
def test_what_is_whole(content, tmp_path):
    check_whole(write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (FTYP + box(b"mdat", bytes(50))[:-1], 20 + 58),
        (FTYP + LONG_MDAT[:-1], 20 + 66),
        (FTYP + box(b"free", bytes(4)) + box(b"moov", bytes(80))[:30], 20 + 12 + 88),
        (RIFF[:-1], 108),
        (RIFF + RIFF[:-50], 216),
        (MATROSKA[:-1], 8 + 6 + 500),
    ],
)
def test_what_was_cut_short(content, end, tmp_path):
    path = write(tmp_path, content)
    message = f"a.mp4: the video is cut short: it has {len(content)} bytes .* to byte {end}. Exp"
    with pytest.raises(DataError, match=message):
        check_whole(path)


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    kinds=st.lists(st.sampled_from([b"mdat", b"moof", b"moov"]), min_size=4, max_size=4),
    cut=st.floats(0, 1),
)
@settings(max_examples=60)
def test_a_cut_behind_a_boxs_header_is_found_wherever_it_is(lengths, kinds, cut, tmp_path_factory):
    boxes = [FTYP, *(box(kind, bytes(n)) for kind, n in zip(kinds, lengths, strict=False))]
    content = b"".join(boxes)
    ends = list(accumulate(map(len, boxes)))
    length = 20 + round(cut * (len(content) - 20))
    end = next(end for end in ends if end >= length)
    begin = end - len(boxes[ends.index(end)])
    path = write(tmp_path_factory.getbasetemp(), content[:length])
    if length == end or length < begin + 8:  # whole boxes, or a header that says nothing yet
        check_whole(path)
    else:
        with pytest.raises(DataError, match=f"it has {length} bytes .* to byte {end}"):
            check_whole(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.mp4: the file is empty. Expected MP4, MOV, AVI, MKV or WebM"),
        (b"hello " * 9, "a.mp4: the content is not that of a video. Expected MP4, MOV"),
    ],
)
def test_what_is_no_video(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        check_whole(write(tmp_path, content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"gone\.mp4: cannot be read \(No such file"):
        check_whole(tmp_path / "gone.mp4")
