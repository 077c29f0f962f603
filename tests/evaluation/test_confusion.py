"""The confusion matrix: rows are true classes, columns detected ones, background last."""

import numpy as np
import pytest

from tests.evaluation.images import found, image, make_dataset, perfect
from tf_frcnn.evaluation.confusion import confusion_cells, confusion_matrix

# Wide boxes, so that swapped axes change every IoU.
A, B, FAR = [0, 0, 10, 40], [30, 40, 50, 120], [200, 10, 220, 90]
A_MOVED = [0, 10, 10, 50]  # IoU with A: 300 / 500 = 0.6
A_MOVED_FAR = [0, 20, 10, 60]  # IoU with A: 200 / 600 = 1/3; with A_MOVED 0.6
CAT, DOG = 1, 2


def matrix(examples, detections, min_score=0.5):
    return confusion_matrix(make_dataset(*examples), detections, min_score).tolist()


def test_perfect_detections_are_the_diagonal():
    dataset = make_dataset(image("a", [A, B], [CAT, DOG]), image("b", [A], [DOG]))
    counts = confusion_matrix(dataset, perfect(dataset), 0.5)
    assert counts.tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 0]]


def test_cells_are_those_of_the_matrix_that_are_not_0():
    examples = [image("a", [A, B], [CAT, DOG])]
    detections = [found("a", [A, FAR], [0.9, 0.8], [DOG, CAT])]
    cells = confusion_cells(make_dataset(*examples), detections, 0.5)
    assert cells.tolist() == [[0, 1, 1], [1, 2, 1], [2, 0, 1]]
    assert confusion_cells(make_dataset(), [], 0.5).shape == (0, 3)


def test_a_cat_taken_for_a_dog_one_missed_and_one_of_nothing():
    examples = [image("a", [A, B], [CAT, DOG])]
    detections = [found("a", [A, FAR], [0.9, 0.8], [DOG, CAT])]
    # The cat is in row cat, column dog; the dog is missed; background was taken for a cat.
    assert matrix(examples, detections) == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(("min_score", "seen"), [(0.5, True), (0.51, False)])
def test_the_threshold_itself_counts(min_score, seen):
    expected = [[1, 0, 0], [0, 0, 0], [0, 0, 0]] if seen else [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert matrix([image("a", [A])], [found("a", [A], [0.5])], min_score) == expected


def test_the_right_class_comes_first_even_with_a_lower_score():
    # A confident dog and a less confident cat on the same cat: the dog is of background.
    detections = [found("a", [A, A_MOVED], [0.9, 0.6], [DOG, CAT])]
    assert matrix([image("a", [A])], detections) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_a_duplicate_is_of_background():
    detections = [found("a", [A, A_MOVED], [0.9, 0.6])]
    assert matrix([image("a", [A])], detections) == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_a_box_that_is_taken_leaves_the_next_best():
    # Both overlap A_MOVED best (1 and 0.6); the second takes A, IoU 1/3: too little, so missed.
    examples = [image("a", [A, A_MOVED])]
    detections = [found("a", [A_MOVED, A_MOVED_FAR], [0.9, 0.8])]
    assert matrix(examples, detections) == [[1, 0, 1], [0, 0, 0], [1, 0, 0]]
    # And A_MOVED's second detection at 0.6 takes A, which it overlaps by 0.6 too.
    detections = [found("a", [A_MOVED, A_MOVED], [0.9, 0.8])]
    assert matrix(examples, detections) == [[2, 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_ignored_boxes_are_neither_missed_nor_wrong(flag):
    examples = [image("a", [A, B], [CAT, DOG], **{flag: [True, True]})]
    detections = [found("a", [A, A, B], [0.9, 0.8, 0.7], [CAT, CAT, CAT])]
    # Both cats lie on the ignored cat; the third is a cat where an ignored dog is: background.
    assert matrix(examples, detections) == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_images_without_boxes_or_detections():
    examples = [image("a", []), image("b", [A]), image("c", [])]
    assert matrix(examples, [found("a", [B], [0.9])]) == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_every_box_and_every_detection_is_counted_once():
    rng = np.random.default_rng(5)

    def boxes(count):
        corner = rng.integers(0, 60, (count, 2))
        return np.concatenate([corner, corner + rng.integers(10, 40, (count, 2)) * [1, 2]], axis=1)

    examples = [image(f"{i}", boxes(6), rng.integers(1, 3, 6)) for i in range(20)]
    detections = [
        found(f"{i}", boxes(9), rng.uniform(0, 1, 9), rng.integers(1, 3, 9)) for i in range(20)
    ]
    counts = np.array(matrix(examples, detections, 0.3))
    truth = np.concatenate([example.classes for example in examples])
    kept = np.concatenate([item.classes[item.scores >= 0.3] for item in detections])
    assert counts[:2].sum(axis=1).tolist() == [np.sum(truth == CAT), np.sum(truth == DOG)]
    assert counts[:, :2].sum(axis=0).tolist() == [np.sum(kept == CAT), np.sum(kept == DOG)]
    assert counts[:2, :2].sum() > 5 and counts[2, 2] == 0
