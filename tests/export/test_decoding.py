"""Images decoded in a graph have the pixels that training sees (`data.image.read_image`)."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tf_frcnn.data.image import read_image, read_image_as, read_image_header
from tf_frcnn.export.decoding import check_formats, decode_image, read_orientation

HEIGHT, WIDTH = 53, 71  # odd, so that halved colour channels end in the middle of a pixel
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)


def written(image, image_format, **options):
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def as_rgb():
    return Image.fromarray(NOISE[..., :3])


def jpeg(**options):
    return written(as_rgb(), "JPEG", **options)


def png(mode, **options):
    return written(as_rgb().convert(mode), "PNG", **options)


def raw_png(bits, colour_type, channels):
    """Write a PNG of noise with any number of bits a channel, by the specification's letter."""

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour_type, 0, 0, 0)
    row = np.random.default_rng(1).bytes((WIDTH * channels * bits + 7) // 8)
    rows = b"".join(
        b"\x00" + bytes(np.roll(np.frombuffer(row, np.uint8), i)) for i in range(HEIGHT)
    )
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def rotated_by_exif():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees for viewing
    return jpeg(exif=exif)


IMAGES = {
    "JPEG": jpeg(quality=75),
    "JPEG of high quality, all colours": jpeg(quality=95, subsampling="4:4:4"),
    "JPEG with colours halved in width": jpeg(quality=90, subsampling="4:2:2"),
    "JPEG, progressive": jpeg(progressive=True),
    "JPEG, optimised": jpeg(optimize=True),
    "JPEG, grey": written(as_rgb().convert("L"), "JPEG"),
    "JPEG with its colours as RGB": jpeg(keep_rgb=True),
    "JPEG with an EXIF orientation": rotated_by_exif(),
    "PNG": png("RGB"),
    "PNG, alpha": written(Image.fromarray(NOISE, "RGBA"), "PNG"),
    "PNG, grey": png("L"),
    "PNG, grey and alpha": png("LA"),
    "PNG, one colour transparent": png("RGB", transparency=tuple(NOISE[3, 5, :3].tolist())),
    "PNG, palette": png("P"),
    "PNG, palette of 4 bits": written(as_rgb().quantize(16), "PNG", bits=4),
    "PNG, palette, one colour transparent": written(as_rgb().quantize(9), "PNG", transparency=3),
    "PNG, black and white": png("1"),
    "PNG, grey of 2 bits": raw_png(2, 0, 1),
    "PNG, grey of 4 bits": raw_png(4, 0, 1),
    "PNG, grey of 16 bits": raw_png(16, 0, 1),
    "PNG, RGB of 16 bits": raw_png(16, 2, 3),
    "PNG, grey and alpha of 16 bits": raw_png(16, 4, 2),
    "PNG, RGB and alpha of 16 bits": raw_png(16, 6, 4),
    "PNG of one pixel": written(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_training(name):
    decoded = decode_image(tf.constant(IMAGES[name]))
    assert decoded.dtype == tf.uint8
    np.testing.assert_array_equal(decoded, read_image(IMAGES[name]))


def test_cmyk_differs_by_rounding():
    # TensorFlow cuts C * K / 255 off, Pillow rounds it to the nearest.
    content = written(Image.fromarray(NOISE, "CMYK"), "JPEG", quality=90)
    difference = decode_image(tf.constant(content)).numpy().astype(int) - read_image(content)
    assert set(np.unique(difference)) == {-1, 0}


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_an_image_that_is_cut_short_is_an_error(name):
    with pytest.raises(tf.errors.InvalidArgumentError, match=name):
        decode_image(tf.constant(IMAGES[name][:-200]))


# === EXIF ===


def tiff(orientation, order="<", tags=((0x010F, 2, 1, 0),), kind=3, length=1):
    """Write an EXIF block by TIFF 6.0: entries of tag, type, number of values, value."""
    entries = b"".join(struct.pack(f"{order}HHII", *tag) for tag in tags)
    entries += struct.pack(f"{order}HHIHH", 0x0112, kind, length, orientation, 0)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IH", 8, len(tags) + 1) + entries + bytes(4)


def with_app1(block, before=b"", prefix=b"Exif\0\0"):
    """Put an EXIF block into a JPEG: FF E1, the length with its own two bytes, the content."""
    content = prefix + block
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    return IMAGES["JPEG"][:2] + before + segment + IMAGES["JPEG"][2:]


def with_chunk(block, name=b"eXIf", is_last=False):
    """Put a chunk into a PNG: after IHDR, which ends at byte 33, or before IEND, the last 12."""
    chunk = struct.pack(">I", len(block)) + name + block
    chunk += struct.pack(">I", zlib.crc32(name + block))
    place = len(IMAGES["PNG"]) - 12 if is_last else 33
    return IMAGES["PNG"][:place] + chunk + IMAGES["PNG"][place:]


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def orientation_in_graph(content):
    return read_orientation(content)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def upright_in_graph(content):
    return decode_image(content, apply_exif=True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"], ids=["II", "MM"])
@pytest.mark.parametrize("wrap", [with_app1, with_chunk], ids=["APP1", "eXIf"])
def test_images_are_turned_as_pillow_turns_them(wrap, order, orientation):
    content = wrap(tiff(orientation, order))
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(upright_in_graph(content), expected)
    np.testing.assert_array_equal(read_image_as(content, "auto"), expected)
    np.testing.assert_array_equal(decode_image(tf.constant(content)), read_image(content))


BLOCK = tiff(6)  # 4 bytes of order, 4 of place, 2 of count, 2 entries of 12, 4 of the next place
FAR_AWAY = b"II*\0" + struct.pack("<I", 2**31 + 5) + BLOCK[8:]
ORIENTATIONS = {
    "none": (IMAGES["JPEG"], 1),
    "no EXIF in a PNG": (IMAGES["PNG"], 1),
    "of Pillow's writing": (rotated_by_exif(), 6),
    "after another APP1, fill bytes and a comment": (
        with_app1(BLOCK, b"\xff\xe1\0\x0ahttp://x" + b"\xff\xff\xff\xfe\0\x05abc"),
        6,
    ),
    "in an APP1 that is not EXIF's": (with_app1(BLOCK, prefix=b"Exif\0\1"), 1),
    "behind many tags": (with_app1(tiff(8, tags=[(0x0100 + i, 4, 1, 6) for i in range(17)])), 8),
    "entry cut by a byte": (with_app1(BLOCK[:33]), 1),
    "entry whole, all else cut": (with_app1(BLOCK[:34]), 6),
    "cut before the entries": (with_app1(BLOCK[:9]), 1),
    "cut in the order": (with_app1(BLOCK[:3]), 1),
    "empty": (with_app1(b""), 1),
    "of an order that there is not": (with_app1(b"IM*\0" + BLOCK[4:]), 1),
    "entries behind the end": (with_app1(FAR_AWAY), 1),
    "of no sense": (with_app1(tiff(9)), 1),
    "zero": (with_app1(tiff(0)), 1),
    "of another type": (with_app1(tiff(6, kind=4)), 1),
    "two values": (with_app1(tiff(6, length=2)), 1),
    "in another chunk": (with_chunk(BLOCK, name=b"exIf"), 1),
    "chunk with a cut entry": (with_chunk(BLOCK[:33]), 1),
    "chunk behind the pixels": (with_chunk(BLOCK, is_last=True), 1),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_orientations_are_found_in_a_graph_as_elsewhere(name):
    content, expected = ORIENTATIONS[name]
    assert read_image_header(content).orientation == expected
    assert orientation_in_graph(content) == expected


@pytest.mark.parametrize("content", [with_app1(BLOCK), with_chunk(BLOCK)], ids=["JPEG", "PNG"])
def test_a_file_that_ends_anywhere_has_an_orientation_or_none(content):
    # The whole entry is there from where it ends on, 8 bytes before its block does.
    end = content.index(BLOCK) + 34
    for length in range(end + 9):
        found = int(orientation_in_graph(content[:length]))
        assert found == (6 if length >= end else 1)


# === What is neither ===


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def checked(image_bytes):
    with tf.control_dependencies([check_formats(image_bytes)]):
        return tf.size(image_bytes)


def test_jpeg_and_png_pass():
    assert checked(tf.constant([IMAGES["PNG"], IMAGES["JPEG"], IMAGES["PNG"]])) == 3
    assert checked(tf.constant([], tf.string)) == 0


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        # GIF89a is 47 49 46 38 39 61.
        ([IMAGES["JPEG"], b"GIF89a\x00\xff\x01\x02"], r"\[1\] .* \[47 49 46 38 39 61 00 ff\]"),
        ([b"", IMAGES["PNG"], b"x"], r"\[0\] begins with the bytes \[\]: expected a JPEG"),
        ([IMAGES["PNG"], IMAGES["PNG"], b"\x89PNG\r\n"], r"\[2\] .* \[89 50 4e 47 0d 0a\]"),
        ([b"\xff\xd8"], r"\[0\] begins with the bytes \[ff d8\]: expected a JPEG \(ff d8 ff\)"),
    ],
)
def test_the_first_item_that_is_neither_is_named(contents, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes" + message):
        checked(tf.constant(contents))


def stating_size(content, height, width):
    """Write another size into the header of a JPEG or a PNG."""
    if content.startswith(b"\x89PNG"):
        return content[:16] + struct.pack(">II", width, height) + content[24:]
    start = content.index(b"\xff\xc0") + 5  # of a baseline frame: length, bits a channel, size
    return content[:start] + struct.pack(">HH", height, width) + content[start + 4 :]


@pytest.mark.parametrize(
    ("content", "height", "width"),
    # 89,478,485 = 5 x 17,895,697, so that one more column is too much.
    [
        (jpeg(), 9460, 9460),  # 89,491,600
        (png("RGB"), 9460, 9460),
        (png("RGB"), 5, 17_895_698),
        (png("RGB"), 2**31 - 1, 2**31 - 1),
        (png("L"), 3, 2**32 - 1),
    ],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(content, height, width):
    stated = min(width, 2**31 - 1)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decode_image(tf.constant(stating_size(content, height, width)))
    expected = f"image_bytes: an image of {height} x {stated} pixels: expected at most 89,478,485"
    assert expected in str(caught.value)


def test_as_many_pixels_as_are_allowed_pass_the_check():
    # The content is too short for the size, which is noticed only afterwards.
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decode_image(tf.constant(stating_size(png("RGB"), 1, 89_478_485)))
    assert "expected at most" not in str(caught.value)
