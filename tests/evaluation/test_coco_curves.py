"""Precision and recall against pycocotools' own evaluation, bit for bit."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluation.images import found, image, make_dataset
from tf_frcnn.evaluation.coco_curves import coco_curves
from tf_frcnn.evaluation.detections import coco_box

NAMES = ("cat", "dog", "cow")


def pycocotools_curves(dataset, detections, limits, sizes):
    """Judge by `COCOeval` -> class ids, precision, recall."""
    truth, results = [], []
    for number, example in enumerate(dataset.examples, start=1):
        for index, (class_id, box) in enumerate(zip(example.classes, example.boxes, strict=True)):
            entry = to_entry(number, class_id, box) | {"iscrowd": int(example.crowd[index])}
            if example.areas is not None and np.isfinite(example.areas[index]):
                entry["area"] = float(example.areas[index])
            truth.append(entry)
    for number, one in enumerate(detections, start=1):
        for class_id, box, score in zip(one.classes, one.boxes, one.scores, strict=True):
            results.append(to_entry(number, class_id, box) | {"score": float(score)})
    class_ids = sorted({item["category_id"] for item in (*truth, *results)})
    with contextlib.redirect_stdout(io.StringIO()):
        judged = COCOeval(to_index(dataset, truth), to_index(dataset, results), "bbox")
        judged.params.catIds = class_ids
        judged.params.maxDets = list(limits)
        judged.params.areaRng = judged.params.areaRng[:sizes]
        judged.params.areaRngLbl = judged.params.areaRngLbl[:sizes]
        judged.evaluate()
        judged.accumulate()
    return class_ids, judged.eval["precision"], judged.eval["recall"]


def to_entry(number, class_id, box):
    bbox = coco_box(box)
    area = bbox[2] * bbox[3]
    return {"image_id": number, "category_id": int(class_id), "bbox": bbox, "area": area}


def to_index(dataset, entries):
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(1, len(dataset.examples) + 1)],
        "categories": [{"id": number} for number in range(1, len(dataset.class_names) + 1)],
        # From 1: an id of 0 counts as "no match" there.
        "annotations": [{"id": number, **item} for number, item in enumerate(entries, start=1)],
    }
    coco.createIndex()
    return coco


def draw_boxes(random, count, step):
    """Draw [count, 4] yxyx boxes of all sizes; with a step, on a grid, so that IoUs tie."""
    low = random.uniform(0, 120, (count, 2))
    high = low + random.uniform(1, 120, (count, 2))
    if step:
        low, high = np.round(low / step) * step, np.round(high / step) * step + 1
    return np.concatenate([low, high], axis=1).astype(np.float32)


def draw_case(random):
    """Draw images with crowds, areas, ties and empty ones -> (data set, detections)."""
    step, most_found = random.choice([0, 10, 30]), int(random.choice([3, 30, 30, 350]))
    num_classes = int(random.integers(1, 4))
    has_equal_scores = random.random() < 0.5
    examples, detections = [], []
    for number in range(random.integers(1, 7)):
        name, count = str(number), int(random.integers(0, 12))
        boxes = draw_boxes(random, count, step)
        classes = random.integers(1, num_classes + 1, count)
        example = image(name, boxes, classes, crowd=random.random(count) < 0.2)
        if random.random() < 0.5:
            areas = random.uniform(0, 12_000, count)
            areas[random.random(count) < 0.3] = np.nan
            example = dataclasses.replace(example, areas=areas)
        examples.append(example)
        count = int(random.integers(0, most_found))
        near = random.integers(0, max(len(boxes), 1), count)
        is_near = (random.random(count) < 0.6) & (len(boxes) > 0)
        guesses = draw_boxes(random, count, step)
        guess_classes = random.integers(1, num_classes + 1, count)
        if len(boxes):
            moved = boxes[near] + random.choice([0, 0, 2, 5], (count, 1)) * random.random(
                (count, 4)
            )
            guesses = np.where(is_near[:, None], moved, guesses)
            guess_classes = np.where(is_near, classes[near], guess_classes)
        scores = random.random(count)
        scores = np.round(scores, 1) if has_equal_scores else scores
        detections.append(found(name, guesses, scores, guess_classes))
    return make_dataset(*examples, class_names=NAMES), detections


def assert_equal(dataset, detections, limits, sizes):
    class_ids, precision, recall = pycocotools_curves(dataset, detections, limits, sizes)
    ours = coco_curves(dataset, detections, limits, sizes)
    assert ours.class_ids == class_ids
    np.testing.assert_array_equal(ours.precision, precision)  # no tolerance
    np.testing.assert_array_equal(ours.recall, recall)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    limits_and_sizes=st.sampled_from(
        [((100,), 4), ((1, 10, 100), 4), ((100, 300, 1000), 1), ((2,), 2)]
    ),
)
def test_every_number_is_pycocotools(seed, limits_and_sizes):
    dataset, detections = draw_case(np.random.default_rng(seed))
    assert_equal(dataset, detections, *limits_and_sizes)


BOX = [10, 20, 60, 90]


@pytest.mark.parametrize(
    ("examples", "detections"),
    [
        # A second detection of a box that is the only one, with an IoU of 1 or tied.
        ([image("0", [BOX])], [found("0", [BOX, BOX], [0.9, 0.9])]),
        ([image("0", [BOX] * 3)], [found("0", [BOX] * 5, [0.5] * 5)]),
        # A crowd is found as often as one likes, but after what is to be found.
        ([image("0", [BOX, BOX], crowd=[True, False])], [found("0", [BOX] * 3, [0.9, 0.8, 0.7])]),
        # Nothing found, nothing there, neither, and a class that is only found.
        ([image("0", [BOX])], [found("0", [], [])]),
        ([image("0", []), image("1", [BOX])], [found("0", [BOX], [0.9]), found("1", [BOX], [0.8])]),
        ([image("0", []), image("1", [])], [found("0", [], []), found("1", [], [])]),
        ([image("0", [BOX])], [found("0", [BOX, BOX], [0.9, 0.8], [2, 1])]),
        # Boxes without area, as a network may give them.
        ([image("0", [BOX])], [found("0", [[10, 20, 10, 90], [60, 90, 10, 20]], [0.9, 0.8])]),
    ],
)
@pytest.mark.parametrize("limits", [(100,), (1, 2)])
def test_edges(examples, detections, limits):
    assert_equal(make_dataset(*examples), detections, limits, 4)


def test_the_only_hit_of_a_class_has_pycocotools_epsilon():
    # 1 / (0 + 1 + 2^-52), where a rewrite that leaves the epsilon out has 1.
    curves = coco_curves(make_dataset(image("0", [BOX])), [found("0", [BOX], [0.9])], (100,))
    assert (curves.precision[:, :, 0, 0, 0] == 1 - 2**-52).all()
    assert (curves.recall[:, 0, 0, 0] == 1).all()
