"""`tf-frcnn verify`: the figure of a published detector on COCO, here on a stand-in of four images.

The network is a stand-in too, which finds given boxes; `tests/test_published.py` runs a real one.
"""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.data.coco_writer import annotation, content, write_json
from tests.pretrained.torch_writer import contiguous, write
from tf_frcnn import cli
from tf_frcnn.commands import verify
from tf_frcnn.detector import Detector
from tf_frcnn.pretrained.catalogue import COCO_CATEGORIES
from tf_frcnn.pretrained.detectors import DETECTORS
from tf_frcnn.pretrained.download import sha256_of

NAME = "fasterrcnn_resnet50_fpn"
CLASSES = tuple(COCO_CATEGORIES.values())
SIDES = [(40, 60), (40, 61), (40, 62), (40, 63)]  # of the images, so that each is told by its own
BOXES = {
    0: (1, [5, 6, 30, 20]),
    1: (1, [1, 2, 20, 30]),
    2: (18, [4, 4, 9, 9]),
    3: (90, [0, 0, 40, 40]),
}


@pytest.fixture
def coco(tmp_path, monkeypatch):
    """Write four images: two persons, a dog, a toothbrush; COCO's ids with their gaps."""
    root = tmp_path / "coco"
    (root / "val2017").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned, which COCO's figures are not of
    for number, (height, width) in enumerate(SIDES):
        image = Image.new("RGB", (width, height), (number, 0, 0))
        image.save(root / "val2017" / f"{number}.jpg", exif=exif)
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in BOXES]
    boxes = [annotation(number, number, box, category) for number, (category, box) in BOXES.items()]
    path = root / "annotations" / "instances_val2017.json"
    write_json(path, content(images, boxes, COCO_CATEGORIES))
    monkeypatch.setattr(verify, "NUM_IMAGES", 4)
    return root


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Put a file into the cache, and have the catalogue expect that one."""
    home = tmp_path / "home"
    (home / "weights").mkdir(parents=True)
    path = home / "weights" / DETECTORS[NAME].file_name
    key = "roi_heads.box_predictor.cls_score.bias"
    write(path, {key: contiguous("0", (91,))}, {"0": np.zeros(91, np.float32)}, legacy=False)
    monkeypatch.setenv("TF_FRCNN_HOME", str(home))
    monkeypatch.setenv("TF_FRCNN_OFFLINE", "1")
    return path


def publish(monkeypatch, weights, coco_ap):
    entry = dataclasses.replace(DETECTORS[NAME], sha256=sha256_of(weights), coco_ap=coco_ap)
    monkeypatch.setitem(DETECTORS, NAME, entry)


@pytest.fixture
def network(monkeypatch):
    """Find the box of every image but the first person's."""
    calls = []

    class Network:
        def detect(self, image):
            calls.append(image.shape[:2])
            number = SIDES.index(image.shape[:2])
            if number == 0:
                return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
            category, (x, y, width, height) = BOXES[number]
            box = np.array([[y, x, y + height, x + width]], np.float32)
            class_id = 1 + CLASSES.index(COCO_CATEGORIES[category])
            return box, np.array([0.9], np.float32), np.array([class_id], np.int32)

    monkeypatch.setattr(Detector, "from_files", lambda model: Network())
    return calls


def run(coco, tmp_path, *options):
    output = ["--output", str(tmp_path / "out")]
    return cli.main(["verify", NAME, "--data.root", str(coco), *output, *options])


# Of the persons one of two is found: precision 1 up to a recall of 0.5, which are 51 of the 101
# levels. Dog and toothbrush are found: (51 / 101 + 1 + 1) / 3 = 0.83498.
@pytest.mark.parametrize(
    ("published", "status", "said"), [(83.4, 0, "difference +0.10"), (83.7, 1, "difference -0.20")]
)
def test_the_figure_is_compared(
    coco, weights, network, tmp_path, monkeypatch, capsys, published, status, said
):
    publish(monkeypatch, weights, published)
    assert run(coco, tmp_path) == status
    captured = capsys.readouterr()
    assert "taken as they are stored (data.exif: ignore)" in captured.err
    assert "--data.exif" not in captured.err  # verify has no such option
    line, verdict = captured.out.splitlines()
    parts = line.split(" | ")
    assert parts[:5] == [
        NAME,
        f"SHA-256 {sha256_of(weights)}",
        "AP 83.50",
        f"published {published}",
        said,
    ]
    assert parts[5] == "4 images, 4 boxes"
    assert parts[6].startswith("tf_frcnn ") and "TensorFlow 2." in parts[6]
    assert verdict.startswith("agrees" if status == 0 else "DIFFERS")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["coco_ap"] == pytest.approx((51 / 101 + 2) / 3)
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [one["category_id"] for one in found] == [1, 18, 90]
    assert not (tmp_path / "out.partial").exists()


def test_it_goes_on_where_it_was_stopped(coco, weights, network, tmp_path, monkeypatch):
    publish(monkeypatch, weights, 83.5)
    whole = Detector.from_files

    def stop_after_two(model):
        detector = whole(model)
        detect = detector.detect

        def until_two(image):
            if len(network) == 2:
                raise KeyboardInterrupt
            return detect(image)

        detector.detect = until_two
        return detector

    monkeypatch.setattr(Detector, "from_files", stop_after_two)
    assert run(coco, tmp_path) == 130
    assert (tmp_path / "out.partial").is_file() and network == SIDES[:2]
    monkeypatch.setattr(Detector, "from_files", whole)
    assert run(coco, tmp_path) == 0
    assert network == SIDES


def test_some_images_are_compared_with_nothing(
    coco, weights, network, tmp_path, monkeypatch, capsys
):
    publish(monkeypatch, weights, 10.0)
    assert run(coco, tmp_path, "--limit", "2") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "AP 50.50 | not compared with 10.0, which is of all 4 images | 2 images" in line
    assert network == SIDES[:2]
    assert run(coco, tmp_path, "--overwrite") == 1  # 83.5, and goes on behind these two
    assert network == SIDES


def test_a_box_that_cannot_be_used_is_told(coco, weights, network, tmp_path, monkeypatch, capsys):
    path = coco / "annotations" / "instances_val2017.json"
    value = json.loads(path.read_text())
    value["annotations"].append(annotation(9, 3, [1, 1, 0, 5], 90))
    path.write_text(json.dumps(value))
    publish(monkeypatch, weights, 83.5)
    assert run(coco, tmp_path) == 0
    assert "4 images, 4 boxes (1 left out)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50_imagenet", [], f"NAME resnet50_imagenet: .* Expected one of {NAME}, "),
        (NAME, [], "--data.root is missing: .*instances_val2017.json"),
        (NAME, ["--data.root", "x", "--limit", "0"], "--limit 0: expected a number of images"),
    ],
)
def test_options_that_will_not_do(name, options, message, capsys):
    assert cli.main(["verify", name, *options]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_other_data_and_other_weights_are_refused(
    coco, weights, network, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(verify, "NUM_IMAGES", 5)
    assert run(coco, tmp_path) == 2
    assert "val2017 has 4 images that can be used. Expected the 5" in capsys.readouterr().err
    monkeypatch.setattr(verify, "NUM_IMAGES", 4)
    assert run(coco, tmp_path, "--weights", str(weights)) == 2
    message = capsys.readouterr().err
    assert f"has the SHA-256 {sha256_of(weights)}, and the published file's begins with" in message
    assert not network and not (tmp_path / "out").exists()
