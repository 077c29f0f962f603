import json
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.images import found, image, make_dataset, perfect
from tf_frcnn.errors import DataError
from tf_frcnn.evaluation import evaluator
from tf_frcnn.evaluation.detections import Detections, align_detections
from tf_frcnn.evaluation.evaluator import DetectInBatches, compute_metrics, detect_dataset

A, B, C = [10, 20, 30, 80], [40, 20, 140, 180], [100, 5, 115, 45]
FIGURES = ("voc_ap50_11pt", "voc_ap50_area", "coco_ap", "coco_ap50")
BEST_F1 = ("score_threshold", "precision", "recall", "f1")


@pytest.fixture
def dataset():
    return make_dataset(
        image("a", [A, B], [1, 2]), image("b", []), image("c", [B, C, A], [2, 1, 1])
    )


def test_perfect_detector_reaches_one_everywhere(dataset):
    metrics = compute_metrics(dataset, perfect(dataset))
    for figures in (metrics, *metrics["per_class"].values()):
        assert [figures[name] for name in FIGURES] == pytest.approx([1.0] * 4)


def test_detector_that_finds_nothing_gets_zero(dataset):
    for detections in ([], [found(name, [], []) for name in "abc"]):
        metrics = compute_metrics(dataset, detections)
        assert {name: metrics[name] for name in FIGURES} == dict.fromkeys(FIGURES, 0.0)


def test_metrics_have_their_documented_names_and_counts(dataset):
    metrics = compute_metrics(dataset, perfect(dataset))
    assert list(metrics) == [
        "split",
        "num_pictures",
        "num_pictures_left_out",
        "num_boxes_left_out",
        "num_boxes",
        "num_difficult",
        "voc_ap50_11pt",
        "voc_ap50_area",
        "coco_ap",
        "coco_ap50",
        "coco_ap75",
        "coco_ap_small",
        "coco_ap_medium",
        "coco_ap_large",
        "coco_ar_100",
        *BEST_F1,
        "outcomes",
        "per_class",
        "confusion",
    ]
    assert (metrics["split"], metrics["num_pictures"], metrics["num_boxes"]) == ("test", 3, 5)
    assert list(metrics["per_class"]["cat"]) == [
        *FIGURES,
        *BEST_F1,
        "num_boxes",
        "num_difficult",
        "outcomes",
    ]
    assert [metrics["per_class"][name]["num_boxes"] for name in ("cat", "dog")] == [3, 2]


def test_metrics_are_plain_json(dataset):
    metrics = compute_metrics(dataset, perfect(dataset))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_class_without_boxes_is_null_and_left_out_of_the_mean():
    dataset = make_dataset(image("a", [A], [1]), class_names=("cat", "dog"))
    metrics = compute_metrics(dataset, [found("a", [A, B], [0.9, 0.95], [1, 2])])
    figures = metrics["per_class"]["dog"]
    assert figures["outcomes"].pop("background") == 1  # B, a dog where there is nothing
    assert set(figures.pop("outcomes").values()) == {0}
    assert figures == {**dict.fromkeys((*FIGURES, *BEST_F1)), "num_boxes": 0, "num_difficult": 0}
    assert [metrics[name] for name in FIGURES] == pytest.approx([1.0] * 4)


def test_outcomes_and_confusion_are_those_at_the_common_threshold():
    # Two cats and a dog. By score: cat found, dog taken for a cat, cat of nothing, dog found where
    # it was confused before. F1 = 2 hits / (kept + 3): 2/4, 2/5, 2/6, 4/7: all four are kept.
    dataset = make_dataset(image("a", [A, B, C], [1, 2, 1]))
    scores = [0.9, 0.8, 0.7, 0.6]
    detections = [found("a", [A, B, [200, 0, 210, 90], B], scores, [1, 1, 1, 2])]
    metrics = compute_metrics(dataset, detections)
    assert metrics["score_threshold"] == pytest.approx(0.6)
    assert metrics["f1"] == pytest.approx(4 / 7)
    assert metrics["confusion"] == {
        "labels": ["cat", "dog", "background"],
        "counts": [[1, 0, 1], [0, 1, 0], [2, 0, 0]],
    }
    nothing = dict.fromkeys(metrics["outcomes"], 0)
    cat = {**nothing, "correct": 1, "classification": 1, "background": 1, "missed": 1}
    assert metrics["per_class"]["cat"]["outcomes"] == cat
    assert metrics["per_class"]["dog"]["outcomes"] == {**nothing, "correct": 1}
    assert metrics["outcomes"] == {**cat, "correct": 2}


