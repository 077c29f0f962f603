"""Fixtures of the tests of `tf-frcnn predict`."""

import pytest

from tests.predict.predicting import CornerDetector
from tf_frcnn.commands import predict
from tf_frcnn.config import Config, save_config
from tf_frcnn.detector import Detector
from tf_frcnn.model_files import ModelFiles
from tf_frcnn.run_folder import with_classes


@pytest.fixture
def model(tmp_path_factory, monkeypatch):
    """Let every MODEL be a `CornerDetector`."""
    detector = CornerDetector()
    folder = tmp_path_factory.mktemp("run")
    detector.config_file = folder / "config.json"
    save_config(with_classes(Config(), detector.class_names), detector.config_file)
    files = ModelFiles("run", folder, folder / "config.json")
    monkeypatch.setattr(predict.PredictArguments, "find_model", lambda arguments, path: files)
    monkeypatch.setattr(Detector, "from_files", lambda model: detector)
    return detector
