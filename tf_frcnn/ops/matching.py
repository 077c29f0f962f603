"""Matching of anchors and proposals to ground-truth boxes by IoU (section 3.1.2)."""

import tensorflow as tf

# Not int32: TensorFlow has a GPU leave arithmetic of int32 to the processor, and waits for it.
LABELS = tf.int8


def match_boxes(
    iou: tf.Tensor, positive_iou: float, negative_iou: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Give every box the ground-truth box with which its IoU is largest, and a label.

    Args:
        iou: [B, A, G] float32 with G >= 1; 0 in the columns of padding, negative in the rows of
            boxes that are to be ignored.
        positive_iou: a largest IoU from here up makes the box an object.
        negative_iou: a largest IoU below this makes it background.

    Returns:
        matched: [B, A] int32 index of the ground-truth box; the first of several that tie.
        labels: [B, A] int8: 1 object, 0 background, -1 ignored.
    """
    best = tf.reduce_max(iou, axis=-1)
    matched = tf.argmax(iou, axis=-1, output_type=tf.int32)
    positive, negative, ignored = (tf.constant(label, LABELS) for label in (1, 0, -1))
    labels = tf.where(best < negative_iou, negative, ignored)
    labels = tf.where(best >= positive_iou, positive, labels)
    return matched, tf.where(best < 0.0, ignored, labels)


def best_of_each_object(iou: tf.Tensor) -> tf.Tensor:
    """Tell which boxes are the best of some ground-truth box; ties are all kept.

    Without them an object that no anchor reaches at the positive IoU would have no anchor at all.

    Args:
        iou: [B, A, G] float32 as in `match_boxes`.

    Returns:
        [B, A] bool.
    """
    best = tf.reduce_max(iou, axis=1, keepdims=True)  # [B, 1, G]
    # Float32 rounding tells true ties apart by some 1e-6 of their IoU.
    return tf.reduce_any((iou >= best * (1.0 - 1e-5)) & (best > 0.0), axis=-1)


def ignore_inside(labels: tf.Tensor, ioa: tf.Tensor, share: float) -> tf.Tensor:
    """Ignore background that lies in regions of which nobody knows what is in them.

    A crowd has objects without a box of their own: what looks like one there is no background.
    Detectron leaves out proposals so (`CROWD_FILTER_THRESH`, 0.7), here anchors are as well; COCO's
    evaluation matches detections with crowds by the same ratio.

    Args:
        labels: [B, A] int8 as of `match_boxes`.
        ioa: [B, A, I] float32 of `pairwise_ioa`: shares of the boxes' own areas in each of I
            regions, I >= 1; 0 in the columns of padding.
        share: above 0; a background box is ignored where its largest share reaches it.

    Returns:
        [B, A] int8: -1 where that is so, else the labels; objects stay objects.
    """
    negative, ignored = (tf.constant(label, LABELS) for label in (0, -1))
    is_inside = tf.reduce_max(ioa, axis=-1) >= share
    return tf.where(is_inside & (labels == negative), ignored, labels)
