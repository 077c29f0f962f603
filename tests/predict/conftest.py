"""Fixtures of the tests of `tf-frcnn predict`."""

import pytest

from tests.predict.predicting import CornerDetector
from tf_frcnn.detector import Detector


@pytest.fixture
def model(monkeypatch):
    """Let every MODEL be a `CornerDetector`."""
    detector = CornerDetector()
    monkeypatch.setattr(Detector, "load", lambda path: detector)
    return detector
