"""What the RPN and the detector should have answered, for a sampled mini-batch of each picture."""

from typing import NamedTuple

import tensorflow as tf

from tf_frcnn.config import TrainConfig
from tf_frcnn.ops.boxes import box_area, encode_deltas, inside_images, pairwise_iou
from tf_frcnn.ops.matching import best_of_each_object, match_boxes
from tf_frcnn.ops.random_streams import SamplingStream, sampling_seeds
from tf_frcnn.ops.sampling import subsample_labels


class AnchorTargets(NamedTuple):
    """The RPN's mini-batch of S anchors a picture.

    Attributes:
        indices: [B, S] int32 into the anchors.
        classes: [B, S] int32 index into the pair of logits: 0 object, 1 background.
        deltas: [B, S, 4] float32 offsets of the matched ground-truth box.
        positives: [B, S] float32: 1 for objects.
        weights: [B, S] float32: 1 for samples, 0 for padding.
    """

    indices: tf.Tensor
    classes: tf.Tensor
    deltas: tf.Tensor
    positives: tf.Tensor
    weights: tf.Tensor


class RoITargets(NamedTuple):
    """The detector's mini-batch of R RoIs a picture.

    Attributes:
        rois: [B, R, 4] float32 yxyx boxes in pixels of the network's input; empty in the padding.
        classes: [B, R] int32: 0 background, 1..N.
        deltas: [B, R, 4] float32 offsets of the matched ground-truth box, divided by the std.
        positives: [B, R] float32: 1 for objects.
        weights: [B, R] float32: 1 for samples, 0 for padding.
    """

    rois: tf.Tensor
    classes: tf.Tensor
    deltas: tf.Tensor
    positives: tf.Tensor
    weights: tf.Tensor


def assign_anchor_targets(
    anchors: tf.Tensor,
    image_sizes: tf.Tensor,
    gt_boxes: tf.Tensor,
    seeds: tf.Tensor,
    config: TrainConfig,
) -> AnchorTargets:
    """Label the anchors of each picture and draw the RPN's mini-batch (section 3.1.2).

    An anchor is an object if its IoU with a ground-truth box reaches `rpn_positive_iou` or is the
    largest that this box has with any anchor; background if all its IoUs are below
    `rpn_negative_iou`; anchors that cross the picture's border are ignored.

    Args:
        anchors: [A, 4] float32 yxyx boxes in pixels of the network's input.
        image_sizes: [B, 2] float32 (height, width) without padding.
        gt_boxes: [B, G, 4] float32 yxyx boxes in the same frame, padded with empty boxes; G >= 1.
        seeds: [B, 2] int32 seeds of the pictures.
        config: thresholds and sizes.

    Returns:
        The mini-batch; a picture without objects has background only.
    """
    iou = pairwise_iou(tf.expand_dims(anchors, 0), gt_boxes)  # [B, A, G]
    if config.ignore_border_anchors:
        inside = inside_images(anchors, image_sizes)
    else:  # still nothing from the padding: the centre must be in the picture
        centers = 0.5 * (anchors[:, :2] + anchors[:, 2:])
        inside = tf.reduce_all(tf.expand_dims(centers, 0) < tf.expand_dims(image_sizes, 1), -1)
    iou = tf.where(tf.expand_dims(inside, -1), iou, -1.0)
    matched, labels = match_boxes(iou, config.rpn_positive_iou, config.rpn_negative_iou)
    labels = tf.where(best_of_each_object(iou), 1, labels)
    indices, sampled = subsample_labels(
        labels,
        config.rpn_batch_size,
        config.rpn_positive_fraction,
        sampling_seeds(seeds, SamplingStream.ANCHORS),
    )
    matched_boxes = tf.gather(gt_boxes, tf.gather(matched, indices, batch_dims=1), batch_dims=1)
    deltas = encode_deltas(matched_boxes, tf.gather(anchors, indices))
    positives = tf.cast(sampled == 1, tf.float32)
    return AnchorTargets(
        indices=indices,
        classes=tf.cast(sampled != 1, tf.int32),
        deltas=deltas * tf.expand_dims(positives, -1),
        positives=positives,
        weights=tf.cast(sampled >= 0, tf.float32),
    )


def sample_rois(
    proposals: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_classes: tf.Tensor,
    seeds: tf.Tensor,
    box_std: tuple[float, ...],
    config: TrainConfig,
) -> RoITargets:
    """Label the proposals of each picture and draw the detector's mini-batch (slides: detection).

    The ground-truth boxes are appended to the proposals, so that there are objects to learn from
    before the RPN finds any. A proposal takes the class of the ground-truth box with which its IoU
    is largest, if that reaches `roi_positive_iou`; background is drawn first from the proposals
    whose largest IoU is at least `roi_background_iou`, then from the others.

    Args:
        proposals: [B, K, 4] float32 yxyx boxes in pixels of the network's input, padded with empty
            boxes.
        gt_boxes: [B, G, 4] float32 yxyx boxes in the same frame, padded with empty boxes; G >= 1.
        gt_classes: [B, G] int32 classes from 1; 0 in the padding.
        seeds: [B, 2] int32 seeds of the pictures.
        box_std: what the offsets are divided by.
        config: thresholds and sizes.

    Returns:
        The mini-batch; a picture without objects has background only.
    """
    candidates = tf.stop_gradient(tf.concat([proposals, gt_boxes], axis=1))
    iou = pairwise_iou(candidates, gt_boxes)  # [B, K + G, G]
    iou = tf.where(tf.expand_dims(box_area(candidates) > 0.0, -1), iou, -1.0)
    matched, labels = match_boxes(iou, config.roi_positive_iou, config.roi_positive_iou)
    indices, sampled = subsample_labels(
        labels,
        config.roi_batch_size,
        config.roi_positive_fraction,
        sampling_seeds(seeds, SamplingStream.ROIS),
        preferred=tf.reduce_max(iou, axis=-1) >= config.roi_background_iou,
    )
    positives = tf.cast(sampled == 1, tf.float32)
    weights = tf.cast(sampled >= 0, tf.float32)
    rois = tf.gather(candidates, indices, batch_dims=1) * tf.expand_dims(weights, -1)
    matched = tf.gather(matched, indices, batch_dims=1)  # [B, R]
    deltas = encode_deltas(tf.gather(gt_boxes, matched, batch_dims=1), rois, box_std)
    return RoITargets(
        rois=rois,
        classes=tf.where(sampled == 1, tf.gather(gt_classes, matched, batch_dims=1), 0),
        deltas=deltas * tf.expand_dims(positives, -1),
        positives=positives,
        weights=weights,
    )
