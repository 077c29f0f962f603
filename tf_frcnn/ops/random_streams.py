"""Everything that is drawn at random for a training image, and the seeds that it is drawn from.

Each image of each step has a pair of seeds: the run's, and its place in the stream of all
images. Whatever is drawn for it takes a stream of its own, derived from the pair, so that nothing
changes what is drawn elsewhere when it is switched on or off, and a resumed run repeats it all. A
number that was in use may not mean anything else, or runs could not be resumed to the bit.

What decides with the pair as it is: whether an image is mirrored.
"""

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
