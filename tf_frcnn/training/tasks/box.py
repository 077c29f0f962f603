"""What the box head learns: classes and boxes of RoIs (slides: detection loss)."""

from typing import NamedTuple

import tensorflow as tf

from tf_frcnn.config import TrainConfig
from tf_frcnn.ops.boxes import box_area, encode_deltas, pairwise_ioa, pairwise_iou
from tf_frcnn.ops.gather import gather_rows
from tf_frcnn.ops.matching import ignore_inside, match_boxes
from tf_frcnn.ops.random_streams import SamplingStream, sampling_seeds
from tf_frcnn.ops.sampling import subsample_labels
from tf_frcnn.training.losses import (
    Losses,
    box_loss,
    classification_loss,
    giou_loss,
    samples_an_image,
)
from tf_frcnn.training.tasks.task import Step, Task


class RoITargets(NamedTuple):
    """The box head's mini-batch of R RoIs an image.

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


def compute(step: Step) -> Losses:
    """Draw a mini-batch of RoIs, and compare what the box head answers for them with the truth.

    The RoIs and their features stay with the step, for tasks that look at the same RoIs.
    """
    batch, config, network = step.batch, step.config, step.network
    box_std = network.config.box_std
    targets = step.roi_targets = sample_rois(
        *(step.proposals, batch["gt_boxes"], batch["gt_classes"], batch["seeds"]),
        box_std,
        config,
        step.ignored_boxes,
    )
    step.roi_features = network.roi_pooling((step.maps, targets.rois))
    class_logits, box_deltas = step.run_stage("box_head", step.roi_features, seeds=batch["seeds"])
    return step.run(
        box_losses,
        class_logits,
        box_deltas,
        targets,
        samples_an_image(targets.weights, config.loss_mean),
        box_std,
        config.box_loss,
        config.roi_box_sigma,
    )


def box_losses(
    class_logits: tf.Tensor,
    box_deltas: tf.Tensor,
    targets: RoITargets,
    samples: tf.Tensor,
    box_std: tuple[float, ...],
    kind: str,
    sigma: float,
) -> Losses:
    """Compute both losses of the box head.

    Args:
        class_logits: [B, R, 1 + N] float32.
        box_deltas: [B, R, 1 + N, 4] float32.
        targets: the mini-batch.
        samples: [B] float32 of `samples_an_image`.
        box_std: what the offsets are divided by.
        kind: of the box loss, "smooth_l1" or "giou".
        sigma: of the smooth L1.

    Returns:
        The losses, by name.
    """
    # The offsets of the target class; background rows are masked in the loss.
    classes = tf.reshape(tf.cast(targets.classes, tf.int64), [-1, 1])  # [B * R, 1]
    rows = tf.reshape(box_deltas, [-1, *box_deltas.shape[2:]])  # [B * R, 1 + N, 4]
    deltas = tf.reshape(gather_rows(rows, classes), tf.shape(targets.deltas))  # [B, R, 4]
    positives = targets.positives
    if kind == "giou":
        box = giou_loss(deltas, targets.deltas, targets.rois, positives, samples, box_std)
    else:
        box = box_loss(deltas, targets.deltas, positives, samples, sigma)
    return {
        "roi_class": classification_loss(class_logits, targets.classes, targets.weights, samples),
        "roi_box": box,
    }


def sample_rois(
    proposals: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_classes: tf.Tensor,
    seeds: tf.Tensor,
    box_std: tuple[float, ...],
    config: TrainConfig,
    ignored_boxes: tf.Tensor | None = None,
) -> RoITargets:
    """Label the proposals of each image and draw the box head's mini-batch (slides: detection).

    The ground-truth boxes are appended to the proposals, so that there are objects to learn from
    before the RPN finds any. A proposal takes the class of the ground-truth box with which its IoU
    is largest, if that reaches `roi_positive_iou`; background is drawn first from the proposals
    whose largest IoU is at least `roi_background_iou`, then from the others, and never from those
    that are inside of a box to ignore.

    Args:
        proposals: [B, K, 4] float32 yxyx boxes in pixels of the network's input, padded with empty
            boxes.
        gt_boxes: [B, G, 4] float32 yxyx boxes in the same frame, padded with empty boxes; G >= 1.
        gt_classes: [B, G] int32 classes from 1; 0 in the padding.
        seeds: [B, 2] int32 seeds of the images.
        box_std: what the offsets are divided by.
        config: thresholds and sizes.
        ignored_boxes: [B, I, 4] float32 yxyx boxes in the same frame, padded likewise, I >= 1, in
            which background is ignored as `ops.matching.ignore_inside` does; None for none.

    Returns:
        The mini-batch; an image without objects has background only.
    """
    candidates = tf.stop_gradient(tf.concat([proposals, gt_boxes], axis=1))
    iou = pairwise_iou(candidates, gt_boxes)  # [B, K + G, G]
    iou = tf.where(tf.expand_dims(box_area(candidates) > 0.0, -1), iou, -1.0)
    matched, labels = match_boxes(iou, config.roi_positive_iou, config.roi_positive_iou)
    if ignored_boxes is not None:
        ioa = pairwise_ioa(candidates, ignored_boxes)
        labels = ignore_inside(labels, ioa, config.ignore_crowd_overlap)
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


TASK = Task(("roi_class", "roi_box"), compute)
