"""Makes the scripts of `serving/` importable, as they import each other; images to send."""

import sys
from pathlib import Path

import pytest

from tests.predict.predicting import write_image

SERVING = Path(__file__).resolve().parents[2] / "serving"
sys.path.insert(0, str(SERVING))


@pytest.fixture
def images(tmp_path):
    """Write two PNG and a JPEG of different sizes -> their folder."""
    write_image(tmp_path / "in" / "a.png", red=10, size=(40, 60))
    write_image(tmp_path / "in" / "b.jpg", red=110, size=(70, 30))
    write_image(tmp_path / "in" / "c.png", red=210, size=(50, 50))
    return tmp_path / "in"


@pytest.fixture
def image(tmp_path):
    """Write a PNG -> its path, `in/a.png`."""
    return write_image(tmp_path / "in" / "a.png")
