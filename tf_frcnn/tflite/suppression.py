"""Non-maximum suppression by an operator that TFLite has: the padded one.

`ops.nms` computes the same for batches with operators that TFLite lacks. One picture at a time
here.
"""

import tensorflow as tf

from tf_frcnn.ops.nms import DROPPED


def keep_proposals(
    boxes: tf.Tensor, scores: tf.Tensor, pre_nms_top_k: int, post_nms_top_k: int, nms_iou: float
) -> tf.Tensor:
    """Keep the boxes with the best scores, then the best of those after NMS: `top_k_nms`.

    Args:
        boxes: [A, 4] float32 yxyx boxes; A is static.
        scores: [A] float32; `DROPPED` for boxes that must not be kept.
        pre_nms_top_k: boxes that enter NMS, at most.
        post_nms_top_k: boxes K that leave it.
        nms_iou: IoU above which the box with the lower score is dropped.

    Returns:
        [K, 4] float32 boxes, best first, padded with empty boxes.
    """
    scores, order = tf.math.top_k(scores, min(pre_nms_top_k, scores.shape[0]))
    boxes = tf.gather(boxes, order)
    kept, is_kept = _padded_nms(boxes, scores, post_nms_top_k, nms_iou, DROPPED)
    return tf.gather(boxes, kept) * tf.expand_dims(tf.cast(is_kept, tf.float32), 1)


def keep_detections(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    score_threshold: float,
    nms_iou: float,
    max_detections: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Suppress the detections of each class, then keep the best of all: `per_class_nms`.

    An operator a class: boxes that are moved apart by class, so that one operator would do, lose
    the last bits of their coordinates.

    Args:
        boxes: [K, N, 4] float32 yxyx boxes, one a class; K and N are static.
        scores: [K, N] float32 scores of classes 1..N.
        score_threshold: scores must exceed this; 0 or more.
        nms_iou: IoU above which the detection with the lower score is dropped.
        max_detections: detections D kept.

    Returns:
        boxes [D, 4] float32, scores [D] float32, classes [D] int32 from 1, and the number of
        detections, scalar int32; best first, the rest zero.
    """
    class_boxes, class_scores = [], []
    for one_boxes, one_scores in zip(
        tf.unstack(boxes, axis=1), tf.unstack(scores, axis=1), strict=True
    ):
        kept, is_kept = _padded_nms(one_boxes, one_scores, max_detections, nms_iou, score_threshold)
        class_boxes.append(tf.gather(one_boxes, kept))
        class_scores.append(tf.where(is_kept, tf.gather(one_scores, kept), 0.0))
    best, order = tf.math.top_k(tf.concat(class_scores, axis=0), max_detections)
    is_found = best > 0.0
    kept_boxes = tf.gather(tf.concat(class_boxes, axis=0), order)
    kept_boxes *= tf.expand_dims(tf.cast(is_found, tf.float32), 1)
    # Class c has the places (c - 1) * D to c * D - 1.
    classes = tf.where(is_found, order // max_detections + 1, 0)
    return kept_boxes, best, classes, tf.reduce_sum(tf.cast(is_found, tf.int32))


def _padded_nms(
    boxes: tf.Tensor, scores: tf.Tensor, max_boxes: int, nms_iou: float, score_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Select boxes by NMS.

    Args:
        boxes: [A, 4] float32 yxyx boxes.
        scores: [A] float32; only boxes whose score exceeds `score_threshold` are selected.
        max_boxes: how many M are selected at most.
        nms_iou: as above.
        score_threshold: as above.

    Returns:
        [M] int32 indices of the selected boxes, best first; [M] bool, which of them are no padding.
    """
    kept, num_kept = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,
        scores=scores,
        max_output_size=max_boxes,
        iou_threshold=nms_iou,
        score_threshold=score_threshold,
        pad_to_max_output_size=True,
    )
    return tf.ensure_shape(kept, [max_boxes]), tf.range(max_boxes) < num_kept
