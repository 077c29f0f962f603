"""Sampling of the mini-batches of anchors and RoIs that the losses are computed on.

The draw is stateless: it depends on a seed tensor alone, so a resumed run repeats it.
"""

import tensorflow as tf

from tf_frcnn.ops.random_streams import draw_for_each


def subsample_labels(
    labels: tf.Tensor,
    num_samples: int,
    positive_fraction: float,
    seeds: tf.Tensor,
    preferred: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw a mini-batch of objects and background from each image's labels.

    At most `num_samples * positive_fraction` objects are drawn; fewer are made up for with
    background (slides: RPN loss, detection loss). Where even that is short, the rest is padding.

    Args:
        labels: [B, A] int8: 1 object, 0 background, -1 ignored.
        num_samples: size S of an image's mini-batch.
        positive_fraction: largest share of objects.
        seeds: [B, 2] int32, one pair an image; the draw of an image depends on its own alone.
        preferred: [B, A] bool; other background is drawn only when the preferred is used up.

    Returns:
        indices: [B, S] int64 into the labels, each at most once; 0 in the padding.
        sampled_labels: [B, S] of the labels' type: 1 or 0; -1 in the padding. Objects come first.
    """
    short = tf.maximum(num_samples - tf.shape(labels)[1], 0)
    labels = tf.pad(labels, [[0, 0], [0, short]], constant_values=-1)
    noise = draw_for_each(seeds, tf.shape(labels)[1:])  # [B, A] in [0, 1)
    rank = noise
    if preferred is not None:
        preferred = tf.pad(preferred, [[0, 0], [0, short]])
        rank += tf.cast(preferred, tf.float32)
    # Objects rank 3 and up, background below 2, everything else -1; top_k then does the choice.
    positive_rank, positive_index = tf.math.top_k(
        tf.where(labels == 1, noise + 3.0, -1.0), round(num_samples * positive_fraction)
    )
    negative_rank, negative_index = tf.math.top_k(tf.where(labels == 0, rank, -1.0), num_samples)
    ranks = tf.concat([positive_rank, negative_rank], axis=1)
    # Not in int32, as in `ops.matching`.
    candidates = tf.cast(positive_index, tf.int64), tf.cast(negative_index, tf.int64)
    ranks, chosen = tf.math.top_k(ranks, num_samples)
    drawn = ranks >= 0.0
    indices = tf.where(drawn, tf.gather(tf.concat(candidates, axis=1), chosen, batch_dims=1), 0)
    sampled_labels = tf.where(drawn, tf.cast(ranks >= 3.0, labels.dtype), -1)
    return indices, sampled_labels
