"""The options of the training step through train.py: what is exported is what was averaged."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import train
from tf_frcnn.detector import Detector

OPTIONS = (
    *("--train.precision", "mixed_bfloat16", "--train.ema-momentum", "0.5"),
    *("--train.schedule", "cosine", "--train.box-loss", "giou", "--train.optimizer", "adam"),
    *("--train.learning-rate", "0.001", "--train.clip-norm", "10"),
    *("--train.frozen-layers", "block1", "rpn_conv"),
)


@pytest.mark.slow
def test_all_options_at_once(tiny_options, voc_folder, tmp_path):
    folders = ["--output", str(tmp_path / "run"), "--export-dir", str(tmp_path / "exported")]
    assert train.main([*tiny_options, *OPTIONS, "--data.root", str(voc_folder), *folders]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["steps"] == 4
    # The run, read from its checkpoint, and the export are one model: float32, averaged weights.
    image = np.asarray(Image.open(voc_folder / "JPEGImages" / "test_0.jpg"))
    exported = tf.saved_model.load(str(tmp_path / "exported" / "1")).signatures["serving_default"]
    answer = exported(images=tf.constant(image[None]))
    found = Detector.load(tmp_path / "run")(image)
    count = int(answer["num_detections"][0])
    assert count == len(found.boxes) > 0
    np.testing.assert_allclose(answer["detection_boxes"][0, :count], found.boxes, atol=1e-2)
    np.testing.assert_allclose(answer["detection_scores"][0, :count], found.scores, atol=1e-5)