def test_every_key_is_documented(dataset):
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    metrics = compute_metrics(dataset, perfect(dataset))
    keys = {*metrics, *metrics["per_class"]["cat"], *metrics["outcomes"], *metrics["confusion"]}
    assert [key for key in sorted(keys) if f"`{key}`" not in text and f"`{key}[" not in text] == []


def test_difficult_boxes_count_for_coco_only():
    dataset = make_dataset(
        image("a", [A, B, C], [1, 1, 2], [False, True, True]), class_names=("cat", "dog")
    )
    metrics = compute_metrics(dataset, [found("a", [A], [0.9], [1])])
    assert (metrics["num_boxes"], metrics["num_difficult"]) == (1, 2)
    assert metrics["voc_ap50_area"] == 1.0
    assert metrics["per_class"]["dog"]["voc_ap50_area"] is None
    assert metrics["per_class"]["dog"]["coco_ap50"] == 0.0
    # One of two cats: precision 1 at 51 of 101 recalls.
    assert metrics["per_class"]["cat"]["coco_ap50"] == pytest.approx(51 / 101)


def test_voc_and_coco_figures_of_one_mistake():
    # One box, a miss before the hit: precision 1/2 at every recall, in all four figures.
    dataset = make_dataset(image("a", [A]), class_names=("cat",))
    metrics = compute_metrics(dataset, [found("a", [B, A], [0.9, 0.8])])
    for name in FIGURES:
        assert metrics[name] == pytest.approx(0.5), name


def test_detect_dataset_reads_each_image_and_keeps_the_order(dataset, monkeypatch):
    read = []

    def read_image(path, orientation):
        read.append(path)
        return np.full((2, 3, 3), len(read), np.uint8)

    def detect(image):
        number = int(image[0, 0, 0])
        # As many detections as the image's number less one, in types of their own.
        boxes = [[number, 2.0, 3.0, 4.0]] * (number - 1)
        return np.array(boxes), np.full(number - 1, 0.5), np.full(number - 1, 2, np.int64)

    monkeypatch.setattr(evaluator, "read_image", read_image)
    records = detect_dataset(dataset, detect)
    assert read == [Path("a.png"), Path("b.png"), Path("c.png")]
    assert [record.image_id for record in records] == ["a", "b", "c"]
    assert [len(record.scores) for record in records] == [0, 1, 2]
    assert records[0].boxes.shape == (0, 4)
    np.testing.assert_array_equal(records[2].boxes, [[3, 2, 3, 4], [3, 2, 3, 4]])
    last = records[2]
    assert (last.boxes.dtype, last.scores.dtype) == (np.float32, np.float32)
    assert last.classes.dtype == np.int32


def test_memory_does_not_grow_with_the_size_of_the_set(monkeypatch):
    image_bytes = 500 * 400 * 3
    dataset = make_dataset(*(image(f"p{number}", [A]) for number in range(40)))

    def read_image(path, orientation):
        return np.ones((500, 400, 3), np.uint8)

    def detect(image):
        return image[:1, :4, 0], np.ones(1), np.ones(1)  # a view would keep its image alive

    monkeypatch.setattr(evaluator, "read_image", read_image)
    tracemalloc.start()
    try:
        records = detect_dataset(dataset, detect)
        compute_metrics(dataset, records)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Two images at most: the next one is read while one is looked at.
    assert len(records) == 40 and peak < 3 * image_bytes


def in_batches(batches, detect=None, prepare=lambda image: image):
    """Take given batches; find as many boxes of class 1 as the image is light."""

    def find(images):
        counts = [int(image[0, 0, 0]) for image in images]
        return [(np.ones((n, 4)), np.full(n, 0.5), np.ones(n, int)) for n in counts]

    return DetectInBatches(lambda sizes: batches, prepare, detect or find)


def read_numbers(monkeypatch, num_read=None):
    """Let `pN.png` be an image whose pixels are N."""

    def read_image(path, orientation):
        if num_read is not None:
            num_read.append(path.stem)
        return np.full((2, 3, 3), int(path.stem[1:]), np.uint8)

    monkeypatch.setattr(evaluator, "read_image", read_image)


def test_batches_come_in_any_order_and_records_in_that_of_the_set(monkeypatch):
    read_numbers(monkeypatch)
    dataset = make_dataset(*(image(f"p{number}", []) for number in range(5)))
    records = detect_dataset(dataset, in_batches([(1, 4), (0, 3), (2,)]))
    assert [record.image_id for record in records] == [f"p{number}" for number in range(5)]
    assert [len(record.scores) for record in records] == [0, 1, 2, 3, 4]
    assert detect_dataset(make_dataset(), in_batches([])) == []


