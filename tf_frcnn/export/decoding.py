"""JPEG and PNG decoded inside of a graph, to the same pixels as in training.

The policy is that of `tf_frcnn.data.image`: an alpha channel dropped, 16 bits a channel cut to the
high 8. What decodes an image is decided by its first bytes. TensorFlow's decoders give the stored
pixels; the EXIF orientation is looked for here, by the rules of `tf_frcnn.data.orientation`.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_frcnn.data.image import MAX_PIXELS
from tf_frcnn.data.orientation import (
    EXIF_PREFIX,
    FIRST_QUARTER_TURN,
    ORIENTATION_TAG,
    SHORT,
    UPRIGHT,
)

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_END = -1  # of a search
_HEX_DIGITS = [f"{byte:02x}" for byte in range(256)]


def check_formats(image_bytes: tf.Tensor) -> tf.Operation:
    """Make an operation that fails unless all items begin as JPEG or PNG do.

    Args:
        image_bytes: [B] string, a file's content each.

    Returns:
        What must run before the items are decoded. It raises an InvalidArgumentError that names the
        first wrong item by its index from 0, and its first bytes.
    """
    known = _starts_with(image_bytes, _JPEG_START) | _starts_with(image_bytes, _PNG_START)
    # The item after the last is looked at where all are right: an empty one.
    index = tf.argmin(tf.concat([tf.cast(known, tf.int32), [0]], axis=0))
    first_bytes = tf.strings.substr(tf.concat([image_bytes, [""]], axis=0)[index], 0, 8)
    digits = tf.gather(_HEX_DIGITS, tf.cast(tf.io.decode_raw(first_bytes, tf.uint8), tf.int32))
    message = tf.strings.join(
        [
            "image_bytes[",
            tf.strings.as_string(index),
            "] begins with the bytes [",
            tf.strings.reduce_join(digits, separator=" "),
            "]: expected a JPEG (ff d8 ff) or a PNG (89 50 4e 47 0d 0a 1a 0a).",
        ]
    )
    return tf.debugging.Assert(tf.reduce_all(known), [message])


def decode_image(content: tf.Tensor, apply_exif: bool = False) -> tf.Tensor:
    """Decode a JPEG or a PNG.

    Args:
        content: scalar string, of which `check_formats` thinks well.
        apply_exif: turn the image upright by its EXIF orientation.

    Returns:
        [H, W, 3] uint8 RGB. A file that is cut short or damaged, or states more than `MAX_PIXELS`
        pixels, is an InvalidArgumentError; the latter before there is memory for them.
    """
    is_jpeg = _starts_with(content, _JPEG_START)
    with tf.control_dependencies([_check_size(content, is_jpeg)]):
        content = tf.identity(content)
    image = tf.cond(
        is_jpeg,
        # The inverse transform that Pillow uses; TensorFlow's own choice is a faster, coarser one.
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(content, channels=3),
    )
    image = tf.ensure_shape(image, [None, None, 3])
    return _turn_upright(image, read_orientation(content)) if apply_exif else image


def _check_size(content: tf.Tensor, is_jpeg: tf.Tensor) -> tf.Operation:
    """Make an operation that fails where the header states too many pixels."""
    height, width = tf.unstack(
        tf.cond(
            is_jpeg,
            lambda: tf.image.extract_jpeg_shape(content)[:2],
            # Behind the signature, and the length and name of the first chunk: width, height.
            lambda: tf.stack([_unsigned(_bytes_at(content, place, 4)) for place in (20, 16)]),
        )
    )
    size = tf.strings.join([tf.strings.as_string(height), " x ", tf.strings.as_string(width)])
    num_pixels = tf.cast(height, tf.float64) * tf.cast(width, tf.float64)
    message = tf.strings.join(
        ["image_bytes: an image of ", size, f" pixels: expected at most {MAX_PIXELS:,} pixels."]
    )
    return tf.debugging.Assert(num_pixels <= MAX_PIXELS, [message])


def _unsigned(digits: tf.Tensor) -> tf.Tensor:
    """Read [4] bytes as a number, which is at most the largest of int32."""
    number = _to_number(digits, is_little=False)
    return tf.where(number < 0, tf.int32.max, number)


def read_orientation(content: tf.Tensor) -> tf.Tensor:
    """Read the EXIF orientation of a JPEG or a PNG, as `data.image.read_image_header` does.

    Args:
        content: scalar string; may be cut or damaged.

    Returns:
        Scalar int32, 1 to 8; 1 where there is none, or none that makes sense.
    """
    return _parse_orientation(
        tf.cond(
            _starts_with(content, _JPEG_START),
            lambda: _find_in_jpeg(content),
            lambda: _find_in_png(content),
        )
    )


def _turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn stored pixels as `data.orientation.turn_upright` does."""

    def is_one_of(*numbers: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, numbers))

    image = tf.cond(
        orientation >= FIRST_QUARTER_TURN,
        lambda: tf.transpose(image, [1, 0, 2]),
        lambda: image,
    )
    image = tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(image, [1]), lambda: image)


