"""The detector cut into stages, each a graph of its own, so that each can be timed."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from tf_frcnn.benchmark.measurement import Timing, measure
from tf_frcnn.data.transforms import resize_images, scale_boxes
from tf_frcnn.inference import PictureDetector
from tf_frcnn.ops.resized_size import resized_size_in_graph

Tensors = Mapping[str, Any]
Stage = Callable[[Tensors], Tensors]
"""Takes all tensors there are, by name, and gives those that it adds."""


def time_stages(
    detector: PictureDetector, images: tf.Tensor, num_warm_up: int, num_runs: int
) -> dict[str, Timing]:
    """Time each stage alone, on what the stages before it give.

    Args:
        detector: the network, and the sizes to which it resizes.
        images: [B, H, W, 3] uint8 RGB.
        num_warm_up: runs of each stage that do not count.
        num_runs: runs that count.

    Returns:
        Stage -> times, in the order of the data's flow. Their sum is more than the whole takes,
        where TensorFlow can fuse across their borders.
    """
    timings = {}
    tensors: dict[str, Any] = {"images": images}
    for name, stage in make_stages(detector).items():
        compiled = tf.function(stage)
        added = compiled(tensors)
        timings[name] = measure(partial(_run, compiled, tensors), num_warm_up, num_runs)
        tensors |= added
    return timings


def make_stages(detector: PictureDetector) -> dict[str, Stage]:
    """Cut `PictureDetector.detect` into stages.

    Args:
        detector: the network.

    Returns:
        Stage -> function; run in this order from `images` [B, H, W, 3] on, the last one gives what
        `PictureDetector.detect` does, without the names of classes.
    """
    network = detector.detector

    def preprocess(tensors: Tensors) -> Tensors:
        images = tensors["images"]
        size = resized_size_in_graph(tf.shape(images)[1:3], detector.short_side, detector.long_side)
        image_sizes = tf.tile(
            tf.expand_dims(tf.cast(size, tf.float32), 0), [tf.shape(images)[0], 1]
        )
        centered = network.preprocessing((resize_images(images, size), image_sizes))
        return {"centered": centered, "image_sizes": image_sizes, "size": size}

    def trunk(tensors: Tensors) -> Tensors:
        return {"features": network.backbone(tensors["centered"])}

    def rpn(tensors: Tensors) -> Tensors:
        logits, deltas = network.rpn_head(tensors["features"])
        anchors = network.anchor_generator(tensors["features"])
        return {"objectness_logits": logits, "anchor_deltas": deltas, "anchors": anchors}

    def proposals(tensors: Tensors) -> Tensors:
        names = ("objectness_logits", "anchor_deltas", "anchors", "image_sizes")
        return {"proposals": network.proposal_layer(tuple(tensors[name] for name in names))}

    def roi_pooling(tensors: Tensors) -> Tensors:
        return {"roi_features": network.roi_pooling((tensors["features"], tensors["proposals"]))}

    def head(tensors: Tensors) -> Tensors:
        class_logits, box_deltas = network.box_head(tensors["roi_features"])
        return {"class_logits": class_logits, "box_deltas": box_deltas}

    def detections(tensors: Tensors) -> Tensors:
        names = ("class_logits", "box_deltas", "proposals", "image_sizes")
        found = dict(network.detection_layer(tuple(tensors[name] for name in names)))
        found["detection_boxes"] = scale_boxes(
            found["detection_boxes"], tensors["size"], tf.shape(tensors["images"])[1:3]
        )
        return found

    stages = (preprocess, trunk, rpn, proposals, roi_pooling, head, detections)
    return {stage.__name__: stage for stage in stages}


def _run(stage: Stage, tensors: Tensors) -> None:
    """Return when all is computed: a GPU goes on by itself until somebody wants to see numbers."""
    for value in stage(tensors).values():
        tf.reshape(value, [-1])[:1].numpy()
