"""The quickstart keeps what the README says of it; minutes long, as it is the whole of it."""

import json
from pathlib import Path

import pytest

import train


@pytest.mark.slow
def test_the_quickstart_reaches_its_accuracy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main([]) == 0
    metrics = json.loads(Path("runs/quickstart/metrics.json").read_text(encoding="utf-8"))
    assert metrics["num_pictures"] == 100
    assert metrics["voc_ap50_area"] >= 0.90
