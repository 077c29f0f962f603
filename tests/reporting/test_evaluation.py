"""Evaluation of a split: figures, and a sheet of images from all over it."""

import numpy as np
import pytest
from PIL import Image

from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import read_dataset
from tf_frcnn.errors import DataError
from tf_frcnn.evaluation.evaluator import compute_metrics, detect_dataset
from tf_frcnn.evaluation.results_file import read_results
from tf_frcnn.reporting import evaluation, report
from tf_frcnn.reporting.evaluation import evaluate_detector

NAMES = ("cat", "dog", "duck")


@pytest.fixture
def dataset(voc_folder):
    return read_dataset(DataConfig(root=str(voc_folder)), "train", NAMES, seed=0)


def perfect(dataset, score=1.0):
    """Make a detector that knows the images: answers in their order."""
    examples = iter(dataset.examples)

    def detect(image):
        example = next(examples)
        assert image.shape == (*example.image_size, 3) and image.dtype == np.uint8
        return example.boxes, np.full(len(example.boxes), score), example.classes

    return detect


def test_a_perfect_detector_has_perfect_figures_and_a_sheet(dataset, tmp_path):
    metrics = evaluate_detector(perfect(dataset), dataset, tmp_path, "A title")
    for name in ("voc_ap50_area", "voc_ap50_11pt", "coco_ap", "coco_ap50"):
        assert metrics[name] == pytest.approx(1.0), name
    assert metrics["split"] == "train" and set(metrics["per_class"]) == set(NAMES)
    with Image.open(tmp_path / "detections.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 3 * 96
    names = ["detections.json", "detections.png", "report.html"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == names
    # What is in the file is what was judged.
    detections = read_results(tmp_path / "detections.json", dataset)
    assert compute_metrics(dataset, detections) == metrics


def test_a_detector_that_finds_nothing_has_figures_and_a_sheet(dataset, tmp_path):
    def nothing(image):
        return np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)

    metrics = evaluate_detector(nothing, dataset, tmp_path, "A title")
    assert metrics["voc_ap50_area"] == 0.0
    assert (tmp_path / "detections.png").is_file()


@pytest.mark.parametrize(("score", "count"), [(0.49, 0), (0.5, 9)])
def test_the_sheet_shows_what_a_user_would_act_on(dataset, tmp_path, monkeypatch, score, count):
    # 6 images with 1, 2, 1, 2, 1, 2 boxes: 9 in all.
    shown = []
    draw = report.draw_detections

    def recording(image, found, *arguments, **options):
        shown.extend(found.boxes)
        return draw(image, found, *arguments, **options)

    monkeypatch.setattr(report, "draw_detections", recording)
    detections = detect_dataset(dataset, perfect(dataset, score))
    evaluation.draw_sheet(dataset, detections, tmp_path / "sheet.png")
    assert len(shown) == count


def test_images_of_the_sheet_come_from_all_over_the_split(dataset, tmp_path, monkeypatch):
    drawn = []
    read = report.read_image

    def read_and_note(path, orientation):
        drawn.append(path.stem)
        return read(path, orientation)

    monkeypatch.setattr(evaluation, "SHEET_IMAGES", 3)
    monkeypatch.setattr(report, "read_image", read_and_note)
    detections = detect_dataset(dataset, perfect(dataset))
    evaluation.draw_sheet(dataset, detections, tmp_path / "sheet.png")
    # 6 images, 3 shown: numbers 0 * 6 // 3, 1 * 6 // 3, 2 * 6 // 3 = 0, 2, 4.
    assert drawn == ["train_0", "train_2", "train_4"]


def test_an_image_that_vanished_is_named(dataset, tmp_path):
    dataset.examples[2].image_path.unlink()
    with pytest.raises(DataError, match=r"train_2\.jpg: there is no such file"):
        evaluate_detector(perfect(dataset), dataset, tmp_path, "A title")
