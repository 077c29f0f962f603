"""The score threshold with the best F1: hand-worked, ties, and against a loop over thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.images import found, image, make_dataset
from tf_frcnn.evaluation.voc import (
    OperatingPoint,
    PrecisionRecall,
    best_operating_point,
    precision_recall,
)

A, B, C = [0, 0, 10, 20], [30, 40, 50, 90], [100, 120, 160, 150]


def make_curve(scores, hits, num_boxes):
    """Make the curve of detections that come by falling score."""
    hits = np.cumsum(hits)
    return PrecisionRecall(
        scores=np.array(scores, float),
        precision=hits / np.arange(1, len(scores) + 1),
        recall=hits / max(num_boxes, 1),
        num_boxes=num_boxes,
    )


def test_hand_worked():
    # 3 boxes; hit, miss, hit, miss. F1 = 2 hits / (kept + boxes): 2/4, 2/5, 4/6, 4/7.
    point = best_operating_point([make_curve([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], 3)])
    assert point.score_threshold == 0.7
    assert (point.precision, point.recall) == pytest.approx((2 / 3, 2 / 3))
    assert point.f1 == pytest.approx(2 / 3)


def test_of_equal_f1_the_highest_threshold():
    # 2 boxes; hit, miss, miss, hit: 2/3, 2/4, 2/5, 4/6. The first and the last are equal.
    point = best_operating_point([make_curve([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1], 2)])
    assert point == OperatingPoint(0.9, 1.0, 0.5, pytest.approx(2 / 3))


def test_equal_scores_are_kept_together():
    # One box, found by the first of two detections with the same score: F1 is 2 / (2 + 1), not 1.
    point = best_operating_point([make_curve([0.9, 0.9], [1, 0], 1)])
    assert point == OperatingPoint(0.9, 0.5, 1.0, pytest.approx(2 / 3))


def test_several_classes_are_pooled():
    # 4 boxes. By score: 0.9 hit, 0.8 miss, 0.7 hit, 0.6 hit: 2/5, 2/6, 4/7, 6/8.
    cat = make_curve([0.9, 0.6], [1, 1], 2)
    dog = make_curve([0.8, 0.7], [0, 1], 2)
    assert best_operating_point([cat, dog]) == OperatingPoint(0.6, 0.75, 0.75, 0.75)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (make_curve([], [], 0), OperatingPoint(None, None, None, None)),
        (make_curve([0.9], [0], 0), OperatingPoint(None, None, None, None)),
        (make_curve([], [], 2), OperatingPoint(None, None, 0.0, 0.0)),
        (make_curve([0.9, 0.8], [0, 0], 2), OperatingPoint(0.9, 0.0, 0.0, 0.0)),
    ],
)
def test_nothing_to_find_or_nothing_found(curve, expected):
    assert best_operating_point([curve]) == expected


def test_a_wrong_class_without_boxes_lowers_the_pooled_precision():
    point = best_operating_point([make_curve([0.5], [1], 1), make_curve([0.9], [0], 0)])
    assert point == OperatingPoint(0.5, 0.5, 1.0, pytest.approx(2 / 3))


def test_detections_of_difficult_boxes_play_no_part():
    dataset = make_dataset(image("a", [A, B], difficult=[False, True]))
    curve = precision_recall(dataset, [found("a", [B, A, C], [0.9, 0.8, 0.7])], 1)
    assert best_operating_point([curve]) == OperatingPoint(pytest.approx(0.8), 1.0, 1.0, 1.0)


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.booleans()), min_size=1),
    st.integers(0, 5),
)
def test_no_threshold_is_better(detections, num_missed):
    detections.sort(key=lambda item: -item[0])
    scores, hits = zip(*detections, strict=True)
    num_boxes = sum(hits) + num_missed
    point = best_operating_point([make_curve(scores, hits, num_boxes)])
    if not num_boxes:
        assert point.f1 is None
        return
    values = {}
    for threshold in scores:
        kept = [hit for score, hit in detections if score >= threshold]
        values[threshold] = 2 * sum(kept) / (len(kept) + num_boxes)
    assert point.f1 == pytest.approx(max(values.values()))
    assert point.f1 == pytest.approx(values[point.score_threshold])
