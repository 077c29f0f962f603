"""Measure the memory and time of RoI pooling, by the number of RoIs.

    python benchmarks/roi_align_memory.py [--operator crop_and_resize]

Once without and once with the gradient of the maps. Each number of RoIs is pooled in a process of
its own: by RoIAlign on the maps of an image of 800 x 1088 with 256 channels, strides 4 to 32; or by
`crop_and_resize` on VGG16's map of an image of 600 x 1000, once with the gradient of 16 RoIs at a
time and once with that of all. A line of JSON each: the peak of the process beyond what the maps
and TensorFlow take, how much of it the answers themselves are, and the median seconds of five runs.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

from tf_frcnn.environment import load_tensorflow

# Operator -> (height, width) of the image, channels, strides, numbers of RoIs.
CASES = {
    "roi_align": ((800, 1088), 256, (4, 8, 16, 32), (128, 512, 1000, 2000)),
    "crop_and_resize": ((608, 1008), 512, (16,), (128, 300)),
}
ALL_AT_ONCE = 1 << 20


def measure(operator: str, num_rois: int, with_gradient: bool, at_once: int) -> dict[str, object]:
    """Pool so many RoIs in this process."""
    load_tensorflow()
    import numpy as np
    import tensorflow as tf

    from tf_frcnn.ops import crop_and_resize
    from tf_frcnn.ops.roi_pool import crop_and_resize_pool, multiscale_roi_align

    crop_and_resize.ROIS_AT_ONCE = at_once or crop_and_resize.ROIS_AT_ONCE
    (height, width), channels, strides, _ = CASES[operator]
    random = np.random.default_rng(0)
    sizes = [(1, height // stride, width // stride, channels) for stride in strides]
    maps = tuple(tf.constant(random.standard_normal(size, np.float32)) for size in sizes)
    corner = random.uniform(0, [height - 200, width - 288], (num_rois, 2))
    boxes = np.concatenate([corner, corner + random.uniform(10, 400, (num_rois, 2))], axis=1)
    rois = tf.constant(np.minimum(boxes, [height, width] * 2)[None], tf.float32)

    def run(maps: tuple[tf.Tensor, ...], rois: tf.Tensor) -> tf.Tensor:
        if operator == "roi_align":
            return multiscale_roi_align(maps, rois, strides)
        return crop_and_resize_pool(maps[0], rois, strides[0])

    @tf.function
    def pool(maps: tuple[tf.Tensor, ...], rois: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if not with_gradient:
            return (run(maps, rois),)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            answer = run(maps, rois)
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
        "operator": operator,
        "rois": num_rois,
        **({"rois_at_once": at_once} if at_once else {}),
        "with_gradient": with_gradient,
        "peak_mib": (after - before) / 1024,
        "answer_mib": sum(one.shape.num_elements() for one in answers) * 4 / 2**20,
        "seconds": sorted(seconds)[2],
    }


def main() -> None:
    """Measure each number of RoIs in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operator", choices=CASES, default="roi_align")
    parser.add_argument("--rois", type=int)
    parser.add_argument("--gradient", action="store_true")
    parser.add_argument("--at-once", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.rois is not None:
        given = (arguments.operator, arguments.rois, arguments.gradient, arguments.at_once)
        print(json.dumps(measure(*given)))
        return
    operator = ["--operator", arguments.operator]
    gradients = [["--gradient"]]
    if arguments.operator == "crop_and_resize":
        gradients.append(["--gradient", "--at-once", str(ALL_AT_ONCE)])
    for options in ([], *gradients):
        for num_rois in CASES[arguments.operator][-1]:
            command = [sys.executable, __file__, *operator, "--rois", str(num_rois), *options]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(done.stdout.strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
