import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.images import found, image, make_dataset
from tf_frcnn.evaluation.voc import (
    PrecisionRecall,
    average_precision_11_point,
    average_precision_area,
    mean_average_precision,
    precision_recall,
)

A, B, C, D = [10, 20, 30, 80], [40, 20, 60, 80], [100, 5, 110, 45], [120, 5, 130, 45]
NOWHERE = [200, 200, 210, 240]


def curve(precision, recall, num_boxes):
    scores = np.linspace(1.0, 0.1, len(precision))
    return PrecisionRecall(scores, np.array(precision), np.array(recall), num_boxes)


def test_curve_and_both_ap_by_hand():
    # Four boxes in two images. By falling score: hit, miss, hit, miss, hit; box D is not found.
    dataset = make_dataset(image("a", [A, B]), image("b", [C, D]))
    detections = [
        found("a", [A, NOWHERE, B], [0.9, 0.8, 0.7]),
        found("b", [NOWHERE, C], [0.6, 0.5]),
    ]
    result = precision_recall(dataset, detections, class_id=1)
    np.testing.assert_allclose(result.precision, [1 / 1, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    np.testing.assert_allclose(result.recall, [1 / 4, 1 / 4, 2 / 4, 2 / 4, 3 / 4])
    np.testing.assert_allclose(result.scores, [0.9, 0.8, 0.7, 0.6, 0.5], rtol=1e-6)
    assert result.num_boxes == 4
    # Best precision at recall >= 0, .1, .2: 1; at .3, .4, .5: 2/3; at .6, .7: 3/5; at .8, .9, 1: 0.
    # (3 * 1 + 3 * 2/3 + 2 * 3/5 + 0) / 11 = 6.2 / 11.
    assert average_precision_11_point(result) == pytest.approx(6.2 / 11)
    # Envelope 1, 2/3, 3/5 over recall widths of 1/4 each: (1 + 2/3 + 3/5) / 4 = 34/60.
    assert average_precision_area(result) == pytest.approx(34 / 60)


def test_envelope_lifts_precision_to_the_best_of_higher_recalls():
    # Miss, hit, hit of two boxes: precision 0, 1/2, 2/3. The envelope is 2/3 everywhere.
    result = curve([0.0, 1 / 2, 2 / 3], [0.0, 0.5, 1.0], num_boxes=2)
    assert average_precision_area(result) == pytest.approx(2 / 3)
    assert average_precision_11_point(result) == pytest.approx(2 / 3)


def test_11_point_levels_are_those_of_published_implementations():
    # Three of ten boxes found, nothing else. 3 / 10 is below 3 * 0.1 in float64, so only levels
    # 0, 0.1, 0.2 are reached: 3 / 11, as everywhere, not 4 / 11.
    result = curve([1.0, 1.0, 1.0], np.array([1, 2, 3]) / 10, num_boxes=10)
    assert average_precision_11_point(result) == pytest.approx(3 / 11)
    assert average_precision_area(result) == pytest.approx(0.3)


def test_second_detection_of_an_object_is_a_false_positive():
    dataset = make_dataset(image("a", [A, B]))
    result = precision_recall(dataset, [found("a", [A, A, B], [0.9, 0.8, 0.7])], class_id=1)
    # Hit, duplicate, hit: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    np.testing.assert_allclose(result.precision, [1.0, 1 / 2, 2 / 3])
    # Area (1 + 2/3) / 2; 11 points: 6 levels at 1, 5 levels at 2/3.
    assert average_precision_area(result) == pytest.approx(5 / 6)
    assert average_precision_11_point(result) == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_only_the_box_with_the_largest_iou_is_a_candidate():
    # The second detection overlaps the claimed box by 9.5 / 10.5 and the free one by 8.5 / 11.5,
    # both above 0.5. The devkit looks at the first only: a duplicate, and the free box is missed.
    dataset = make_dataset(image("a", [[0, 0, 10, 10], [0, 2, 10, 12]]))
    detections = [found("a", [[0, 0, 10, 10], [0, 0.5, 10, 10.5]], [0.9, 0.8])]
    result = precision_recall(dataset, detections, class_id=1)
    np.testing.assert_allclose(result.precision, [1.0, 0.5])
    np.testing.assert_allclose(result.recall, [0.5, 0.5])


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_difficult_and_crowd_boxes_are_ignored_not_removed(flag):
    # Two detections of the difficult box, then one of the ordinary one. Were the difficult box
    # removed, two false positives would leave precision 1/3.
    dataset = make_dataset(image("a", [A, B], **{flag: [True, False]}))
    result = precision_recall(dataset, [found("a", [A, A, B], [0.9, 0.8, 0.7])], class_id=1)
    np.testing.assert_allclose(result.precision, [1.0])
    np.testing.assert_allclose(result.recall, [1.0])
    assert result.num_boxes == 1
    assert average_precision_area(result) == average_precision_11_point(result) == 1.0


def test_iou_of_exactly_one_half_is_a_hit():
    # 20 x 60 box; a detection of its left half overlaps by exactly 1/2, one a bit narrower by less.
    dataset = make_dataset(image("a", [A]))
    half = precision_recall(dataset, [found("a", [[10, 20, 30, 50]], [0.9])], class_id=1)
    less = precision_recall(dataset, [found("a", [[10, 20, 30, 49.9]], [0.9])], class_id=1)
    assert (half.precision[0], less.precision[0]) == (1.0, 0.0)


def test_classes_and_images_do_not_mix():
    dataset = make_dataset(image("a", [A], [1]), image("b", [B], [2]))
    detections = [found("a", [A], [0.9], [2]), found("b", [A], [0.8], [1])]
    for class_id in (1, 2):
        result = precision_recall(dataset, detections, class_id)
        np.testing.assert_array_equal(result.precision, [0.0])
        assert result.num_boxes == 1


def test_equal_scores_keep_the_order_of_the_images():
    dataset = make_dataset(image("a", [A]), image("b", [B]))
    detections = [found("b", [B], [0.5]), found("a", [NOWHERE], [0.5])]
    result = precision_recall(dataset, detections, class_id=1)
    np.testing.assert_array_equal(result.precision, [0.0, 0.5])  # a's miss, then b's hit


def test_without_boxes_there_is_no_ap_and_without_detections_it_is_zero():
    dataset = make_dataset(image("a", [A], [1]))
    nothing = precision_recall(dataset, [], class_id=1)
    assert len(nothing.precision) == 0
    assert average_precision_11_point(nothing) == average_precision_area(nothing) == 0.0
    no_boxes = precision_recall(dataset, [found("a", [A], [0.9], [2])], class_id=2)
    np.testing.assert_array_equal(no_boxes.recall, [0.0])
    assert average_precision_11_point(no_boxes) is average_precision_area(no_boxes) is None


def test_mean_is_over_classes_that_have_boxes():
    assert mean_average_precision([0.5, None, 1.0]) == 0.75
    assert mean_average_precision([None, None]) is None
    assert mean_average_precision([]) is None


def devkit_average_precision(dataset, detections, class_id):
    """VOCevaldet.m and VOCap.m in plain loops: 1-based inclusive pixels, one pass over all."""
    rows = []
    for index, record in enumerate(detections):
        for box, score, label in zip(record.boxes, record.scores, record.classes, strict=True):
            if label == class_id:
                rows.append((-float(score), index, [int(v) for v in box]))
    rows.sort(key=lambda row: row[0])
    claimed, hits, misses = set(), 0, 0
    precision, recall = [], []
    num_boxes = sum(
        int(label == class_id and not difficult)
        for example in dataset.examples
        for label, difficult in zip(example.classes, example.difficult, strict=True)
    )
    for _, index, (ymin, xmin, ymax, xmax) in rows:
        example, best, best_iou = dataset.examples[index], None, -1.0
        for number, truth in enumerate(example.boxes):
            if example.classes[number] != class_id:
                continue
            top, left, bottom, right = (int(v) for v in truth)
            # From half-open to first and last pixel, counted from 1.
            width = min(xmax, right) - max(xmin + 1, left + 1) + 1
            height = min(ymax, bottom) - max(ymin + 1, top + 1) + 1
            if width > 0 and height > 0:
                union = (xmax - (xmin + 1) + 1) * (ymax - (ymin + 1) + 1)
                union += (right - (left + 1) + 1) * (bottom - (top + 1) + 1) - width * height
                if width * height / union > best_iou:
                    best, best_iou = number, width * height / union
        if best_iou >= 0.5 and example.difficult[best]:
            continue
        if best_iou >= 0.5 and (index, best) not in claimed:
            claimed.add((index, best))
            hits += 1
        else:
            misses += 1
        precision.append(hits / (hits + misses))
        recall.append(hits / num_boxes if num_boxes else 0.0)
    if num_boxes == 0:
        return None, None
    eleven = 0.0
    for level in np.arange(0.0, 1.1, 0.1):
        eleven += max([p for p, r in zip(precision, recall, strict=True) if r >= level] or [0]) / 11
    recall, precision = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    area = sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))
    return eleven, area


