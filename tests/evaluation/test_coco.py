import pytest

from tests.evaluation.images import found, image, make_dataset, perfect
from tf_frcnn.evaluation.coco import coco_figures

SMALL = [10, 20, 30, 50]  # 20 * 30 = 600 < 32^2
MEDIUM = [60, 100, 100, 200]  # 40 * 100 = 4000, between 32^2 = 1024 and 96^2 = 9216
LARGE = [100, 10, 200, 110]  # 100 * 100 = 10000 > 96^2


def test_perfect_detections_reach_one():
    dataset = make_dataset(image("a", [SMALL, MEDIUM], [1, 2]), image("b", [LARGE], [2]))
    figures = coco_figures(dataset, perfect(dataset))
    # To rounding: pycocotools adds an epsilon to every denominator.
    assert figures.overall == pytest.approx(dict.fromkeys(figures.overall, 1.0))
    assert set(figures.overall) == {
        "coco_ap",
        "coco_ap50",
        "coco_ap75",
        "coco_ap_small",
        "coco_ap_medium",
        "coco_ap_large",
        "coco_ar_100",
    }
    for name in ("cat", "dog"):
        assert figures.per_class[name] == pytest.approx({"coco_ap": 1.0, "coco_ap50": 1.0})


@pytest.mark.parametrize(
    "shift",
    [
        # 100 wide, moved by 23 to the right: IoU 77 / 123 = 0.626, above 0.5, 0.55 and 0.6 only.
        (0, 23, 0, 23),
        # 40 high, moved by 9 down: IoU 31 / 49 = 0.633. Had x and y been mixed up, the IoUs would
        # be 91 / 109 and 17 / 63.
        (9, 0, 9, 0),
    ],
)
def test_ap_counts_the_thresholds_that_a_shifted_box_passes(shift):
    dataset = make_dataset(image("a", [MEDIUM]))
    moved = [corner + by for corner, by in zip(MEDIUM, shift, strict=True)]
    overall = coco_figures(dataset, [found("a", [moved], [0.9])]).overall
    assert overall["coco_ap50"] == pytest.approx(1.0)
    assert overall["coco_ap75"] == 0.0
    assert overall["coco_ap"] == pytest.approx(3 / 10)
    assert overall["coco_ap_medium"] == pytest.approx(3 / 10)
    assert overall["coco_ar_100"] == pytest.approx(3 / 10)
    assert overall["coco_ap_small"] is overall["coco_ap_large"] is None


def test_detections_in_a_crowd_are_ignored():
    # LARGE is a crowd; the first detection lies inside of it.
    detections = [found("a", [[120, 30, 150, 80], MEDIUM], [0.9, 0.8])]
    with_crowd = make_dataset(image("a", [LARGE, MEDIUM], crowd=[True, False]))
    assert coco_figures(with_crowd, detections).overall["coco_ap"] == pytest.approx(1.0)
    # Without the crowd it is a false positive before the hit: precision 1/2 at every recall.
    without = make_dataset(image("a", [MEDIUM]))
    assert coco_figures(without, detections).overall["coco_ap"] == pytest.approx(0.5)


def test_difficult_boxes_count_as_ordinary_ones():
    # One of two boxes found: precision 1 at the recalls 0, 0.01, ..., 0.5, which are 51 of 101.
    dataset = make_dataset(image("a", [MEDIUM, SMALL], difficult=[False, True]))
    overall = coco_figures(dataset, [found("a", [MEDIUM], [0.9])]).overall
    assert overall["coco_ap50"] == pytest.approx(51 / 101)
    assert overall["coco_ar_100"] == pytest.approx(0.5)


def test_per_class_figures_belong_to_their_class():
    dataset = make_dataset(image("a", [MEDIUM, LARGE], [1, 2]), class_names=("cat", "dog", "emu"))
    moved = [60, 123, 100, 223]  # MEDIUM moved by 23: 3 of 10 thresholds, as above
    figures = coco_figures(dataset, [found("a", [moved, LARGE], [0.9, 0.9], [1, 2])])
    assert figures.per_class["cat"]["coco_ap"] == pytest.approx(0.3)
    assert figures.per_class["cat"]["coco_ap50"] == pytest.approx(1.0)
    assert figures.per_class["dog"]["coco_ap"] == pytest.approx(1.0)
    assert figures.per_class["emu"] == {"coco_ap": None, "coco_ap50": None}
    assert figures.overall["coco_ap"] == pytest.approx((0.3 + 1.0) / 2)


def test_without_detections_figures_are_zero():
    dataset = make_dataset(image("a", [MEDIUM]))
    for detections in ([], [found("a", [], [])]):
        overall = coco_figures(dataset, detections).overall
        assert overall["coco_ap"] == overall["coco_ar_100"] == 0.0


@pytest.mark.parametrize("examples", [(), (image("a", []),)])
def test_without_boxes_there_are_no_figures(examples):
    dataset = make_dataset(*examples)
    detections = [found(example.image_id, [MEDIUM], [0.9]) for example in examples]
    figures = coco_figures(dataset, detections)
    assert figures.overall == dict.fromkeys(figures.overall)
    assert figures.per_class["dog"] == {"coco_ap": None, "coco_ap50": None}


def test_the_order_of_records_plays_no_part():
    dataset = make_dataset(image("a", [MEDIUM]), image("b", [SMALL]))
    # Equal scores: a miss in `a` before a hit in `b`, whichever record comes first.
    records = [found("a", [LARGE], [0.5]), found("b", [SMALL], [0.5])]
    figures = coco_figures(dataset, records)
    assert figures == coco_figures(dataset, records[::-1])
    # Precision 1/2 at the recalls up to 0.5: 51 / 101 / 2.
    assert figures.overall["coco_ap50"] == pytest.approx(51 / 101 / 2)


def test_pycocotools_prints_nothing(capsys):
    dataset = make_dataset(image("a", [MEDIUM]))
    coco_figures(dataset, perfect(dataset))
    assert capsys.readouterr().out == ""
