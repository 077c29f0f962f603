"""How far what a TFLite file finds is from what the Keras network finds in the same picture."""

from typing import Any

import numpy as np

from tf_frcnn.iou import pairwise_iou

MIN_IOU = 0.5

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Boxes [D, 4] float32 yxyx in pixels, scores [D] float32, classes [D] int32; best first."""


def compare_detections(expected: Found, found: Found) -> dict[str, Any]:
    """Compare two lists of detections in one picture.

    By falling score, each expected one claims the free one of its class whose box it overlaps most,
    at an IoU of `MIN_IOU` or more.

    Args:
        expected: of the Keras network.
        found: of the TFLite file.

    Returns:
        `num_expected` and `num_found`; `num_unmatched`, those of either list without a partner;
        `max_box_difference`, of any coordinate in pixels, and `max_score_difference`, over the
        pairs; None where there is no pair.
    """
    (boxes_a, scores_a, classes_a), (boxes_b, scores_b, classes_b) = expected, found
    overlaps = pairwise_iou(boxes_a, boxes_b)  # [expected, found]
    overlaps = np.where(classes_a[:, None] == classes_b[None], overlaps, 0.0)
    pairs = []
    for index in range(len(scores_a)):
        partner = int(np.argmax(overlaps[index])) if len(scores_b) else -1
        if partner >= 0 and overlaps[index, partner] >= MIN_IOU:
            pairs.append((index, partner))
            overlaps[:, partner] = 0.0
    rows, cols = np.array(pairs, np.int64).reshape(-1, 2).T
    return {
        "num_expected": len(scores_a),
        "num_found": len(scores_b),
        "num_unmatched": len(scores_a) + len(scores_b) - 2 * len(pairs),
        "max_box_difference": _largest(boxes_a[rows] - boxes_b[cols]),
        "max_score_difference": _largest(scores_a[rows] - scores_b[cols]),
    }


def _largest(differences: np.ndarray) -> float | None:
    return float(np.abs(differences).max()) if differences.size else None
