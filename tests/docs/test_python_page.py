"""The Python of docs/python.md runs, block after block, on a small data set."""

import re
from pathlib import Path

import pytest

import tf_frcnn
from tf_frcnn.data import drawings

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
NAMES = {"load_dataset", "prepare_dataset"}


@pytest.mark.slow
@pytest.mark.skipif(not set(tf_frcnn.__all__) >= NAMES, reason="tf_frcnn has no load_dataset yet")
def test_the_blocks_of_the_page_run_in_their_order(tmp_path, monkeypatch, capsys):
    drawings.ensure_drawings(tmp_path / "data/quickstart", 0, {"train": 8, "val": 2, "test": 2})
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) == 11
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert len(names["history"].history["val_loss"]) == 3
    assert len(names["predictions"]) == 2
    assert (tmp_path / "saved_models/mine/1/saved_model.pb").is_file()
    assert names["network"].num_classes == 2
    assert "('cat', 'dog', 'duck') 8 images" in capsys.readouterr().out
