"""Trains on one and on two logical devices of one that there is, in a process of its own.

Logical devices must be there before TensorFlow starts, hence the process:
`python -m tests.training.two_devices CPU|GPU VOC_FOLDER STEPS [OPTION ...]` writes one line of
JSON. Two devices of the processor are only used where no GPU is seen.
"""

import dataclasses
import json
import sys

import keras
import numpy as np
import tensorflow as tf

from tests.conftest import TINY_OPTIONS, VOC_CLASS_COLOURS
from tests.workers import EVERY_PROPOSAL, FROZEN_BLOCKS, difference
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.commands.train import parse_arguments
from tf_frcnn.data.loading import load_datasets
from tf_frcnn.data.pipeline import BatchPipeline, Share
from tf_frcnn.model import FasterRCNN
from tf_frcnn.training.distribution import Distribution
from tf_frcnn.training.loop import StopRequest, train
from tf_frcnn.training.trainer import FasterRCNNTrainer


def train_weights(config, strategy, steps):
    """Train and return the replicas, the weights before and after, and the last loss."""
    keras.utils.set_random_seed(0)
    distribution = Distribution(strategy)
    with distribution.strategy.scope():
        network = FasterRCNN(config.model, len(VOC_CLASS_COLOURS))
        trainer = FasterRCNNTrainer(network, config.train)
    losses = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(logs["loss"])

    before = {name: np.asarray(value) for name, value in named_weights(network).items()}
    dataset = load_datasets(config.data, 0)["train"]
    share = Share(num_replicas=distribution.num_replicas)
    pipeline = BatchPipeline(
        *(dataset, config.data, config.train.batch_size, 0, 0, steps),
        share=share,
        with_ignored=config.train.ignore_crowd_overlap > 0,
    )
    train(trainer, pipeline, 0, [Note()], StopRequest(), distribution=distribution)
    after = {name: np.asarray(value) for name, value in named_weights(network).items()}
    return distribution.num_replicas, before, after, losses


def main(kind, root, steps, *more):
    """Compare both trainings."""
    memory = 4096 if kind == "GPU" else None  # MiB
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices(kind)[0],
        [tf.config.LogicalDeviceConfiguration(memory_limit=memory)] * 2,
    )
    tf.config.experimental.enable_tensor_float_32_execution(False)
    options = [*TINY_OPTIONS, *EVERY_PROPOSAL, *FROZEN_BLOCKS, "--data.root", root, *more]
    config = parse_arguments(options).config
    config = dataclasses.replace(  # images of several sizes
        config,
        data=dataclasses.replace(config.data, scale_jitter=(0.8, 1.2)),
        train=dataclasses.replace(config.train, batch_size=4),
    )
    one, before, expected, losses = train_weights(config, "none", steps)
    two, _, weights, losses_of_two = train_weights(config, "mirrored", steps)
    pairs = [(expected[name], weights[name], before[name]) for name in expected]
    print(
        json.dumps(
            {
                "replicas": [one, two],
                "difference": max(difference(b, a) for a, b, _ in pairs),
                "change": max(difference(c, a) for a, _, c in pairs if a.ndim > 1),
                "losses": [losses, losses_of_two],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]), *sys.argv[4:])
