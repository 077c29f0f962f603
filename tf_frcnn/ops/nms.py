"""Non-maximum suppression: of the RPN's proposals, and of the detections of each class."""

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf

from tf_frcnn.ops.builtin import takes_builtin_only

# Scores at or below this mark boxes that must not come out of NMS.
DROPPED = -1e30
# IoU of a box with itself, less what rounding might take off. TensorFlow's soft-NMS has no limit of
# IoU; TFLite's has one, and by it sees that a box was kept before.
_SAME_BOX = 1.0 - 1e-6


def top_k(scores: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Find the best scores of each image; all of them where there are fewer.

    Args:
        scores: [B, A] float32.
        count: how many K at most.

    Returns:
        [B, K] scores, best first, and [B, K] int32 indices into A.
    """
    num_scores = scores.shape[1]
    count = tf.minimum(count, tf.shape(scores)[1]) if num_scores is None else min(count, num_scores)
    return tf.math.top_k(scores, count)


def top_k_nms(
    boxes: tf.Tensor, scores: tf.Tensor, pre_nms_top_k: int, post_nms_top_k: int, nms_iou: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Keep the boxes with the best scores, then the best of those after NMS, in each image.

    Args:
        boxes: [B, A, 4] float32 yxyx boxes.
        scores: [B, A] float32; `DROPPED` for boxes that must not be kept.
        pre_nms_top_k: boxes that enter NMS, at most.
        post_nms_top_k: boxes K that leave it.
        nms_iou: IoU above which the box with the lower score is dropped.

    Returns:
        [B, K, 4] float32 boxes, best first, padded with empty boxes; and [B, K] their scores,
        `DROPPED` in the padding.
    """
    scores, order = top_k(scores, pre_nms_top_k)
    boxes = tf.gather(boxes, order, batch_dims=1)
    kept = _suppress(boxes, scores, post_nms_top_k, nms_iou, DROPPED)
    # Padding reads the empty box behind the last one.
    boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
    scores = tf.pad(scores, [[0, 0], [0, 1]], constant_values=DROPPED)
    return tf.gather(boxes, kept, batch_dims=1), tf.gather(scores, kept, batch_dims=1)


def best_of_maps(boxes: Sequence[tf.Tensor], scores: Sequence[tf.Tensor], count: int) -> tf.Tensor:
    """Keep the best boxes of all maps; each map's are sorted and suppressed among themselves.

    As in torchvision the best are those of the highest probabilities, of which many are equal near
    1; of equal ones those of the earlier map.

    Args:
        boxes: L x [B, K, 4] float32 boxes, padded with empty ones.
        scores: L x [B, K] float32 logits, `DROPPED` in the padding.
        count: boxes M to keep, at most K.

    Returns:
        [B, M, 4] float32 boxes, best first, padded with empty boxes.
    """
    if len(boxes) == 1:
        return boxes[0][:, :count]
    logits = tf.concat(scores, axis=1)
    probabilities = tf.where(logits > DROPPED, tf.sigmoid(logits), -1.0)
    _, order = tf.math.top_k(probabilities, count)
    return tf.gather(tf.concat(boxes, axis=1), order, batch_dims=1)


def per_class_nms(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    score_threshold: float,
    nms_iou: float,
    max_detections: int,
    soft_nms_sigma: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Suppress the detections of each class separately, then keep the best of all classes.

    Of equal scores, of which there are many near 1, the earlier box counts more, and of one box the
    lower class.

    With a `soft_nms_sigma` it is Gaussian soft-NMS (Bodla et al., 2017, with the sigma of that
    paper): the best detection is kept, the scores of all others are multiplied by
    exp(-IoU^2 / soft_nms_sigma) of their IoU with it, then the best of those is kept, and so on.
    `nms_iou` is not used. TensorFlow's kernel, which computes it on the processor, has
    exp(-IoU^2 / (2 sigma)), so that its sigma is half of the paper's.

    Args:
        boxes: [B, K, N, 4] float32 yxyx boxes, one a class.
        scores: [B, K, N] float32 scores of classes 1..N.
        score_threshold: scores must exceed this; 0 or more.
        nms_iou: IoU above which the detection with the lower score is dropped.
        max_detections: detections D kept per image.
        soft_nms_sigma: 0 for hard NMS, by `nms_iou`; the smaller above 0, the faster scores fall
            with overlap. They are compared with `score_threshold` again as they fall.

    Returns:
        boxes [B, D, 4] float32, scores [B, D] float32, classes [B, D] int32 from 1, and the number
        of detections [B] int32; best first, the rest zero. Scores are those after soft-NMS.
    """
    if takes_builtin_only() or soft_nms_sigma > 0.0:
        suppress = partial(
            _suppress_class,
            score_threshold=score_threshold,
            nms_iou=nms_iou,
            max_detections=max_detections,
            soft_nms_sigma=soft_nms_sigma,
        )
        suppress_all = _suppress_one_by_one if takes_builtin_only() else _suppress_in_loop
        return _keep_best(boxes, suppress_all(suppress, boxes, scores), max_detections)
    ranked, sorted_scores = _rank(scores, score_threshold)
    kept_boxes, kept_ranked, kept_classes, num_kept = tf.image.combined_non_max_suppression(
        boxes,
        ranked,
        max_output_size_per_class=max_detections,
        max_total_size=max_detections,
        iou_threshold=nms_iou,
        score_threshold=0.0,
        clip_boxes=False,
    )
    # The best has the highest number, and padding 0: it reads the 0 behind the last score.
    places = tf.cast(tf.shape(sorted_scores)[1], tf.float32) - kept_ranked
    places = tf.cast(places, tf.int64)
    kept_scores = tf.gather(tf.pad(sorted_scores, [[0, 0], [0, 1]]), places, batch_dims=1)
    filled = tf.expand_dims(tf.range(max_detections), 0) < tf.expand_dims(num_kept, 1)
    classes = tf.cast(tf.where(filled, kept_classes + 1.0, 0.0), tf.int32)
    return kept_boxes, kept_scores, classes, num_kept


def _rank(scores: tf.Tensor, score_threshold: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Put numbers in the place of scores that have the same order, and none of which are equal.

    `tf.image.combined_non_max_suppression` takes any of equal scores first, now this, now that.

    Args:
        scores: [B, K, N] float32.
        score_threshold: see `per_class_nms`.

    Returns:
        [B, K, N] float32: K * N for the best score of an image, one less for the next; 0 for those
        that do not exceed the threshold. And [B, K * N] float32, the scores, best first.
    """
    num_images = tf.shape(scores)[0]
    flat = tf.reshape(scores, [num_images, -1])
    count = tf.shape(flat)[1]
    ordered, order = tf.math.top_k(flat, count)  # of equal ones the earlier first
    numbers = tf.cast(tf.expand_dims(count - tf.range(count), 0), tf.float32)
    numbers = tf.where(ordered > score_threshold, numbers, 0.0)
    # int64: a GPU has no arithmetic of int32.
    starts = tf.cast(tf.range(num_images) * count, tf.int64)
    places = tf.cast(order, tf.int64) + tf.expand_dims(starts, 1)
    ranked = tf.tensor_scatter_nd_update(
        tf.zeros_like(tf.reshape(flat, [-1])),
        tf.reshape(places, [-1, 1]),
        tf.reshape(numbers, [-1]),
    )
    return tf.reshape(ranked, tf.shape(scores)), ordered


def _keep_best(
    boxes: tf.Tensor, scores: tf.Tensor, max_detections: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Keep the best of all classes: [B, K, N, 4], [B, K, N] -> as `per_class_nms` returns them.

    Scores of 0 are those of no detection. Of equal ones `top_k` takes the earlier box first, then
    the lower class, for in that order they lie.
    """
    num_boxes, num_classes = scores.shape[1], scores.shape[2]
    flat = tf.reshape(scores, [-1, num_boxes * num_classes])
    # There may be fewer than are to be answered.
    best, places = tf.math.top_k(tf.pad(flat, [[0, 0], [0, max_detections]]), max_detections)
    is_found = best > 0.0
    places = tf.where(is_found, places, 0)
    flat_boxes = tf.reshape(boxes, [-1, num_boxes * num_classes, 4])
    kept_boxes = tf.gather(flat_boxes, places, batch_dims=1)
    kept_boxes *= tf.expand_dims(tf.cast(is_found, tf.float32), -1)
    classes = tf.where(is_found, places % num_classes + 1, 0)
    return kept_boxes, best, classes, tf.reduce_sum(tf.cast(is_found, tf.int32), axis=1)


def _suppress_class(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    score_threshold: float,
    nms_iou: float,
    max_detections: int,
    soft_nms_sigma: float,
) -> tf.Tensor:
    """Suppress boxes of one class in one image, by operators that TFLite has as well.

    Args:
        boxes: [K, 4] float32 yxyx boxes.
        scores: [K] float32.
        score_threshold: see `per_class_nms`, as the other arguments.
        nms_iou: see there.
        max_detections: see there.
        soft_nms_sigma: see there.

    Returns:
        [K] float32 scores, after soft-NMS where that is asked for; 0 of suppressed boxes.
    """
    if soft_nms_sigma > 0.0:
        kept, kept_scores, _ = tf.raw_ops.NonMaxSuppressionV5(
            boxes=boxes,
            scores=scores,
            max_output_size=max_detections,
            iou_threshold=_SAME_BOX,
            score_threshold=score_threshold,
            soft_nms_sigma=0.5 * soft_nms_sigma,
            pad_to_max_output_size=True,
        )
    else:
        kept, is_kept = _suppress_padded(boxes, scores, max_detections, nms_iou, score_threshold)
        kept_scores = tf.where(is_kept, tf.gather(scores, kept), 0.0)
    # Padding adds 0 to the score of box 0.
    return tf.scatter_nd(tf.expand_dims(kept, 1), kept_scores, [scores.shape[0]])


def _suppress_in_loop(
    suppress: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], boxes: tf.Tensor, scores: tf.Tensor
) -> tf.Tensor:
    """Call `_suppress_class` for each class of each image: [B, K, N, 4], [B, K, N] -> [B, K, N]."""
    num_boxes, num_classes = scores.shape[1], scores.shape[2]
    # All of it on the processor: else boxes and scores went there and back for every class.
    with tf.device("CPU:0"):
        by_class = tf.reshape(tf.transpose(boxes, [0, 2, 1, 3]), [-1, num_boxes, 4])
        scores_by_class = tf.reshape(tf.transpose(scores, [0, 2, 1]), [-1, num_boxes])
        kept = tf.map_fn(
            lambda one: suppress(*one),
            (by_class, scores_by_class),
            fn_output_signature=tf.TensorSpec([num_boxes], tf.float32),
        )
        return tf.transpose(tf.reshape(kept, [-1, num_classes, num_boxes]), [0, 2, 1])


def _suppress(
    boxes: tf.Tensor, scores: tf.Tensor, max_boxes: int, nms_iou: float, score_threshold: float
) -> tf.Tensor:
    """Select boxes by NMS in each image.

    Args:
        boxes: [B, A, 4] float32 yxyx boxes.
        scores: [B, A] float32; only boxes whose score exceeds `score_threshold` are selected.
        max_boxes: how many M are selected at most.
        nms_iou: IoU above which the box with the lower score is dropped.
        score_threshold: see `scores`.

    Returns:
        [B, M] int32 indices of the selected boxes, best first; A in the padding.
    """
    padding = tf.shape(scores)[1] if scores.shape[1] is None else scores.shape[1]
    if takes_builtin_only():
        kept, is_kept = _suppress_padded(
            tf.squeeze(boxes, 0), tf.squeeze(scores, 0), max_boxes, nms_iou, score_threshold
        )
        return tf.expand_dims(tf.where(is_kept, kept, padding), 0)

    def suppress_one(inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        one_boxes, one_scores = inputs
        kept = tf.image.non_max_suppression(
            one_boxes, one_scores, max_boxes, nms_iou, score_threshold
        )
        num_missing = max_boxes - tf.shape(kept)[0]
        padded = tf.pad(kept, [[0, num_missing]], constant_values=padding)
        return tf.ensure_shape(padded, [max_boxes])

    return tf.map_fn(suppress_one, (boxes, scores), fn_output_signature=tf.int32)


# === The twins for TFLite ===


def _suppress_padded(
    boxes: tf.Tensor, scores: tf.Tensor, max_boxes: int, nms_iou: float, score_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Do what `_suppress` does, for the boxes [A, 4] and scores [A] of one image."""
    kept, num_kept = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,
        scores=scores,
        max_output_size=max_boxes,
        iou_threshold=nms_iou,
        score_threshold=score_threshold,
        pad_to_max_output_size=True,
    )
    return tf.ensure_shape(kept, [max_boxes]), tf.range(max_boxes) < num_kept


def _suppress_one_by_one(
    suppress: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], boxes: tf.Tensor, scores: tf.Tensor
) -> tf.Tensor:
    """Do what `_suppress_in_loop` does, for one image.

    One operator for each class: if boxes were moved apart by class, so that one operator would do,
    the last bits of their coordinates would be lost.
    """
    kept = [
        suppress(one_boxes, one_scores)
        for one_boxes, one_scores in zip(
            tf.unstack(tf.squeeze(boxes, 0), axis=1),
            tf.unstack(tf.squeeze(scores, 0), axis=1),
            strict=True,
        )
    ]
    return tf.expand_dims(tf.stack(kept, axis=1), 0)