# === EXIF ===


def _find_in_jpeg(content: tf.Tensor) -> tf.Tensor:
    """Find the first APP1 segment with EXIF before the scan -> its TIFF part, "" for none.

    A segment is FF, its marker and the length of what follows, itself included.
    """

    def step(place: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start = _bytes_at(content, place, 4)
        is_marker, marker = start[0] == 0xFF, start[1]
        is_fill = marker == 0xFF  # before a marker there may be any number of FF
        stands_alone = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD8))
        length = 256 * start[2] + start[3]
        body = _substring(content, place + 4, length - 2)
        is_exif = is_marker & (marker == 0xE1) & _starts_with(body, EXIF_PREFIX)
        is_end = ~is_marker | (marker == 0xDA) | (marker == 0xD9)
        after = place + tf.where(is_fill, 1, tf.where(stands_alone, 2, 2 + length))
        found = tf.where(is_exif, _substring(body, len(EXIF_PREFIX)), "")
        return tf.where(is_end | is_exif, _END, after), found

    return _search(content, 0, step)


def _find_in_png(content: tf.Tensor) -> tf.Tensor:
    """Find the eXIf chunk before the pixels -> its content, "" for none.

    A chunk is the length of its content, its name, the content and four bytes to check it by.
    """

    def step(place: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        digits = _bytes_at(content, place, 4)
        length = _to_number(digits, is_little=False)
        name = _substring(content, place + 4, 4)
        is_exif, is_end = name == b"eXIf", (name == b"IDAT") | (name == b"IEND")
        is_end |= length < 0  # 2^31 and more
        after = tf.where(is_end | is_exif, _END, place + 12 + tf.maximum(length, 0))
        return after, tf.where(is_exif, _substring(content, place + 8, length), "")

    return _search(content, len(_PNG_START), step)


def _search(content: tf.Tensor, start: int, step: Callable[..., Any]) -> tf.Tensor:
    """Go from segment to segment until there is nothing more, or what is looked for."""
    length = tf.strings.length(content)
    return tf.while_loop(
        lambda place, found: (place >= 0) & (place < length),
        step,
        (tf.constant(start), tf.constant("")),
        parallel_iterations=1,
    )[1]


def _parse_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Find the orientation in an EXIF block, as `data.orientation.parse_orientation` does."""
    is_little = _starts_with(tiff, b"II*\0")
    is_known = is_little | _starts_with(tiff, b"MM\0*")
    start = _to_number(_bytes_at(tiff, 4, 4), is_little)
    start = tf.where((start < 0) | (start > tf.strings.length(tiff)), 0, start)
    count = _to_number(_bytes_at(tiff, start, 2), is_little)
    # Whole entries of twelve bytes: tag, type, number of values, value.
    table = tf.io.decode_raw(_substring(tiff, start + 2, 12 * count), tf.uint8)
    entries = tf.reshape(tf.cast(table[: tf.size(table) // 12 * 12], tf.int32), [-1, 12])
    tags = _to_number(entries[:, 0:2], is_little)
    entry = tf.concat([entries[tags == ORIENTATION_TAG], tf.zeros([1, 12], tf.int32)], axis=0)[0]
    value = _to_number(entry[8:10], is_little)
    is_valid = (
        is_known
        & (_to_number(entry[2:4], is_little) == SHORT)
        & (_to_number(entry[4:8], is_little) == 1)
        & (value >= 1)
        & (value <= 8)
    )
    return tf.where(is_valid, value, UPRIGHT)


def _to_number(digits: tf.Tensor, is_little: tf.Tensor | bool) -> tf.Tensor:
    """Read [..., N] bytes as a number: [...] int32; of four bytes it may be below 0."""
    digits = tf.where(is_little, tf.reverse(digits, [-1]), digits)
    powers = [256**power for power in range(digits.shape[-1])][::-1]
    return tf.reduce_sum(digits * tf.constant(powers), axis=-1)


def _bytes_at(content: tf.Tensor, place: tf.Tensor | int, count: int) -> tf.Tensor:
    """Get [count] int32 bytes; 0 behind the end."""
    found = tf.io.decode_raw(_substring(content, place, count), tf.uint8)
    found = tf.pad(found, [[0, count - tf.size(found)]])
    return tf.ensure_shape(tf.cast(found, tf.int32), [count])


def _substring(
    content: tf.Tensor, place: tf.Tensor | int, count: tf.Tensor | int = 2**31 - 1
) -> tf.Tensor:
    """Get a part of a string, as far as it is there."""
    place = tf.clip_by_value(place, 0, tf.strings.length(content))
    return tf.strings.substr(content, place, tf.maximum(count, 0))


def _starts_with(contents: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, len(start)), start)
