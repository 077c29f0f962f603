"""A TFLite file of this project, timed on request: a process of `compare_torchvision.py`.

    python tflite_detector.py FILE HEIGHT WIDTH

answers each line on its input with the seconds that one call took and the peak memory, MiB.
"""

import sys
import time
from pathlib import Path

import numpy as np
from on_request import answer

from tf_frcnn.tflite.interpreter import NUM_THREADS, FileRunner


def main() -> None:
    """Load, then answer requests until the input ends."""
    height, width = map(int, sys.argv[2:4])
    start = time.perf_counter()
    runner = FileRunner(Path(sys.argv[1]).read_bytes())
    seconds = time.perf_counter() - start
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    runner.set_input(noise.astype(np.uint8))
    answer(f"{runner.name}, {NUM_THREADS} threads; loaded in {seconds:.1f} s", runner.run_once)


if __name__ == "__main__":
    main()
