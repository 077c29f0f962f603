"""A training step of this project, timed on request: a process of the benchmarks.

    python training_step.py CLASSES HEIGHT WIDTH BATCH OPTIONS

answers each line on its input with the seconds that one step took and the peak memory so far, MiB.
OPTIONS is JSON: fields of `TrainConfig` that differ from its defaults.
"""

import json
import sys

import numpy as np
from on_request import answer

import tf_frcnn  # noqa: F401  sets up oneDNN before TensorFlow is there
from tf_frcnn.config import ModelConfig, TrainConfig
from tf_frcnn.environment import load_tensorflow


def main() -> None:
    """Load, then answer requests until the input ends."""
    num_classes, height, width, size = map(int, sys.argv[1:5])
    options = json.loads(sys.argv[5])
    frozen_layers = tuple(options.pop("frozen_layers", ()))
    load_tensorflow()
    import tensorflow as tf

    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.training.trainer import FasterRCNNTrainer

    tf.random.set_seed(0)
    config = TrainConfig(1, size, 1e-4, frozen_layers=frozen_layers, **options)
    network = FasterRCNN(ModelConfig(), num_classes, config.precision)
    trainer = FasterRCNNTrainer(network, config)
    step = tf.function(trainer.train_step)
    images = np.random.default_rng(0).integers(0, 256, (size, height, width, 3))
    boxes = [[60.0, 50.0, 400.0, 300.0], [100.0, 400.0, 500.0, 700.0]]
    batch = {
        "images": tf.constant(images, tf.float32),
        "image_sizes": tf.constant([[height, width]] * size, tf.float32),
        "gt_boxes": tf.constant([boxes] * size, tf.float32),
        "gt_classes": tf.constant([[1, 2]] * size, tf.int32),
        "seeds": tf.constant([[0, number] for number in range(size)], tf.int32),
    }
    answer(f"TensorFlow {tf.__version__}", lambda: float(step(batch)["loss"]), tell_memory=True)


if __name__ == "__main__":
    main()
