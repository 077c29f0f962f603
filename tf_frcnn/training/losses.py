"""The losses (section 3.1.2; slides: RPN loss, detection loss).

The sum over an image's mini-batch is divided by the mini-batch's size, as the reference
implementation does, then averaged over the images: each image weighs the same, however many
objects it has. torchvision takes the mean over the samples of all images, which differs where
mini-batches are not full: `samples_an_image` has both.
"""

from collections.abc import Sequence

import tensorflow as tf

from tf_frcnn.ops.boxes import decode_deltas, paired_giou
from tf_frcnn.training.update import sum_over_replicas

Losses = dict[str, tf.Tensor]
"""Name -> scalar float32."""

# With this weight both box losses pull alike: one more std (0.1 of a side, in the box head) off the
# target costs an IoU of about 0.2, and a smooth L1 of 1.
GIOU_WEIGHT = 5.0
# A box moved by more of its sides than this would have an area beyond float32.
_MAX_DELTA = 1e4


def smooth_l1(difference: tf.Tensor, sigma: float) -> tf.Tensor:
    """Compute the smooth L1 of each element (Fast R-CNN, equation 3, with Faster R-CNN's sigma).

    0.5 (sigma x)^2 where |x| < 1 / sigma^2, else |x| - 0.5 / sigma^2. Both branches are finite
    everywhere, so that the gradient of the one that is not taken can't be NaN.

    Args:
        difference: [...] float32.
        sigma: where the parabola turns into a line.

    Returns:
        [...] float32.
    """
    beta = 1.0 / sigma**2
    size = tf.abs(difference)
    parabola = tf.minimum(size, beta)  # equal to |x| inside, constant outside
    return tf.where(size < beta, 0.5 * sigma**2 * parabola**2, size - 0.5 * beta)


def samples_an_image(weights: tf.Tensor, loss_mean: str) -> tf.Tensor:
    """Count the samples that the sum of an image's losses is divided by.

    Not to be compiled with XLA: the replicas speak to each other.

    Args:
        weights: [B, S] float32: 1 for samples, 0 for padding.
        loss_mean: "images" for each image's own number; "batch" for the mean number of all images,
            those of the other replicas too, so that the mean over the images is that over all
            samples.

    Returns:
        [B] float32.
    """
    counts = tf.reduce_sum(weights, axis=1)
    if loss_mean == "images":
        return counts
    (total,) = sum_over_replicas([tf.reduce_mean(counts)])  # they have as many images each
    return tf.fill(tf.shape(counts), total / tf.distribute.get_strategy().num_replicas_in_sync)


def objectness_loss(
    logits: tf.Tensor, positives: tf.Tensor, weights: tf.Tensor, samples: tf.Tensor
) -> tf.Tensor:
    """Compute the binary cross entropy over each image's mini-batch.

    Args:
        logits: [B, S] float32, of which the sigmoid is the probability of an object.
        positives: [B, S] float32: 1 for objects, 0 for background.
        weights: [B, S] float32: 1 for samples, 0 for padding.
        samples: [B] float32 of `samples_an_image`.

    Returns:
        Scalar float32: the mean over samples, then over images; 0 without samples.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=positives, logits=logits)
    return _mean(losses * weights, samples)


def classification_loss(
    logits: tf.Tensor, classes: tf.Tensor, weights: tf.Tensor, samples: tf.Tensor
) -> tf.Tensor:
    """Compute the softmax cross entropy over each image's mini-batch.

    Args:
        logits: [B, S, C] float32.
        classes: [B, S] int32 target class, 0 <= class < C.
        weights: [B, S] float32: 1 for samples, 0 for padding.
        samples: [B] float32 of `samples_an_image`.

    Returns:
        Scalar float32: the mean over samples, then over images; 0 without samples.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(classes, tf.int64),  # as in `ops.matching`
        logits=logits,
    )
    return _mean(losses * weights, samples)


def box_loss(
    deltas: tf.Tensor,
    target_deltas: tf.Tensor,
    positives: tf.Tensor,
    samples: tf.Tensor,
    sigma: float,
) -> tf.Tensor:
    """Compute the smooth L1 of the objects' offsets over each image's mini-batch.

    Args:
        deltas: [B, S, 4] float32 predicted offsets.
        target_deltas: [B, S, 4] float32.
        positives: [B, S] float32: 1 for objects; background has no box to regress.
        samples: [B] float32 of `samples_an_image`: of either kind.
        sigma: see `smooth_l1`.

    Returns:
        Scalar float32: the sum over objects divided by the number of samples (not of objects), then
        the mean over images.
    """
    losses = tf.reduce_sum(smooth_l1(deltas - target_deltas, sigma), axis=-1)  # [B, S]
    return _mean(losses * positives, samples)


def giou_loss(
    deltas: tf.Tensor,
    target_deltas: tf.Tensor,
    rois: tf.Tensor,
    positives: tf.Tensor,
    samples: tf.Tensor,
    box_std: Sequence[float],
) -> tf.Tensor:
    """Compute `GIOU_WEIGHT` (1 - generalised IoU) of the objects' boxes over each mini-batch.

    The box head's alone: its boxes are what is measured by IoU in the end. The RPN's need only to
    come near an object, and start so far from it that smooth L1 on normalised offsets, whose slope
    does not depend on the distance, is the better guide.

    Args:
        deltas: [B, S, 4] float32 predicted offsets, divided by the std.
        target_deltas: [B, S, 4] float32, likewise.
        rois: [B, S, 4] float32 yxyx boxes that both are relative to.
        positives: [B, S] float32: 1 for objects; background has no box to regress.
        samples: [B] float32 of `samples_an_image`: of either kind.
        box_std: what the offsets were divided by.

    Returns:
        Scalar float32: the sum over objects divided by the number of samples (not of objects), then
        the mean over images. Its gradient is 0 where an offset is beyond all sense (10,000).
    """
    boxes = decode_deltas(tf.clip_by_value(deltas, -_MAX_DELTA, _MAX_DELTA), rois, box_std)
    targets = decode_deltas(target_deltas, rois, box_std)
    losses = GIOU_WEIGHT * (1.0 - paired_giou(boxes, targets))  # [B, S]
    return _mean(losses * positives, samples)


def _mean(losses: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.math.divide_no_nan(tf.reduce_sum(losses, axis=1), samples))
