"""What the RPN learns: which anchors are objects, and where their boxes are (section 3.1.2)."""

from typing import NamedTuple

import tensorflow as tf

from tf_frcnn.config import TrainConfig
from tf_frcnn.ops.boxes import encode_deltas, inside_images, pairwise_ioa, pairwise_iou
from tf_frcnn.ops.gather import gather_rows
from tf_frcnn.ops.matching import best_of_each_object, ignore_inside, match_boxes
from tf_frcnn.ops.random_streams import SamplingStream, sampling_seeds
from tf_frcnn.ops.sampling import subsample_labels
from tf_frcnn.training.losses import Losses, box_loss, objectness_loss, samples_an_image
from tf_frcnn.training.tasks.task import Step, Task


class AnchorTargets(NamedTuple):
    """The RPN's mini-batch of S anchors an image.

    Attributes:
        indices: [B, S] int64 into the anchors.
        deltas: [B, S, 4] float32 offsets of the matched ground-truth box.
        positives: [B, S] float32: 1 for objects.
        weights: [B, S] float32: 1 for samples, 0 for padding.
    """

    indices: tf.Tensor
    deltas: tf.Tensor
    positives: tf.Tensor
    weights: tf.Tensor


def compute(step: Step) -> Losses:
    """Draw a mini-batch of anchors, and compare what the RPN answers for them with the truth."""
    batch, config = step.batch, step.config
    anchors = tf.concat(step.anchors, axis=0)
    targets = assign_anchor_targets(
        *(anchors, batch["image_sizes"], batch["gt_boxes"], batch["seeds"]),
        config,
        step.ignored_boxes,
    )
    objectness, anchor_deltas = tf.concat(step.objectness, 1), tf.concat(step.anchor_deltas, 1)
    samples = samples_an_image(targets.weights, config.loss_mean)
    return step.run(rpn_losses, objectness, anchor_deltas, targets, samples, config.rpn_box_sigma)


def rpn_losses(
    objectness: tf.Tensor,
    anchor_deltas: tf.Tensor,
    targets: AnchorTargets,
    samples: tf.Tensor,
    sigma: float,
) -> Losses:
    """Compute both losses of the RPN.

    Args:
        objectness: [B, A] float32 logits.
        anchor_deltas: [B, A, 4] float32.
        targets: the mini-batch.
        samples: [B] float32 of `samples_an_image`.
        sigma: of the smooth L1.

    Returns:
        The losses, by name.
    """
    return {
        "rpn_objectness": objectness_loss(
            gather_rows(objectness, targets.indices),
            targets.positives,
            targets.weights,
            samples,
        ),
        "rpn_box": box_loss(
            gather_rows(anchor_deltas, targets.indices),
            targets.deltas,
            targets.positives,
            samples,
            sigma,
        ),
    }


def assign_anchor_targets(
    anchors: tf.Tensor,
    image_sizes: tf.Tensor,
    gt_boxes: tf.Tensor,
    seeds: tf.Tensor,
    config: TrainConfig,
    ignored_boxes: tf.Tensor | None = None,
) -> AnchorTargets:
    """Label the anchors of each image and draw the RPN's mini-batch (section 3.1.2).

    An anchor is an object if its IoU with a ground-truth box reaches `rpn_positive_iou` or is the
    largest that this box has with any anchor; background if all its IoUs are below
    `rpn_negative_iou`, and it is not inside of a box to ignore; anchors that cross the image's
    border, or whose centre is in the padding, are ignored if that is set.

    Args:
        anchors: [A, 4] float32 yxyx boxes in pixels of the network's input.
        image_sizes: [B, 2] float32 (height, width) without padding.
        gt_boxes: [B, G, 4] float32 yxyx boxes in the same frame, padded with empty boxes; G >= 1.
        seeds: [B, 2] int32 seeds of the images.
        config: thresholds and sizes.
        ignored_boxes: [B, I, 4] float32 yxyx boxes in the same frame, padded likewise, I >= 1, in
            which background is ignored as `ops.matching.ignore_inside` does; None for none.

    Returns:
        The mini-batch; an image without objects has background only.
    """
    iou = pairwise_iou(tf.expand_dims(anchors, 0), gt_boxes)  # [B, A, G]
    if config.ignore_border_anchors:
        iou = tf.where(tf.expand_dims(inside_images(anchors, image_sizes), -1), iou, -1.0)
    elif config.ignore_padding_anchors:
        centers = 0.5 * (anchors[:, :2] + anchors[:, 2:])
        inside = tf.reduce_all(tf.expand_dims(centers, 0) < tf.expand_dims(image_sizes, 1), -1)
        iou = tf.where(tf.expand_dims(inside, -1), iou, -1.0)
    matched, labels = match_boxes(iou, config.rpn_positive_iou, config.rpn_negative_iou)
    labels = tf.where(best_of_each_object(iou), tf.ones_like(labels), labels)
    if ignored_boxes is not None:
        ioa = pairwise_ioa(tf.expand_dims(anchors, 0), ignored_boxes)
        labels = ignore_inside(labels, ioa, config.ignore_crowd_overlap)
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
        deltas=deltas * tf.expand_dims(positives, -1),
        positives=positives,
        weights=tf.cast(sampled >= 0, tf.float32),
    )


TASK = Task(("rpn_objectness", "rpn_box"), compute)
