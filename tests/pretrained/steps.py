"""Losses, gradients and training steps of a network here, named as in `torchvision_steps.py`."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.fixtures.seeded import Steps, seeded_image, seeded_targets
from tests.pretrained.stages import XYXY, prepare_images, stack_padded
from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import TrainConfig
from tf_frcnn.model import FasterRCNN
from tf_frcnn.pretrained.torchvision import find_key
from tf_frcnn.training.trainer import FasterRCNNTrainer


class GivenProposals(keras.layers.Layer):
    """Answers the proposals of a step, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__(name="given_proposals", dtype="float32")
        self.boxes: Any = None

    def call(self, inputs: Any) -> Any:
        """Give the boxes."""
        return self.boxes


def run_steps(
    network: FasterRCNN, setup: Steps, proposals: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Train a network on one batch; what is not of this comparison is torchvision's own setting.

    Args:
        network: a detector of torchvision's; its normalisation stays frozen.
        setup: what both sides are told.
        proposals: `proposalsS/I` [K, 4] xyxy of step S and image I, which the box head is given.

    Returns:
        `losses` [steps, 4]; by the key of torchvision's parameters and in their layout
        `gradient/KEY` of the first step and `change/KEY` by all steps.
    """
    images = [seeded_image(number, size) for number, size in enumerate(setup.sizes)]
    batch, image_sizes = prepare_images(images, setup.short_side, setup.long_side)
    boxes, classes = [], []
    for number, (size, resized) in enumerate(zip(setup.sizes, image_sizes.numpy(), strict=True)):
        drawn, columns = seeded_targets(number, size)
        ratios = (resized / np.array(size, np.float32)).astype(np.float32)
        boxes.append(drawn[:, XYXY] * np.tile(ratios, 2))
        classes.append(columns)
    given = {
        "images": batch,
        "image_sizes": image_sizes,
        "gt_boxes": tf.constant(np.stack(boxes)),
        "gt_classes": tf.constant(np.stack(classes), tf.int32),
        "seeds": tf.zeros((len(images), 2), tf.int32),
    }
    pixels = network.preprocessing((batch, image_sizes))
    anchors = network.anchor_generator((pixels, network.backbone(pixels)))
    of_architecture = ARCHITECTURES[network.config.architecture].settings["train"]
    config = {
        **of_architecture,
        "batch_size": len(images),
        "learning_rate": setup.learning_rate,
        "momentum": setup.momentum,
        "weight_decay": setup.weight_decay,
        "frozen_layers": ("bn",),
        # All are taken.
        "rpn_batch_size": sum(len(one) for one in anchors),
        "rpn_positive_fraction": 1.0,
        "roi_batch_size": max(map(len, proposals.values())) + boxes[0].shape[0],
        "roi_positive_fraction": 1.0,
    }
    trainer = FasterRCNNTrainer(network, TrainConfig(**config))
    trainer.training_proposals = GivenProposals()
    names = {
        id(variable): find_key(name, network.box_head.num_fcs)
        for name, variable in named_weights(network).items()
    }
    trained = {names[id(variable)]: variable for variable in network.trainable_variables}
    before = {key: np.asarray(variable).copy() for key, variable in trained.items()}
    losses, arrays = [], {}
    for step in range(setup.steps):
        of_step = [proposals[f"proposals{step}/{number}"] for number in range(len(images))]
        boxes_of_step = stack_padded([one[:, XYXY] for one in of_step])
        trainer.training_proposals.boxes = tf.constant(boxes_of_step)
        if step == 0:
            with tf.GradientTape() as tape:
                total = tf.add_n(list(trainer.compute_losses(given, training=True).values()))
            gradients = tape.gradient(total, list(trained.values()))
            for key, gradient in zip(trained, gradients, strict=True):
                arrays[f"gradient/{key}"] = as_torch(key, gradient.numpy())
        logs = trainer.train_step(given)
        losses.append([float(logs[name]) for name in setup.loss_names.values()])
    for key, variable in trained.items():
        arrays[f"change/{key}"] = as_torch(key, np.asarray(variable) - before[key])
    return {**arrays, "losses": np.array(losses)}


def as_torch(key: str, array: np.ndarray) -> np.ndarray:
    """Bring an array of a variable into the layout of torch: see `tf_frcnn.pretrained`."""
    if "bbox_pred" in key:  # y, x, h, w of each box
        array = array.reshape(*array.shape[:-1], -1, 4)[..., XYXY].reshape(array.shape)
    if key.endswith(("fc6.weight", "box_head.5.weight")):  # rows, columns, channels come in
        return (
            array.reshape(7, 7, -1, array.shape[1])
            .transpose(3, 2, 0, 1)
            .reshape(array.shape[1], -1)
        )
    if array.ndim == 4:
        return array.transpose((2, 3, 0, 1) if array.shape[3] == 1 else (3, 2, 0, 1))
    return array.T
