"""Images decoded in a graph have the pixels that training sees (`data.image.read_image`)."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_frcnn.data.image import read_image
from tf_frcnn.export.decoding import check_formats, decode_image

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