def test_the_next_batch_and_no_other_is_read_while_one_is_looked_at(monkeypatch):
    read, seen = [], []
    read_numbers(monkeypatch, read)
    is_prepared = {number: threading.Event() for number in range(6)}

    def prepare(image):
        is_prepared[int(image[0, 0, 0])].set()
        return image

    def detect(images):
        numbers = [int(image[0, 0, 0]) for image in images]
        following = [number + 2 for number in numbers if number + 2 < 6]
        # It would be waited for in vain, if it were read after this.
        seen.append(all(is_prepared[number].wait(60) for number in following))
        assert sorted(read) == [f"p{number}" for number in range(min(numbers[-1] + 3, 6))]
        return [(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)) for _ in images]

    dataset = make_dataset(*(image(f"p{number}", []) for number in range(6)))
    detect_dataset(dataset, in_batches([(0, 1), (2, 3), (4, 5)], detect, prepare))
    assert seen == [True] * 3


def test_images_of_two_batches_are_in_memory_and_no_more(monkeypatch):
    image_bytes = 500 * 400 * 3
    dataset = make_dataset(*(image(f"p{number}", [A]) for number in range(40)))
    monkeypatch.setattr(
        evaluator, "read_image", lambda path, orientation: np.ones((500, 400, 3), np.uint8)
    )

    def detect(images):
        return [(one[:1, :4, 0], np.ones(1), np.ones(1)) for one in images]

    batches = [tuple(range(start, start + 5)) for start in range(0, 40, 5)]
    tracemalloc.start()
    try:
        records = detect_dataset(dataset, in_batches(batches, detect))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Two batches of 5; one image more is what 11 allow.
    assert len(records) == 40 and peak < 11 * image_bytes


def test_what_goes_wrong_in_the_reading_of_a_batch_is_raised(monkeypatch):
    def read_image(path, orientation):
        if path.stem == "p3":
            raise DataError("p3.png: broken")
        return np.zeros((2, 3, 3), np.uint8)

    monkeypatch.setattr(evaluator, "read_image", read_image)
    dataset = make_dataset(*(image(f"p{number}", []) for number in range(6)))
    with pytest.raises(DataError, match=r"p3\.png: broken"):
        detect_dataset(dataset, in_batches([(0, 1), (2, 3), (4, 5)]))


def test_detect_dataset_then_metrics(dataset, monkeypatch):
    truth = {f"{example.image_id}.png": example for example in dataset.examples}
    names = list(truth)

    def detect(image):
        example = truth[names[image[0, 0, 0]]]
        return example.boxes, np.ones(len(example.boxes)), example.classes

    def read_image(path, orientation):
        return np.full((1, 1, 3), names.index(path.name), np.uint8)

    monkeypatch.setattr(evaluator, "read_image", read_image)
    metrics = compute_metrics(dataset, detect_dataset(dataset, detect))
    assert [metrics[name] for name in FIGURES] == pytest.approx([1.0] * 4)


def test_align_detections_fills_in_images_without_any(dataset):
    aligned = align_detections(dataset, [found("c", [A], [0.5])])
    assert [record.image_id for record in aligned] == ["a", "b", "c"]
    assert [len(record.scores) for record in aligned] == [0, 0, 1]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([found("z", [A], [0.5])], "'z': the split 'test' has no such image"),
        ([found("a", [], []), found("a", [A], [0.5])], "'a' are given twice"),
        ([found("a", [A], [0.5], [3])], r"'a': class 3: expected 1 to 2 \(cat, dog\)"),
        ([found("a", [A], [0.5], [0])], "'a': class 0: expected 1 to 2"),
    ],
)
def test_detections_of_another_data_set_are_refused(dataset, records, message):
    with pytest.raises(DataError, match=message):
        compute_metrics(dataset, records)


@pytest.mark.parametrize(
    ("box", "score"), [([0, 0, np.nan, 5], 0.5), ([0, 0, np.inf, 5], 0.5), (A, np.nan)]
)
def test_numbers_that_are_not_finite_are_refused(box, score):
    with pytest.raises(DataError, match="'a': number 1 has box .*expected finite numbers"):
        found("a", [A, box], [0.9, score])


@pytest.mark.parametrize(
    ("boxes", "scores", "classes"),
    [((2, 4), (3,), (2,)), ((2, 4), (2,), (1,)), ((2, 5), (2,), (2,)), ((2, 4), (2, 1), (2,))],
)
def test_shapes_that_do_not_fit_are_refused(boxes, scores, classes):
    with pytest.raises(DataError, match=r"'a': shapes of .* expected \[D, 4\], \[D\] and \[D\]"):
        Detections("a", np.zeros(boxes), np.zeros(scores), np.ones(classes, np.int32))
