"""Everything that is drawn at random for a training image, and the seeds that it is drawn from.

Each image of each step has a pair of seeds: the run's, and its place in the stream of all
images. Whatever is drawn for it takes a stream of its own, derived from the pair, so that nothing
changes what is drawn elsewhere when it is switched on or off, and a resumed run repeats it all. A
number that was in use may not mean anything else, or runs could not be resumed to the bit.

What decides with the pair as it is: whether an image is mirrored.
"""

from collections.abc import Callable
from enum import IntEnum

import tensorflow as tf


class FoldedStream(IntEnum):
    """Streams whose seeds are those of `fold_in_stream`."""

    CROP = 1
    SCALE = 2
    COLOUR = 3
    FC1_DROPOUT = 4
    FC2_DROPOUT = 5


class SamplingStream(IntEnum):
    """Streams of the mini-batches, whose seeds are those of `sampling_seeds`."""

    ANCHORS = 0
    ROIS = 1


def fold_in_stream(seeds: tf.Tensor, stream: FoldedStream) -> tf.Tensor:
    """Derive the seeds of one stream from those of an image.

    Args:
        seeds: [2] int32.
        stream: what they are for.

    Returns:
        [2] int32.
    """
    return tf.random.experimental.stateless_fold_in(seeds, int(stream))


def sampling_seeds(seeds: tf.Tensor, stream: SamplingStream) -> tf.Tensor:
    """Derive the seeds of one sampled mini-batch from those of each image.

    Both seeds are doubled, so the anchors' are even and the RoIs' odd, whatever the images. In a
    run of seed 0 image p has for its anchors what image 2p is mirrored by, where one number is
    drawn: nothing follows from that.

    Args:
        seeds: [B, 2] int32.
        stream: what they are for.

    Returns:
        [B, 2] int32.
    """
    return seeds * 2 + int(stream)


def draw_for_each(
    seeds: tf.Tensor,
    shape: tf.Tensor,
    own_seeds: Callable[[tf.Tensor], tf.Tensor] = lambda pair: pair,
) -> tf.Tensor:
    """Draw uniform numbers for each image, from its own seeds alone.

    Args:
        seeds: [B, 2] int32.
        shape: [n] int32 shape of an image's numbers.
        own_seeds: makes of an image's pair, [2] int32, the pair that is drawn from.

    Returns:
        [B, *shape] float32 in [0, 1).
    """

    def draw(pair: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, own_seeds(pair))

    if seeds.shape[0] is None:
        return tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
    # A loop would put the seeds on the GPU, and each round of it would wait for one to come back.
    return tf.stack([draw(pair) for pair in tf.unstack(seeds)])
