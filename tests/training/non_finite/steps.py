"""Steps for the tests: two images of noise with three boxes, as a training step had them."""

import dataclasses
import math

import numpy as np

from tf_frcnn.training.non_finite.record import StepRecord

PATHS = ("images/first.jpg", "images/second.jpg")
TERMS = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")
NAN_TERMS = dict.fromkeys(TERMS, math.nan)


def make_batch():
    """Make the batch: 64 x 96 and 64 x 80, the second padded; one box and two, in NumPy."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    images[1, :, 80:] = 0.0
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[0, 0] = [10, 20, 40, 80]
    boxes[1, :2] = [[5, 6, 30, 50], [30, 40, 60, 70]]
    return {
        "images": images,
        "image_sizes": np.float32([[64, 96], [64, 80]]),
        "gt_boxes": boxes,
        "gt_classes": np.int32([[2, 0, 0], [1, 3, 0]]),
        "seeds": np.int32([[0, 4], [0, 5]]),
        "indices": np.int32([7, 3]),
    }


def make_record(config, step=50, batch=None, losses=None):
    """Make the record of a step for a configuration; its classes are cat, dog and duck."""
    data = dataclasses.replace(config.data, classes=("cat", "dog", "duck"))
    return StepRecord(
        step=step,
        learning_rate=0.25,
        losses=losses or NAN_TERMS,
        batch=batch or make_batch(),
        paths=PATHS,
        config=dataclasses.replace(config, data=data),
    )