def random_case(seed):
    """Integer boxes in few places, so that hits, duplicates, ties and difficult ones abound."""
    rng = np.random.default_rng(seed)
    examples, detections = [], []
    for name in "abcdefgh":
        corners = rng.integers(0, 4, (rng.integers(0, 6), 2)) * 20
        boxes = np.hstack([corners, corners + [[15, 30]]])
        near = np.repeat(boxes, 2, axis=0) + rng.integers(-4, 5, (2 * len(boxes), 4))
        far = rng.integers(0, 40, (3, 2))
        guesses = np.vstack([near, np.hstack([far, far + [[10, 25]]])])
        truth_classes = rng.integers(1, 3, len(boxes))
        classes = np.concatenate([np.repeat(truth_classes, 2), rng.integers(1, 3, 3)])
        examples.append(image(name, boxes, truth_classes, rng.random(len(boxes)) < 0.25))
        scores = rng.integers(0, 12, len(guesses)) / 12
        detections.append(found(name, guesses, scores, classes))
    return make_dataset(*examples), detections


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_devkit_in_plain_loops(seed):
    dataset, detections = random_case(seed)
    for class_id in (1, 2):
        result = precision_recall(dataset, detections, class_id)
        eleven, area = devkit_average_precision(dataset, detections, class_id)
        assert 0.0 < area < 1.0  # the case is worth something
        assert average_precision_11_point(result) == pytest.approx(eleven, abs=1e-12)
        assert average_precision_area(result) == pytest.approx(area, abs=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_order_of_records_and_detections_plays_no_part(seed, random):
    dataset, detections = random_case(seed)
    # Scores all different, or the order of detections in an image would decide between them.
    total, start, records = sum(len(record.scores) for record in detections), 0, []
    ranks = np.random.default_rng(seed).permutation(total) / total
    for record in detections:
        scores = ranks[start : start + len(record.scores)]
        start += len(record.scores)
        records.append(found(record.image_id, record.boxes, scores, record.classes))
    shuffled = []
    for record in records:
        order = random.sample(range(len(record.scores)), len(record.scores))
        shuffled.append(
            found(record.image_id, record.boxes[order], record.scores[order], record.classes[order])
        )
    random.shuffle(shuffled)
    expected = precision_recall(dataset, records, class_id=1)
    result = precision_recall(dataset, shuffled, class_id=1)
    np.testing.assert_array_equal(result.precision, expected.precision)
    np.testing.assert_array_equal(result.recall, expected.recall)
