"""What users have goes on as it was: networks, runs, checkpoints and exports of an earlier commit.

`tests/golden/make.py` says what the files hold. Kernels differ between processors and versions of
TensorFlow, so numbers are compared with a tolerance; `benchmarks/compare_commits.py` compares two
commits on one machine, to the bit.
"""

import json
import math
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.golden import probes
from tests.golden.make import LONGER, OPTIONS

GOLDEN = Path(__file__).parent / "golden"
BOX_TOLERANCE, SCORE_TOLERANCE = 1e-3, 1e-5  # pixels; the scores are between 0.2 and 0.95


@pytest.fixture(scope="module")
def answers():
    with np.load(GOLDEN / "answers.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def record():
    return json.loads((GOLDEN / "run.json").read_text())


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Unpack data/, run/ and exported/1/; tests that change them take a copy."""
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(GOLDEN / "run.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def workplace(archive, tmp_path, monkeypatch):
    """Copy the archive to a folder of the test's own, and go there: its paths are relative."""
    shutil.copytree(archive, tmp_path / "golden")
    monkeypatch.chdir(tmp_path / "golden")
    return tmp_path / "golden"


def assert_as_recorded(prediction, record):
    assert list(prediction.class_names) == record["class_names"]
    np.testing.assert_allclose(prediction.boxes, record["boxes"], rtol=0, atol=BOX_TOLERANCE)
    np.testing.assert_allclose(prediction.scores, record["scores"], rtol=0, atol=SCORE_TOLERANCE)


@pytest.mark.parametrize("name", probes.NETWORKS)
def test_detections_of_every_roi_operator(name, answers):
    for (roi_op, key), value in probes.probe_detections(name).items():
        expected = answers[f"{name}/{roi_op}/{key}"]
        atol = {"detection_boxes": BOX_TOLERANCE, "detection_scores": SCORE_TOLERANCE}.get(key, 0)
        np.testing.assert_allclose(value, expected, rtol=0, atol=atol, err_msg=f"{roi_op}/{key}")


@pytest.mark.parametrize("name", probes.NETWORKS)
def test_losses_and_updates(name, answers):
    found = probes.probe_training(name)
    expected = {key: answers[f"{name}/training/{key}"] for key in found}
    assert list(found["loss_names"]) == list(expected["loss_names"])
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-4)
    order = [list(found["weight_names"]).index(key) for key in expected["weight_names"]]
    assert len(order) == len(found["weight_names"])
    # Sums may cancel out: they are compared with what lengths and rounding allow.
    lengths = expected["changes"][:, :1] * [[1.0, math.sqrt(probes.NUM_SAMPLES), 1.0]]
    difference = np.abs(found["changes"][order] - expected["changes"])
    assert (difference <= 1e-3 * lengths + expected["rounding"]).all()


@pytest.mark.parametrize("model", ["run", "run/checkpoints/step-00000004.h5", "exported"])
def test_a_model_is_loaded_and_predicts(model, workplace, record):
    from tf_frcnn import Detector
    from tf_frcnn.data.image import read_image

    assert_as_recorded(Detector.load(model)(read_image(Path(record["picture"]))), record)


def test_the_weights_of_an_export_are_read(workplace, record):
    from tf_frcnn.data.image import read_image
    from tf_frcnn.inference import load_network
    from tf_frcnn.model_files import find_model

    boxes, scores, _ = load_network(find_model("exported"))(read_image(Path(record["picture"])))
    np.testing.assert_allclose(boxes, record["boxes"], rtol=0, atol=BOX_TOLERANCE)
    np.testing.assert_allclose(scores, record["scores"], rtol=0, atol=SCORE_TOLERANCE)


def test_a_run_is_evaluated_to_its_figures(workplace):
    import evaluate

    assert evaluate.main(["run", "--output", "evaluation"]) == 0
    old = json.loads(Path("run/metrics.json").read_text())
    new = json.loads(Path("evaluation/metrics.json").read_text())
    for name in ("voc_ap50_11pt", "voc_ap50_area", "coco_ap", "coco_ap50"):
        assert new[name] == pytest.approx(old[name], abs=1e-3)


def test_a_finished_run_says_so(workplace, capsys):
    import train

    assert train.main(OPTIONS) == 0
    assert "run is finished" in capsys.readouterr().out


def test_a_run_is_made_longer_from_its_checkpoint(workplace, record):
    import train

    assert train.main([*OPTIONS, "--train.steps", str(LONGER)]) == 0
    log = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    lines = [line for line in log if line["step"] > 4]
    # The epoch came later than the record.
    assert [sorted(set(line) - {"epoch"}) for line in lines] == [
        sorted(line) for line in record["longer"]
    ]
    for line, expected in zip(lines, record["longer"], strict=True):
        for name in set(line) - {"seconds_per_step", "epoch"}:
            assert line[name] == pytest.approx(expected[name], rel=1e-4), name


def test_a_run_is_exported_and_converted(workplace):
    from tf_frcnn.cli import main

    assert main(["export", "run", "--output", "again"]) == 0
    assert Path("again/1/saved_model.pb").is_file()
    assert main(["predict", "again", "data/JPEGImages/test_0.jpg", "--output", "found"]) == 0
    assert main(["tflite", "run", "--output", "run.tflite", "--size", "64x96"]) == 0
    assert Path("run.tflite").is_file()
