"""Arithmetic on boxes: area, IoU, clipping, and the coding of a box relative to an anchor.

Boxes are `[..., 4]` float32 `[ymin, xmin, ymax, xmax]` in absolute pixels, half-open: a box is
`ymax - ymin` high, with no + 1. Empty boxes (all zero) are padding.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

# A delta may enlarge an anchor from 16 px to 1000 px at most: exp() of an untrained head's output
# must not overflow.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)
UNIT_STD = (1.0, 1.0, 1.0, 1.0)


def box_area(boxes: tf.Tensor) -> tf.Tensor:
    """Compute areas in square pixels.

    Args:
        boxes: [..., 4] float32 yxyx boxes.

    Returns:
        [...] float32; 0 for a box that is empty or inverted.
    """
    return tf.reduce_prod(tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)


def pairwise_intersection(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute the area that every box in `boxes_a` shares with every box in `boxes_b`.

    Args:
        boxes_a: [..., N, 4] float32 yxyx boxes.
        boxes_b: [..., M, 4] float32 yxyx boxes in the same frame.

    Returns:
        [..., N, M] float32 square pixels; 0 where either box is empty.
    """
    ymin_a, xmin_a, ymax_a, xmax_a = tf.split(boxes_a, 4, axis=-1)  # [..., N, 1]
    transposed_b = tf.linalg.matrix_transpose(boxes_b)
    ymin_b, xmin_b, ymax_b, xmax_b = tf.split(transposed_b, 4, axis=-2)  # [..., 1, M]
    height = tf.maximum(tf.minimum(ymax_a, ymax_b) - tf.maximum(ymin_a, ymin_b), 0.0)
    width = tf.maximum(tf.minimum(xmax_a, xmax_b) - tf.maximum(xmin_a, xmin_b), 0.0)
    return height * width


def pairwise_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute the IoU of every box in `boxes_a` with every box in `boxes_b`.

    Args:
        boxes_a: [..., N, 4] float32 yxyx boxes.
        boxes_b: [..., M, 4] float32 yxyx boxes in the same frame.

    Returns:
        [..., N, M] float32 in [0, 1]; 0 where either box is empty, so padding never matches.
    """
    intersection = pairwise_intersection(boxes_a, boxes_b)  # [..., N, M]
    area_a = tf.expand_dims(box_area(boxes_a), -1)
    area_b = tf.expand_dims(box_area(boxes_b), -2)
    return tf.math.divide_no_nan(intersection, area_a + area_b - intersection)


def pairwise_ioa(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute which share of every box in `boxes_a` lies in every box in `boxes_b`.

    It is the intersection over the area of the box in `boxes_a` alone.

    Args:
        boxes_a: [..., N, 4] float32 yxyx boxes.
        boxes_b: [..., M, 4] float32 yxyx boxes in the same frame.

    Returns:
        [..., N, M] float32 in [0, 1]; 0 where either box is empty.
    """
    area_a = tf.expand_dims(box_area(boxes_a), -1)
    return tf.math.divide_no_nan(pairwise_intersection(boxes_a, boxes_b), area_a)


