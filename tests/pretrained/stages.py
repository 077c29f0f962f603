"""What the stages of a network here answer, named and ordered as in `torchvision_stages.py`."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_frcnn.data.transforms import resize_images
from tf_frcnn.model import FasterRCNN, as_maps
from tf_frcnn.ops.resized_size import resized_size

XYXY = [1, 0, 3, 2]  # of yxyx, and the other way round


def prepare_images(
    images: Sequence[np.ndarray], short_side: int, long_side: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resize images and pad them to a common size -> [B, H, W, 3], [B, 2] float32."""
    sizes = [resized_size(one.shape[:2], short_side, long_side, "floor") for one in images]
    height, width = np.max(sizes, axis=0)
    batch = [
        np.pad(
            resize_images(tf.constant(image)[None], size)[0].numpy(),
            [(0, height - size[0]), (0, width - size[1]), (0, 0)],
        )
        for image, size in zip(images, sizes, strict=True)
    ]
    return tf.constant(np.stack(batch)), tf.constant(sizes, tf.float32)


def stack_padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack arrays whose first sides differ, filled up with zeros -> [B, most, ...]."""
    most = max(map(len, arrays))
    sides = [(0, 0)] * (arrays[0].ndim - 1)
    return np.stack([np.pad(one, [(0, most - len(one)), *sides]) for one in arrays])


def run_stages(
    network: FasterRCNN,
    images: Sequence[np.ndarray],
    short_side: int,
    long_side: int,
    proposals: Sequence[np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Run a network stage by stage -> name -> array.

    Args:
        network: a detector of torchvision's.
        images: [H, W, 3] uint8 each.
        short_side: as in the configuration.
        long_side: as in the configuration.
        proposals: [K, 4] xyxy boxes of each image, in the place of the network's own, for all that
            comes after them.
    """
    batch, image_sizes = prepare_images(images, short_side, long_side)
    pixels = network.preprocessing((batch, image_sizes))
    trunk = keras.Model(network.backbone.input, _trunk_outputs(network.backbone))
    maps = as_maps(network.backbone(pixels))
    anchors = network.anchor_generator((pixels, maps))
    objectness, deltas = network.rpn_head(maps)
    own = network.proposal_layer((objectness, deltas, anchors, image_sizes))
    arrays: dict[str, Any] = {
        "network_input": pixels,
        "image_sizes": image_sizes,
        "anchors": tf.gather(tf.concat(anchors, 0), XYXY, axis=1),
    }
    for level, value in enumerate(as_maps(trunk(pixels))):
        arrays[f"trunk{level}"] = value
    for level, value in enumerate(maps):
        shape = [*value.shape[:3], -1]
        arrays[f"maps{level}"] = value
        arrays[f"objectness{level}"] = tf.reshape(objectness[level], shape)
        by_box = tf.gather(deltas[level], XYXY, axis=2)
        arrays[f"anchor_deltas{level}"] = tf.reshape(by_box, shape)
    for number, boxes in enumerate(own.numpy()):
        is_box = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        arrays[f"proposals{number}"] = boxes[is_box][:, XYXY]
    if proposals is not None:
        own = tf.constant(stack_padded([one[:, XYXY] for one in proposals]))
    counts = [len(arrays[f"proposals{i}"]) for i in range(len(images))]
    counts = counts if proposals is None else [len(one) for one in proposals]
    features = network.roi_pooling((maps, own))
    logits, box_deltas = network.box_head(features)
    found = network.detection_layer((logits, box_deltas, own, image_sizes))
    by_box = tf.gather(box_deltas, XYXY, axis=3)
    of_images = {
        "roi_features": features,
        "class_logits": logits,
        "box_deltas": tf.reshape(by_box, [*by_box.shape[:2], -1]),
    }
    for name, value in of_images.items():
        parts = [value[i, :count] for i, count in enumerate(counts)]
        arrays[name] = tf.concat(parts, axis=0)
    for number, image in enumerate(images):
        count = int(found["num_detections"][number])
        scale = np.array(image.shape[:2]) / image_sizes[number].numpy()
        boxes = found["detection_boxes"][number, :count].numpy() * np.tile(scale, 2)
        arrays[f"boxes{number}"] = boxes[:, XYXY]
        arrays[f"scores{number}"] = found["detection_scores"][number, :count]
        arrays[f"labels{number}"] = found["detection_classes"][number, :count]
    return {name: np.asarray(value) for name, value in arrays.items()}


def _trunk_outputs(backbone: keras.Model) -> list[Any]:
    names = {layer.name for layer in backbone.layers}
    resnet = ("layer1_2_relu", "layer2_3_relu", "layer3_5_relu", "layer4_2_relu")
    mobilenet = ("bn_features13_project", "features16_conv_swish")
    trunk = resnet if "conv1" in names else mobilenet
    return [backbone.get_layer(name).output for name in trunk]
