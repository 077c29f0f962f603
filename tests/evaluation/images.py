from pathlib import Path

import numpy as np

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.evaluation.detections import Detections


def image(image_id, boxes, classes=None, difficult=None, crowd=None):
    """Make an `Example`; class 1, not difficult and not crowd unless told."""
    num_boxes = len(boxes)
    return Example(
        image_id=image_id,
        image_path=Path(f"{image_id}.png"),
        image_size=(240, 320),
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        classes=np.asarray([1] * num_boxes if classes is None else classes, np.int32),
        difficult=np.asarray([False] * num_boxes if difficult is None else difficult, bool),
        crowd=np.asarray([False] * num_boxes if crowd is None else crowd, bool),
        source=f"{image_id}.xml",
    )


def make_dataset(*examples, class_names=("cat", "dog")):
    return Dataset(split="test", class_names=class_names, examples=examples)


def found(image_id, boxes, scores, classes=None):
    """Make `Detections`; class 1 unless told."""
    return Detections(
        image_id=image_id,
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        scores=np.asarray(scores, np.float32),
        classes=np.asarray([1] * len(boxes) if classes is None else classes, np.int32),
    )


def perfect(dataset):
    """Find every box exactly."""
    return [
        found(example.image_id, example.boxes, np.ones(len(example.boxes)), example.classes)
        for example in dataset.examples
    ]