def paired_giou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute the generalised IoU of each box in `boxes_a` with its partner in `boxes_b`.

    Rezatofighi et al., 2019, algorithm 1: IoU - (hull - union) / hull, the hull being the area of
    the smallest box around both. Boxes apart have an IoU of 0 and still a slope towards each other.

    Args:
        boxes_a: [..., 4] float32 yxyx boxes, ymax >= ymin and xmax >= xmin.
        boxes_b: [..., 4] float32 yxyx boxes in the same frame.

    Returns:
        [...] float32 in (-1, 1]; 0 where both boxes are empty and in the same place.
    """
    overlap = tf.minimum(boxes_a[..., 2:], boxes_b[..., 2:]) - tf.maximum(
        boxes_a[..., :2], boxes_b[..., :2]
    )
    around = tf.maximum(boxes_a[..., 2:], boxes_b[..., 2:]) - tf.minimum(
        boxes_a[..., :2], boxes_b[..., :2]
    )
    intersection = tf.reduce_prod(tf.maximum(overlap, 0.0), axis=-1)
    union = box_area(boxes_a) + box_area(boxes_b) - intersection
    hull = tf.reduce_prod(around, axis=-1)
    iou = tf.math.divide_no_nan(intersection, union)
    return iou - tf.math.divide_no_nan(hull - union, hull)


def clip_boxes(boxes: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
    """Clip boxes to their images.

    Args:
        boxes: [B, K, 4] float32 yxyx boxes.
        image_sizes: [B, 2] float32 (height, width) in the boxes' frame, without padding.

    Returns:
        [B, K, 4] float32; a box that was wholly outside becomes empty.
    """
    limits = tf.expand_dims(tf.tile(image_sizes, [1, 2]), axis=1)  # [B, 1, 4]: h, w, h, w
    return tf.clip_by_value(boxes, 0.0, limits)


def mirror_boxes(boxes: tf.Tensor, widths: tf.Tensor) -> tf.Tensor:
    """Mirror boxes left to right, as their images are.

    Args:
        boxes: [..., 4] float32 yxyx boxes.
        widths: of their images, in pixels, without padding; float32, broadcast against [...].

    Returns:
        [..., 4] float32 yxyx boxes: half-open [xmin, xmax) becomes [width - xmax, width - xmin).
    """
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([ymin, widths - xmax, ymax, widths - xmin], axis=-1)


def inside_images(boxes: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
    """Tell which boxes do not cross the border of each image.

    Args:
        boxes: [A, 4] float32 yxyx boxes, the same for all images.
        image_sizes: [B, 2] float32 (height, width) without padding.

    Returns:
        [B, A] bool.
    """
    limits = tf.expand_dims(image_sizes, axis=1)  # [B, 1, 2]
    above = tf.reduce_all(boxes[:, :2] >= 0.0, axis=-1)  # [A]
    below = tf.reduce_all(tf.expand_dims(boxes[:, 2:], 0) <= limits, axis=-1)  # [B, A]
    return tf.expand_dims(above, 0) & below


def encode_deltas(
    boxes: tf.Tensor, anchors: tf.Tensor, std: Sequence[float] = UNIT_STD
) -> tf.Tensor:
    """Code boxes relative to anchors as (dy, dx, log dh, log dw) / std.

    Faster R-CNN section 3.1.2, equation 2 (slides: box coding); tensors store y before x.

    Args:
        boxes: [..., 4] float32 yxyx boxes.
        anchors: [..., 4] float32 yxyx boxes of the same shape (or one that broadcasts).
        std: what the four numbers are divided by.

    Returns:
        [..., 4] float32; finite also for empty boxes and anchors, whose sides count as one pixel's
        thousandth.
    """
    smallest = 1e-3
    anchor_size = tf.maximum(anchors[..., 2:] - anchors[..., :2], smallest)
    anchor_center = 0.5 * (anchors[..., :2] + anchors[..., 2:])
    size = tf.maximum(boxes[..., 2:] - boxes[..., :2], smallest)
    center = 0.5 * (boxes[..., :2] + boxes[..., 2:])
    deltas = tf.concat(
        [(center - anchor_center) / anchor_size, tf.math.log(size / anchor_size)], axis=-1
    )
    return deltas / tf.constant(std, deltas.dtype)


def decode_deltas(
    deltas: tf.Tensor, anchors: tf.Tensor, std: Sequence[float] = UNIT_STD
) -> tf.Tensor:
    """Apply (dy, dx, log dh, log dw) * std to anchors: `encode_deltas` solved for the box.

    Args:
        deltas: [..., 4] float32.
        anchors: [..., 4] float32 yxyx boxes that broadcast against the deltas.
        std: what the four numbers were divided by.

    Returns:
        [..., 4] float32 yxyx boxes in the anchors' frame; log scales are limited to
        `MAX_LOG_SCALE`.
    """
    deltas = deltas * tf.constant(std, deltas.dtype)
    anchor_size = anchors[..., 2:] - anchors[..., :2]
    anchor_center = anchors[..., :2] + 0.5 * anchor_size
    center = deltas[..., :2] * anchor_size + anchor_center
    size = tf.exp(tf.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * anchor_size
    return tf.concat([center - 0.5 * size, center + 0.5 * size], axis=-1)
