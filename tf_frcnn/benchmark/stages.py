"""How long each stage of the network takes: `forward`, with a clock around every stage."""

from functools import partial
from typing import Any

import tensorflow as tf

from tf_frcnn.data.transforms import resize_images
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import forward
from tf_frcnn.ops.resized_size import resized_size_in_graph
from tf_frcnn.timing import Timing, measure


def time_stages(
    model: InferenceModel, images: tf.Tensor, num_warm_up: int, num_runs: int
) -> dict[str, Timing]:
    """Time each stage alone, as a graph of its own, on what the stages before it give.

    Args:
        model: the network, and the sizes to which it resizes.
        images: [B, H, W, 3] uint8 RGB.
        num_warm_up: runs of each stage that do not count.
        num_runs: runs that count.

    Returns:
        Stage -> times, in the order of the data's flow: `resizing`, then those of the network.
        Their sum is more than the whole takes, where TensorFlow can fuse across their borders.
    """
    timings: dict[str, Timing] = {}

    def call(name: str, inputs: Any) -> Any:
        return timed(name, partial(model.network.run_stage, name), inputs)

    def timed(name: str, stage: Any, inputs: Any) -> Any:
        compiled = tf.function(stage)
        outputs = compiled(inputs)
        timings[name] = measure(partial(_run, compiled, inputs), num_warm_up, num_runs)
        return outputs

    size = resized_size_in_graph(
        tf.shape(images)[1:3], model.short_side, model.long_side, rounding=model.rounding
    )
    resized = timed("resizing", lambda inputs: resize_images(inputs, size, model.antialias), images)
    image_sizes = tf.repeat(tf.cast([size], tf.float32), len(images), axis=0)
    forward(call, resized, image_sizes, model.network.config.flip_at_test)
    return timings


def _run(stage: Any, inputs: Any) -> None:
    """Return when all is computed: a GPU goes on by itself until somebody wants to see numbers."""
    for value in tf.nest.flatten(stage(inputs)):
        tf.reshape(value, [-1])[:1].numpy()
