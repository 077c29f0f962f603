"""Resizing, mirroring and cropping of images, boxes moving with the pixels."""

from functools import partial

import tensorflow as tf

from tf_frcnn.ops.boxes import clip_boxes, mirror_boxes

# Windows drawn for an image, all at once, of which the first is taken that leaves it a box.
WINDOW_TRIES = 20


def resize_images(images: tf.Tensor, size: tf.Tensor, antialias: bool = False) -> tf.Tensor:
    """Resize images bilinearly, pixel centres at halves.

    The same operators in training, evaluation and every export. `ResizeBilinear`, which TFLite has
    too, makes each pixel of the four around its centre. With `antialias` images that get lower or
    narrower go through `ScaleAndTranslate`: its triangle is as wide as two pixels of the smaller
    image, as that of Pillow's BILINEAR is. TensorFlow has it for processors alone.

    Args:
        images: [..., H, W, 3] uint8 or float32.
        size: [2] int32 (height, width).
        antialias: where an image is made smaller; nothing else is changed by it.

    Returns:
        [..., height, width, 3] float32.
    """
    resize = partial(tf.image.resize, images, size, method="bilinear")
    if not antialias:
        return resize(antialias=False)
    is_smaller = tf.reduce_any(tf.less(size, tf.shape(images)[-3:-1]))
    return tf.cond(is_smaller, lambda: resize(antialias=True), lambda: resize(antialias=False))


def scale_boxes(boxes: tf.Tensor, from_size: tf.Tensor, to_size: tf.Tensor) -> tf.Tensor:
    """Move boxes along when their image is resized.

    Args:
        boxes: [..., 4] float32 yxyx boxes in pixels of the image of size `from_size`.
        from_size: [2] (height, width).
        to_size: [2] (height, width).

    Returns:
        [..., 4] float32 yxyx boxes in pixels of the image of size `to_size`.
    """
    ratio = tf.cast(to_size, tf.float32) / tf.cast(from_size, tf.float32)
    return boxes * tf.tile(ratio, [2])


def flip_horizontally(image: tf.Tensor, boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirror an image and its boxes left to right.

    Args:
        image: [H, W, 3].
        boxes: [G, 4] float32 yxyx boxes in its pixels.

    Returns:
        The mirrored image and boxes: half-open [xmin, xmax) becomes [W - xmax, W - xmin).
    """
    width = tf.cast(tf.shape(image)[1], tf.float32)
    return tf.reverse(image, axis=[1]), mirror_boxes(boxes, width)


def crop(
    image: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, window: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cut an image and its boxes to a window.

    A box whose centre is outside of the window is dropped: less than half of it would be left in
    height or width. The others are clipped to the window. The whole image keeps all its boxes.

    Args:
        image: [H, W, 3].
        boxes: [G, 4] float32 yxyx boxes in its pixels, inside of it and not empty.
        classes: [G] int32.
        window: [4] int32 yxyx window in its pixels, half-open, not empty.

    Returns:
        The image, boxes and classes that are left; boxes in pixels of the window, never empty.
    """
    ymin, xmin, ymax, xmax = tf.unstack(window)
    moved, kept = _move_into_windows(boxes, window[None])
    return (
        image[ymin:ymax, xmin:xmax],
        tf.boolean_mask(moved[0], kept[0]),
        tf.boolean_mask(classes, kept[0]),
    )


def move_to_window(boxes: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Move boxes along when their image is cut to a window, and clip them to it.

    Args:
        boxes: [I, 4] float32 yxyx boxes in pixels of the image.
        window: [4] int32 yxyx window in its pixels, half-open, not empty.

    Returns:
        [I, 4] float32 in pixels of the window; boxes that were outside of it are empty.
    """
    moved, _ = _move_into_windows(boxes, window[None])
    return moved[0]


def draw_window(
    boxes: tf.Tensor,
    image_size: tf.Tensor,
    probability: float,
    min_fraction: float,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Draw the window that an image is cropped to, or take the whole image.

    Height and width are drawn evenly from `min_fraction` to 1 of the image's, then the place. A
    window is landscape or portrait as the image is, for batches hold one orientation. An image
    with boxes never loses all of them: the first of `WINDOW_TRIES` windows that `crop` leaves a box
    in is taken, and if there is none, the image stays whole.

    Args:
        boxes: [G, 4] float32 yxyx boxes in pixels of the image; without any, each window will do.
        image_size: [2] int32 (height, width).
        probability: how often to crop at all, from 0 to 1.
        min_fraction: smallest height and width of the window, above 0 and at most 1 of the
            image's.
        seed: [2] int32 that the draws depend on.

    Returns:
        [4] int32 yxyx window in pixels of the image, half-open, 1 pixel high and wide at least.
    """
    noise = tf.random.stateless_uniform([1 + WINDOW_TRIES, 4], seed)
    windows = _place_windows(noise[1:], image_size, min_fraction)
    _, kept = _move_into_windows(boxes, windows)
    usable = tf.reduce_any(kept, axis=1) | (tf.shape(boxes)[0] == 0)  # [WINDOW_TRIES]
    is_cropped = (noise[0, 0] < probability) & tf.reduce_any(usable)
    first_usable = windows[tf.argmax(tf.cast(usable, tf.int32))]
    return tf.where(is_cropped, first_usable, tf.concat([[0, 0], image_size], axis=0))


def _place_windows(noise: tf.Tensor, image_size: tf.Tensor, min_fraction: float) -> tf.Tensor:
    """Turn [T, 4] noise in [0, 1) into [T, 4] int32 windows of an image's orientation."""
    size = tf.cast(image_size, tf.float32)
    fractions = min_fraction + (1.0 - min_fraction) * noise[:, :2]  # [T, 2] of height and width
    # Where the longer side lost so much that it is the shorter one now, the two fractions change
    # places: then it is the longer one again.
    is_turned = _is_landscape(fractions * size) != _is_landscape(size)
    fractions = tf.where(is_turned[:, None], tf.reverse(fractions, axis=[1]), fractions)
    sides = tf.clip_by_value(tf.round(fractions * size), 1.0, size)
    free = size - sides
    start = tf.minimum(tf.floor(noise[:, 2:] * (free + 1.0)), free)  # every place equally often
    return tf.cast(tf.concat([start, start + sides], axis=1), tf.int32)


def _is_landscape(sizes: tf.Tensor) -> tf.Tensor:
    """Tell of [..., 2] (height, width) what `BatchSampler` tells of images: [...] bool."""
    return sizes[..., 1] >= sizes[..., 0]


def _move_into_windows(boxes: tf.Tensor, windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Move [G, 4] boxes into the frame of each of [T, 4] windows.

    Returns:
        [T, G, 4] float32 boxes, clipped; [T, G] bool, which of them the window keeps.
    """
    windows = tf.cast(windows, tf.float32)
    start, size = windows[:, :2], windows[:, 2:] - windows[:, :2]  # [T, 2]
    moved = boxes[None] - tf.tile(start, [1, 2])[:, None]  # [T, G, 4]
    clipped = clip_boxes(moved, size)
    # Twice the centre, once from the window's start and once from its end, so that rounding never
    # puts the centre of a box inside of the window on its end.
    from_start = moved[..., :2] + moved[..., 2:]
    from_end = (moved[..., :2] - size[:, None]) + (moved[..., 2:] - size[:, None])
    has_centre = (from_start >= 0.0) & (from_end < 0.0)
    has_area = clipped[..., 2:] > clipped[..., :2]
    return clipped, tf.reduce_all(has_centre & has_area, axis=-1)
