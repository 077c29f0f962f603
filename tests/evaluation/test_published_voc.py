"""VOC's figures equal those of a published package on the quickstart's boxes and detections."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.images import found, image, make_dataset
from tf_frcnn.evaluation.evaluator import compute_metrics

FIXTURE = Path(__file__).parents[1] / "fixtures" / "voc_podm.json"


def test_voc_figures_are_those_of_a_published_package():
    content = json.loads(FIXTURE.read_text())
    dataset = make_dataset(
        *(image(item["image_id"], item["boxes"], item["classes"]) for item in content["pictures"]),
        class_names=tuple(content["class_names"]),
    )
    detections = [
        found(item["image_id"], item["boxes"], item["scores"], item["classes"])
        for item in content["detections"]
    ]
    metrics = compute_metrics(dataset, detections)
    for name, figures in content["figures"].items():
        for key, expected in figures.items():
            assert 0.5 < expected < 1.0  # neither trivial
            where = f"{key} of {name}, {content['package']} {content['version']}"
            assert metrics["per_class"][name][key] == pytest.approx(expected, abs=1e-6), where
    for key in ("voc_ap50_area", "voc_ap50_11pt"):
        mean = np.mean([figures[key] for figures in content["figures"].values()])
        assert metrics[key] == pytest.approx(mean, abs=1e-6)
