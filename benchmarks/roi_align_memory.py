"""Measure the memory and time of RoIAlign over several maps, by the number of RoIs.

    python benchmarks/roi_align_memory.py

Once without and once with the gradient of the maps. Each number of RoIs is pooled in a process of
its own, on the maps of an image of 800 x 1088 with 256 channels, strides 4 to 32. A line of JSON
each: the peak of the process beyond what the maps and TensorFlow take, how much of it the answers
themselves are, and the median seconds of five runs.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

from tf_frcnn.environment import load_tensorflow

STRIDES = (4, 8, 16, 32)
SIZE, CHANNELS = (800, 1088), 256


def measure(num_rois: int, with_gradient: bool) -> dict[str, float]:
    """Pool so many RoIs in this process."""
    load_tensorflow()
    import numpy as np
    import tensorflow as tf

    from tf_frcnn.ops.roi_pool import multiscale_roi_align

    random = np.random.default_rng(0)
    sizes = [(1, SIZE[0] // stride, SIZE[1] // stride, CHANNELS) for stride in STRIDES]
    maps = tuple(tf.constant(random.standard_normal(size, np.float32)) for size in sizes)
    corner = random.uniform(0, [600, 800], (num_rois, 2))
    boxes = np.concatenate([corner, corner + random.uniform(10, 400, (num_rois, 2))], axis=1)
    rois = tf.constant(np.minimum(boxes, [*SIZE, *SIZE])[None], tf.float32)

    @tf.function
    def pool(maps: tuple[tf.Tensor, ...], rois: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if not with_gradient:
            return (multiscale_roi_align(maps, rois, STRIDES),)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            answer = multiscale_roi_align(maps, rois, STRIDES)
        return (answer, *tape.gradient(answer, maps, answer))

    tf.function(lambda one: tf.reduce_sum(one * one))(maps[0])  # what TensorFlow takes by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = pool(maps, rois)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        pool(maps, rois)
        seconds.append(time.perf_counter() - start)
    return {
        "rois": num_rois,
        "with_gradient": with_gradient,
        "peak_mib": (after - before) / 1024,
        "answer_mib": sum(one.shape.num_elements() for one in answers) * 4 / 2**20,
        "seconds": sorted(seconds)[2],
    }


def main() -> None:
    """Measure each number of RoIs in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rois", type=int)
    parser.add_argument("--gradient", action="store_true")
    arguments = parser.parse_args()
    if arguments.rois is not None:
        print(json.dumps(measure(arguments.rois, arguments.gradient)))
        return
    for options in ([], ["--gradient"]):
        for num_rois in (128, 512, 1000, 2000):
            command = [sys.executable, __file__, "--rois", str(num_rois), *options]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(done.stdout.strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
