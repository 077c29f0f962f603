"""Two lists of detections compared."""

import numpy as np
import pytest

from tf_frcnn.tflite.report import compare_detections


def found(*detections):
    """Make a list of (box, score, class)."""
    boxes, scores, classes = zip(*detections, strict=True) if detections else ((), (), ())
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int32),
    )


def test_pairs_are_of_one_class_and_overlap():
    expected = found(([0, 0, 10, 40], 0.9, 1), ([50, 0, 60, 20], 0.8, 2), ([0, 0, 10, 40], 0.3, 2))
    other = found(([50, 3, 60, 20], 0.75, 2), ([0, 0, 12, 40], 0.7, 1), ([0, 0, 10, 40], 0.2, 3))
    # Pairs: the first two of each, 2 px and 0.2 apart, 3 px and 0.05 apart. The third ones share
    # their box, but not their class: two without a partner.
    assert compare_detections(expected, other) == {
        "num_expected": 3,
        "num_found": 3,
        "num_unmatched": 2,
        "max_box_difference": 3.0,
        "max_score_difference": pytest.approx(0.2, abs=1e-6),
    }


def test_a_detection_is_claimed_once():
    twice = found(([0, 0, 10, 40], 0.9, 1), ([0, 0, 10, 38], 0.8, 1))
    once = found(([0, 0, 10, 39], 0.9, 1))
    assert compare_detections(twice, once)["num_unmatched"] == 1
    assert compare_detections(once, twice)["num_unmatched"] == 1


def test_boxes_that_overlap_by_less_than_half_are_no_pair():
    # 10 x 4 of two 10 x 10: IoU 40 / 160.
    one, other = found(([0, 0, 10, 10], 0.9, 1)), found(([0, 6, 10, 16], 0.9, 1))
    figures = compare_detections(one, other)
    assert figures["num_unmatched"] == 2 and figures["max_box_difference"] is None


@pytest.mark.parametrize("swap", [False, True])
def test_nothing_found(swap):
    lists = (found(), found(([0, 0, 10, 40], 0.9, 1)))
    figures = compare_detections(*(lists[::-1] if swap else lists))
    assert figures["num_unmatched"] == 1 and figures["max_score_difference"] is None
    assert compare_detections(found(), found())["num_unmatched"] == 0
