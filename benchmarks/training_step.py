"""A training step of this project, timed on request: a process of the benchmarks.

    python training_step.py NETWORK HEIGHT WIDTH BATCH OPTIONS [FILE]

answers each line on its input with the seconds that one step took and the peak memory so far, MiB.
NETWORK is a number of classes, for VGG16, or the name of one of torchvision's own detectors, whose
weights are FILE, torchvision's. OPTIONS is JSON: fields of `TrainConfig` that differ from the
defaults, those of the architecture from trained weights.
"""

import json
import sys

import numpy as np
from on_request import answer

import tf_frcnn  # noqa: F401  sets up oneDNN before TensorFlow is there
from tf_frcnn.config import ModelConfig, TrainConfig
from tf_frcnn.environment import load_tensorflow

NUM_CLASSES = 90  # of torchvision's own detectors


def main() -> None:
    """Load, then answer requests until the input ends."""
    name = sys.argv[1]
    height, width, size = map(int, sys.argv[2:5])
    options = json.loads(sys.argv[5])
    frozen_layers = tuple(options.pop("frozen_layers", ()))
    load_tensorflow()
    import tensorflow as tf

    from tf_frcnn.architectures import ARCHITECTURES
    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.training.trainer import FasterRCNNTrainer

    tf.random.set_seed(0)
    options |= {"steps": 1, "batch_size": size, "learning_rate": 1e-4, "weight_decay": 5e-4}
    if name.isdecimal():
        config = TrainConfig(frozen_layers=frozen_layers, **options)
        network = FasterRCNN(ModelConfig(), int(name), config.precision)
    else:
        architecture = ARCHITECTURES[name]
        of_architecture = {**architecture.settings["train"], **architecture.from_weights}
        config = TrainConfig(**{**of_architecture, "frozen_layers": frozen_layers, **options})
        network = FasterRCNN.from_preset(name, NUM_CLASSES, config.precision, weights=sys.argv[6])
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
    answer(f"TensorFlow {tf.__version__}", lambda: float(step(batch)["loss"]))


if __name__ == "__main__":
    main()
