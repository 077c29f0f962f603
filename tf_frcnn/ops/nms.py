"""Non-maximum suppression: of the RPN's proposals, and of the detections of each class."""

import tensorflow as tf

# Scores at or below this mark boxes that must not come out of NMS.
DROPPED = -1e30


def top_k_nms(
    boxes: tf.Tensor, scores: tf.Tensor, pre_nms_top_k: int, post_nms_top_k: int, nms_iou: float
) -> tf.Tensor:
    """Keep the boxes with the best scores, then the best of those after NMS, in each picture.

    Args:
        boxes: [B, A, 4] float32 yxyx boxes.
        scores: [B, A] float32; `DROPPED` for boxes that must not be kept.
        pre_nms_top_k: boxes that enter NMS, at most.
        post_nms_top_k: boxes K that leave it.
        nms_iou: IoU above which the box with the lower score is dropped.

    Returns:
        [B, K, 4] float32 boxes, best first, padded with empty boxes.
    """
    top_k = tf.minimum(pre_nms_top_k, tf.shape(scores)[1])
    scores, order = tf.math.top_k(scores, top_k)
    boxes = tf.gather(boxes, order, batch_dims=1)

    def suppress(inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        one_boxes, one_scores = inputs
        kept = tf.image.non_max_suppression(
            one_boxes, one_scores, post_nms_top_k, nms_iou, score_threshold=DROPPED
        )
        padding = post_nms_top_k - tf.shape(kept)[0]
        return tf.ensure_shape(
            tf.pad(tf.gather(one_boxes, kept), [[0, padding], [0, 0]]), [post_nms_top_k, 4]
        )

    return tf.map_fn(suppress, (boxes, scores), fn_output_signature=tf.float32)


def per_class_nms(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    score_threshold: float,
    nms_iou: float,
    max_detections: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Suppress the detections of each class separately, then keep the best of all classes.

    Args:
        boxes: [B, K, N, 4] float32 yxyx boxes, one a class.
        scores: [B, K, N] float32 scores of classes 1..N.
        score_threshold: scores must exceed this.
        nms_iou: IoU above which the detection with the lower score is dropped.
        max_detections: detections D kept per picture.

    Returns:
        boxes [B, D, 4] float32, scores [B, D] float32, classes [B, D] int32 from 1, and the number
        of detections [B] int32; best first, the rest zero.
    """
    kept_boxes, kept_scores, kept_classes, num_kept = tf.image.combined_non_max_suppression(
        boxes,
        scores,
        max_output_size_per_class=max_detections,
        max_total_size=max_detections,
        iou_threshold=nms_iou,
        score_threshold=score_threshold,
        clip_boxes=False,
    )
    filled = tf.expand_dims(tf.range(max_detections), 0) < tf.expand_dims(num_kept, 1)
    classes = tf.where(filled, tf.cast(kept_classes, tf.int32) + 1, 0)
    return kept_boxes, kept_scores, classes, num_kept
