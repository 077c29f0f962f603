"""JPEG and PNG decoded inside of a graph, to the same pixels as in training.

The policy is that of `tf_frcnn.data.image`: stored pixels, an EXIF orientation ignored, an alpha
channel dropped, 16 bits a channel cut to the high 8. What decodes an image is decided by its first
bytes.
"""

import tensorflow as tf

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n"
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


def decode_image(content: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG or a PNG.

    Args:
        content: scalar string, of which `check_formats` thinks well.

    Returns:
        [H, W, 3] uint8 RGB. A file that is cut short or damaged is an InvalidArgumentError.
    """
    image = tf.cond(
        _starts_with(content, _JPEG_START),
        # The inverse transform that Pillow uses; TensorFlow's own choice is a faster, coarser one.
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(content, channels=3),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _starts_with(contents: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, len(start)), start)
