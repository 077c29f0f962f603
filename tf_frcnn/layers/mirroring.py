"""Flip at test time: the image seen twice, as it is and mirrored left to right.

`AddMirrored` stands before all other stages, which then see 2B images, and `JoinMirrored` before
the detection layer: an image's proposals and those of its mirror image, mirrored back, come into
one NMS. Neither has weights.
"""

import keras
import tensorflow as tf

from tf_frcnn.ops.boxes import mirror_boxes


@keras.saving.register_keras_serializable(package="tf_frcnn")
class AddMirrored(keras.layers.Layer):
    """Appends the mirror images of a batch to it.

    Each is mirrored within its own width, so that it lies in the upper left corner and padding at
    the right, as of every image.

    Inputs: images [B, H, W, 3] float32; image_sizes [B, 2] float32 (height, width) before padding.
    Returns images [2B, H, W, 3] and image_sizes [2B, 2], those of the batch first.
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """See the class."""
        images, image_sizes = inputs
        widths = tf.cast(_widths(image_sizes), tf.int32)
        widths = tf.minimum(widths, tf.shape(images)[2])
        mirrored = tf.reverse_sequence(images, widths, seq_axis=2, batch_axis=0)
        return tf.concat([images, mirrored], axis=0), tf.tile(image_sizes, [2, 1])


@keras.saving.register_keras_serializable(package="tf_frcnn")
class JoinMirrored(keras.layers.Layer):
    """Mirrors what was found in mirror images back, and puts it to what was found in the images.

    Inputs: class_logits [2B, K, 1 + N], box_deltas [2B, K, 1 + N, 4], proposals [2B, K, 4],
    image_sizes [2B, 2], of B images and then of their mirror images. Returns the same of B images
    with 2K proposals each, their own first: [B, 2K, 1 + N], [B, 2K, 1 + N, 4], [B, 2K, 4], [B, 2],
    float32.
    """

    def call(self, inputs: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        """See the class."""
        (logits, logits_m), (deltas, deltas_m), (proposals, proposals_m), (image_sizes, _) = (
            tf.split(one, 2, axis=0) for one in inputs
        )
        # (dy, dx, dh, dw) of a mirrored proposal, relative to its centre: only dx turns round.
        deltas_m *= tf.constant([1.0, -1.0, 1.0, 1.0])
        proposals_m = mirror_boxes(proposals_m, tf.expand_dims(_widths(image_sizes), 1))
        return (
            tf.concat([logits, logits_m], axis=1),
            tf.concat([deltas, deltas_m], axis=1),
            tf.concat([proposals, proposals_m], axis=1),
            image_sizes,
        )


def _widths(image_sizes: tf.Tensor) -> tf.Tensor:
    """Give the widths in whole pixels, [B] float32, as the preprocessing counts them."""
    return tf.floor(image_sizes[:, 1])
