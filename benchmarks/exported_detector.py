"""An export of this project, timed on request: a process of `compare_torchvision.py`.

    python exported_detector.py SAVED_MODEL HEIGHT WIDTH BATCH [IMAGE.npy]

answers each line on its input with the seconds that one call took and the peak memory, MiB.
Images are noise where there is no file of one.
"""

import sys
import time

import numpy as np
from on_request import answer

import tf_frcnn  # noqa: F401  sets up oneDNN before TensorFlow is there
from tf_frcnn.environment import load_tensorflow


def main() -> None:
    """Load, then answer requests until the input ends."""
    height, width, batch = map(int, sys.argv[2:5])
    load_tensorflow()
    import tensorflow as tf

    start = time.perf_counter()
    module = tf.saved_model.load(sys.argv[1])
    seconds = time.perf_counter() - start
    serve = module.signatures["serving_default"]
    images = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3)).astype(np.uint8)
    if len(sys.argv) > 5:
        images = np.load(sys.argv[5])[None]
    answer(
        f"TensorFlow {tf.__version__}; loaded in {seconds:.1f} s",
        lambda: serve(images=tf.constant(images))["num_detections"].numpy(),
    )


if __name__ == "__main__":
    main()
