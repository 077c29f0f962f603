"""Kinds of mistakes: one hand-worked image for each, and the order in which they are told."""

import pytest

from tests.evaluation.images import found, image, make_dataset, perfect
from tf_frcnn.evaluation.error_breakdown import count_outcomes, judge_image

A, B, FAR = [0, 0, 10, 40], [30, 40, 50, 120], [200, 10, 220, 90]
A_NEAR = [0, 10, 10, 50]  # IoU with A: 300 / 500 = 0.6
A_TOUCHING = [0, 20, 10, 60]  # 200 / 600 = 1/3
A_HARDLY = [0, 35, 10, 75]  # 50 / 750 = 0.067
CAT, DOG = 1, 2


def judge(example, boxes, classes, min_score=0.0):
    scores = [0.9 - 0.1 * index for index in range(len(boxes))]
    return judge_image(example, found("a", boxes, scores, classes), min_score)


@pytest.mark.parametrize(
    ("box", "class_id", "kind", "missed"),
    [
        (A, CAT, "correct", False),
        (A_NEAR, CAT, "correct", False),
        (A_TOUCHING, CAT, "localisation", False),
        (A_NEAR, DOG, "classification", False),
        (A_TOUCHING, DOG, "both", True),
        (A_HARDLY, CAT, "background", True),
        (A_HARDLY, DOG, "background", True),
        (FAR, CAT, "background", True),
    ],
)
def test_one_detection_of_one_cat(box, class_id, kind, missed):
    judgement = judge(image("a", [A]), [box], [class_id])
    assert judgement.kinds == (kind,)
    assert judgement.missed.tolist() == [missed]


def test_thresholds_themselves_count():
    # IoU with A, 10 x 40: the left half has exactly 1/2, the left tenth exactly 1/10.
    example = image("a", [A])
    assert judge(example, [[0, 0, 10, 20]], [DOG]).kinds == ("classification",)
    assert judge(example, [[0, 0, 10, 4]], [CAT]).kinds == ("localisation",)


def test_duplicates():
    judgement = judge(image("a", [A]), [A_NEAR, A, A_TOUCHING], [CAT, CAT, CAT])
    assert judgement.kinds == ("correct", "duplicate", "localisation")


def test_a_duplicate_is_told_before_a_classification():
    # A cat and a dog at the same place, and two cats found there.
    judgement = judge(image("a", [A, A], [CAT, DOG]), [A, A], [CAT, CAT])
    assert judgement.kinds == ("correct", "duplicate")
    assert judgement.missed.tolist() == [False, True]


def test_classification_is_told_before_localisation():
    # Touches its own class, lies on another: IoU 1/3 with the cat A, 1 with the dog.
    judgement = judge(image("a", [A, A_TOUCHING], [CAT, DOG]), [A_TOUCHING], [CAT])
    assert judgement.kinds == ("classification",)
    assert judgement.missed.tolist() == [True, False]


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_ignored_boxes(flag):
    example = image("a", [A, B], [CAT, DOG], **{flag: [True, True]})
    judgement = judge(example, [A, A], [CAT, CAT])
    assert judgement.kinds == ("ignored", "ignored")
    assert judgement.missed.tolist() == [False, False]


def test_below_the_threshold_nothing_is_judged():
    judgement = judge(image("a", [A, B]), [A, B], [CAT, CAT], min_score=0.85)
    assert judgement.kinds == ("correct", None)
    assert judgement.missed.tolist() == [False, True]
    assert judgement.count("correct", "duplicate") == 1


def test_an_image_without_boxes():
    judgement = judge(image("a", []), [A], [DOG])
    assert judgement.kinds == ("background",) and judgement.missed.shape == (0,)


def test_counts_by_the_class_claimed_and_the_class_missed():
    dataset = make_dataset(image("a", [A, B], [CAT, DOG]), image("b", [FAR], [DOG]))
    # A dog on the cat (a dog's mistake that stands for the cat), both dogs missed.
    detections = [found("a", [A], [0.9], [DOG]), found("b", [A], [0.2], [CAT])]
    judgements = [
        judge_image(example, item, 0.5)
        for example, item in zip(dataset.examples, detections, strict=True)
    ]
    counts = count_outcomes(dataset, detections, judgements)
    nothing = dict.fromkeys(counts["cat"], 0)
    assert list(nothing) == [
        *("correct", "localisation", "classification", "both", "duplicate", "background"),
        "missed",
    ]
    assert counts == {"cat": nothing, "dog": {**nothing, "classification": 1, "missed": 2}}


def test_perfect_detections_are_correct():
    dataset = make_dataset(image("a", [A, B], [CAT, DOG], difficult=[False, True]))
    detections = perfect(dataset)
    judgements = [judge_image(dataset.examples[0], detections[0], 0.5)]
    counts = count_outcomes(dataset, detections, judgements)
    assert counts["cat"]["correct"] == 1 and sum(counts["dog"].values()) == 0
