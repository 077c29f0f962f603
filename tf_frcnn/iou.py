"""Overlaps of boxes in NumPy, for evaluation and for checks of data; the network's: `ops.boxes`.

Boxes are yxyx and half-open, so that `ymax - ymin` is the height. The VOC devkit takes corners as
the first and the last pixel of a box and measures `last - first + 1`: the same number.
"""

import numpy as np


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Compute the areas [...] of boxes [..., 4]; an inverted box has none."""
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def intersection_area(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Compute the areas [...] that boxes share with their partners, [..., 4] each, broadcast."""
    sides = np.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    sides = sides - np.maximum(boxes_a[..., :2], boxes_b[..., :2])
    return np.prod(np.maximum(sides, 0), axis=-1)


def paired_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Compute the IoU of boxes with their partners.

    Args:
        boxes_a: [..., 4] boxes.
        boxes_b: [..., 4] boxes in the same frame; the leading axes are broadcast.

    Returns:
        [...] float64 in [0, 1]; 0 where both boxes are empty.
    """
    a, b = boxes_a.astype(np.float64), boxes_b.astype(np.float64)
    intersection = intersection_area(a, b)
    union = box_area(a) + box_area(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def pairwise_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Compute the IoU of every box in `boxes_a` with every box in `boxes_b`.

    Args:
        boxes_a: [N, 4] boxes.
        boxes_b: [M, 4] boxes in the same frame.

    Returns:
        [N, M] float64 in [0, 1]; 0 where both boxes are empty.
    """
    return paired_iou(boxes_a[:, None], boxes_b[None])
