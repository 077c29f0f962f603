"""Resizing and mirroring of pictures, boxes moving with the pixels."""

import tensorflow as tf


def resized_size(image_size: tf.Tensor, short_side: int, long_side: int) -> tf.Tensor:
    """Compute the size at which a picture enters the network.

    The shorter side becomes `short_side`, unless the longer one would then exceed `long_side`.

    Args:
        image_size: [2] int32 (height, width) of the picture.
        short_side: pixels.
        long_side: pixels, at least `short_side`.

    Returns:
        [2] int32 (height, width), each at least 1, rounded to the nearest.
    """
    sides = tf.cast(image_size, tf.float32)
    scale = tf.minimum(short_side / tf.reduce_min(sides), long_side / tf.reduce_max(sides))
    return tf.maximum(tf.cast(tf.round(sides * scale), tf.int32), 1)


def resize_images(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resize pictures bilinearly, pixel centres at halves, without antialiasing.

    The same operator in training, evaluation and every export: TFLite has it too.

    Args:
        images: [..., H, W, 3] uint8 or float32.
        size: [2] int32 (height, width).

    Returns:
        [..., height, width, 3] float32.
    """
    return tf.image.resize(images, size, method="bilinear", antialias=False)


def scale_boxes(boxes: tf.Tensor, from_size: tf.Tensor, to_size: tf.Tensor) -> tf.Tensor:
    """Move boxes along when their picture is resized.

    Args:
        boxes: [..., 4] float32 yxyx boxes in pixels of the picture of size `from_size`.
        from_size: [2] (height, width).
        to_size: [2] (height, width).

    Returns:
        [..., 4] float32 yxyx boxes in pixels of the picture of size `to_size`.
    """
    ratio = tf.cast(to_size, tf.float32) / tf.cast(from_size, tf.float32)
    return boxes * tf.tile(ratio, [2])


def flip_horizontally(image: tf.Tensor, boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirror a picture and its boxes left to right.

    Args:
        image: [H, W, 3].
        boxes: [G, 4] float32 yxyx boxes in its pixels.

    Returns:
        The mirrored picture and boxes: half-open [xmin, xmax) becomes [W - xmax, W - xmin).
    """
    width = tf.cast(tf.shape(image)[1], tf.float32)
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([ymin, width - xmax, ymax, width - xmin], axis=-1)
    return tf.reverse(image, axis=[1]), mirrored
