import dataclasses

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.data.coco_writer import write_json
from tests.evaluation.images import found, image, make_dataset, perfect
from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import read_dataset
from tf_frcnn.evaluation.coco import coco_figures, most_boxes
from tf_frcnn.evaluation.detections import look_like_corners
from tf_frcnn.evaluation.evaluator import compute_metrics
from tf_frcnn.evaluation.results_file import read_results
from tf_frcnn.reporting.summary import remarks

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


def test_figures_by_size_go_by_the_stated_area():
    # LARGE is stated to have 1000 pixels (a mask's), fewer than 32^2 = 1024; MEDIUM states none.
    example = dataclasses.replace(
        image("a", [LARGE, MEDIUM]), areas=np.array([1000.0, np.nan], np.float64)
    )
    overall = coco_figures(make_dataset(example), [found("a", [LARGE], [0.9])]).overall
    assert overall["coco_ap_small"] == pytest.approx(1.0)
    assert overall["coco_ap_medium"] == 0.0
    assert overall["coco_ap_large"] is None


def test_figures_of_a_file_are_pycocotools_own(tmp_path):
    # Random boxes of all sizes; the file states half of their areas, as masks have it.
    random = np.random.default_rng(0)
    images, annotations, results = [], [], []
    for number in range(1, 13):
        images.append({"id": number, "file_name": f"{number}.png", "height": 240, "width": 320})
        for _ in range(8):
            x, y, width, height = map(float, random.integers(1, [150, 100, 170, 140]))
            entry = {"image_id": number, "category_id": int(random.choice([3, 7]))}
            bbox = [x, y, width, height]
            annotations.append(
                {
                    **entry,
                    "id": len(annotations) + 1,
                    "bbox": bbox,
                    "area": width * height / 2,
                    "iscrowd": int(random.random() < 0.1),
                }
            )
            moved = [x + float(random.integers(-3, 4)), y, width, height]
            results.append({**entry, "bbox": moved, "score": float(random.random())})
        Image.new("RGB", (320, 240)).save(tmp_path / f"{number}.png")
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    file = write_json(tmp_path / "annotations" / "instances_test.json", truth)
    dataset = read_dataset(DataConfig(root=str(tmp_path)), "test", (), seed=0)
    found_there = write_json(tmp_path / "found.json", results)
    ours = coco_figures(dataset, read_results(found_there, dataset)).overall
    coco = COCO(str(file))
    judged = COCOeval(coco, coco.loadRes(str(found_there)), "bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    names = ("", "50", "75", "_small", "_medium", "_large")
    for name, expected in zip(names, judged.stats, strict=False):
        assert ours[f"coco_ap{name}"] == pytest.approx(expected, abs=1e-12)
    assert ours["coco_ar_100"] == pytest.approx(judged.stats[8], abs=1e-12)
    assert 0 < ours["coco_ap_small"] != ours["coco_ap_medium"]


def test_higher_limits_beside_cocos_own():
    # 150 boxes, all found: the first 100 are 2/3 of them, precision 1 at the recalls 0 to 0.66.
    rows, columns = np.divmod(np.arange(150), 15)
    corners = np.stack([20 * rows, 20 * columns], axis=1)
    dataset = make_dataset(image("a", np.concatenate([corners, corners + 12], axis=1)))
    assert most_boxes(dataset) == 150
    figures = coco_figures(dataset, perfect(dataset), limits=(120, 300))
    assert figures.overall["coco_ap"] == pytest.approx(67 / 101)
    assert figures.overall["coco_ar_100"] == pytest.approx(100 / 150)
    assert figures.ap_by_limit == pytest.approx({100: 67 / 101, 120: 81 / 101, 300: 1.0})
    assert coco_figures(dataset, perfect(dataset)).overall == figures.overall
    metrics = compute_metrics(dataset, perfect(dataset))
    assert metrics["coco_ap_by_limit"] == pytest.approx({"100": 67 / 101, "300": 1.0, "1000": 1.0})
    assert remarks(metrics) == [
        "COCO's figures look at 100 detections of a class in an image, and one holds 150 boxes of "
        "a class. COCO AP: 0.663 with 100, 1.000 with 300, 1.000 with 1000."
    ]


def test_a_hundred_boxes_of_each_class_need_no_higher_limit():
    boxes = np.array([MEDIUM] * 200)
    crowd = [True] + [False] * 199
    dataset = make_dataset(image("a", boxes, [1] * 101 + [2] * 99, crowd=crowd))
    assert most_boxes(dataset) == 100
    metrics = compute_metrics(dataset, [])
    assert "coco_ap_by_limit" not in metrics and remarks(metrics) == []


def test_corners_in_the_place_of_sizes_are_noticed():
    # The image is 240 x 320. Read as a corner and a size, LARGE ends at 100 + 200 = 300, below it.
    dataset = make_dataset(image("a", [MEDIUM, LARGE, SMALL]))
    as_sizes = [[y, x, y + ymax, x + xmax] for y, x, ymax, xmax in (MEDIUM, LARGE, SMALL)]
    wrong = [found("a", as_sizes[:2], [0.9, 0.8])]
    assert wrong[0].boxes[:, 2].tolist() == [160.0, 300.0]
    assert not look_like_corners(dataset, perfect(dataset))
    assert not look_like_corners(dataset, wrong)  # one of two
    assert look_like_corners(dataset, [found("a", as_sizes[1:2], [0.8])])
    assert not look_like_corners(dataset, [found("a", [], [])])
    [remark] = remarks(compute_metrics(dataset, [found("a", as_sizes[1:2], [0.8])]))
    assert "these look like corners. Expected COCO's boxes, [x, y, width, height]" in remark
    # A detector of boxes that reach beyond the image on all sides has no such fault.
    around = [found("a", [[-9, -9, 260, 340]], [0.9])]
    assert not look_like_corners(dataset, around)
