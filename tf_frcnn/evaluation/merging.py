"""Detections that several workers made on their shares of the pictures, put together again."""

from collections.abc import Callable, Sequence

import numpy as np

from tf_frcnn.data.example import Dataset
from tf_frcnn.evaluation.detections import Detections

Merge = Callable[[np.ndarray], np.ndarray]
"""Adds up an array of float64 over all workers, each of which calls it and gets the sum."""

# A detection as a row: its box, score and class. All of them are exact in float64.
ROW_WIDTH = 6


def merge_detections(dataset: Dataset, own: Sequence[Detections], merge: Merge) -> list[Detections]:
    """Exchange detections with all other workers.

    Args:
        dataset: all pictures.
        own: one record for each picture of this worker's share; no two workers share a picture.
        merge: called twice by every worker.

    Returns:
        One record for each of `dataset.examples`, in their order, bit-equal to those of the worker
        that made them.
    """
    positions = {example.image_id: index for index, example in enumerate(dataset.examples)}
    counts = np.zeros(len(positions))
    for found in own:
        counts[positions[found.image_id]] = len(found.scores)
    counts = merge(counts).astype(int)
    rows = np.zeros((len(positions), int(counts.max(initial=0)), ROW_WIDTH))
    for found in own:
        row = np.column_stack([found.boxes, found.scores, found.classes])
        rows[positions[found.image_id], : len(row)] = row
    rows = merge(rows)
    return [
        Detections(
            image_id=example.image_id,
            boxes=found[:count, :4].astype(np.float32),
            scores=found[:count, 4].astype(np.float32),
            classes=found[:count, 5].astype(np.int32),
        )
        for example, found, count in zip(dataset.examples, rows, counts, strict=True)
    ]
