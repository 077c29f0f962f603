"""An evaluation's detections, timed on request: a process of `evaluation.py`.

    python evaluated_images.py TREE NETWORK SIDES IMAGES FOLDER FOUND.npz

answers each line on its input with the seconds in which all images were read and looked at, and the
peak memory so far, MiB. The package is that of TREE, an older commit's or this one's. NETWORK is an
architecture, with 3 classes and random weights; SIDES are the short and the long side that images
are resized to, as SHORT,LONG, with the rounding that it was published with. Of FOLDER the first
IMAGES images are taken. What was found the last time, and the processor seconds that it took, are
in FOUND.npz.
"""

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np
from on_request import answer

import tf_frcnn  # noqa: F401  sets up oneDNN before TensorFlow is there
from tf_frcnn.environment import load_tensorflow

NAMES = ("cat", "dog", "duck")


def build_network(name: str) -> Any:
    """Build a network whose scores do not tie, so that rounding does not change their order."""
    import keras

    from tf_frcnn.checkpoints import named_weights
    from tf_frcnn.model import FasterRCNN

    keras.utils.set_random_seed(0)
    network = FasterRCNN.from_preset(name, len(NAMES))
    random = np.random.default_rng(0)
    for layer, scale in (("rpn_objectness", 1e-4), ("box_classes", 1e-3)):
        kernel = named_weights(network)[f"{layer}/kernel"]
        kernel.assign(random.normal(0.0, scale, kernel.shape))
    return network


def make_dataset(folder: Path, count: int) -> Any:
    """List images; what is to be found in them makes no difference."""
    from tf_frcnn.data.example import Dataset, Example
    from tf_frcnn.data.image import read_image_size

    none = np.zeros(0, bool)
    return Dataset(
        "test",
        NAMES,
        tuple(
            Example(
                image_id=path.stem,
                image_path=path,
                image_size=read_image_size(path),
                boxes=np.zeros((0, 4), np.float32),
                classes=np.zeros(0, np.int32),
                difficult=none,
                crowd=none,
                source=path.name,
            )
            for path in sorted(folder.iterdir())[:count]
        ),
    )


def main() -> None:
    """Load, then answer requests until the input ends."""
    name, sides, count, folder, output = sys.argv[2:]
    short_side, long_side = map(int, sides.split(","))
    load_tensorflow()
    import tensorflow as tf

    from tf_frcnn.detector import Detector
    from tf_frcnn.evaluation.evaluator import detect_dataset

    detector = Detector.from_network(build_network(name), NAMES, short_side, long_side)
    dataset = make_dataset(Path(folder), int(count))
    # Commits before batches have none.
    detect = detector.in_batches() if hasattr(detector, "in_batches") else detector.detect

    def work() -> None:
        start = time.process_time()
        found = detect_dataset(dataset, detect)
        np.savez(
            output,
            processor_seconds=time.process_time() - start,
            counts=[len(one.scores) for one in found],
            boxes=np.concatenate([one.boxes for one in found]),
            scores=np.concatenate([one.scores for one in found]),
            classes=np.concatenate([one.classes for one in found]),
        )

    answer(f"TensorFlow {tf.__version__}", work)


if __name__ == "__main__":
    main()
