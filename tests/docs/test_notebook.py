"""The notebook is what its script writes, has its outputs, and its cells run."""

import runpy
from pathlib import Path

import pytest

import tf_frcnn

DOCS = Path(__file__).parents[2] / "docs"
NAMES = {"load_dataset", "prepare_dataset"}


@pytest.fixture
def script():
    for name in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra [test])")
    return runpy.run_path(str(DOCS / "make_notebook.py"))


def test_the_notebook_has_the_cells_of_its_script_and_their_outputs(script):
    notebook = script["nbformat"].read(DOCS / "finetune.ipynb", 4)
    assert tuple(cell.source for cell in notebook.cells) == script["CELLS"]
    kinds = [
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        for kind in output.get("data", {})
    ]
    assert kinds.count("image/png") == 3  # an image with its boxes, curves, detections
    assert (DOCS / "finetune.ipynb").stat().st_size < 1e6


@pytest.mark.slow
@pytest.mark.skipif(not set(tf_frcnn.__all__) >= NAMES, reason="tf_frcnn has no load_dataset yet")
def test_the_cells_of_the_notebook_run(script):
    fewer = [
        cell.replace('"train": 400', '"train": 16').replace("epochs=8", "epochs=1")
        for cell in script["CELLS"]
    ]
    assert fewer != list(script["CELLS"])
    notebook = script["run_cells"](fewer)
    (figures,) = (
        output.data["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "coco_ap50" in output.get("data", {}).get("text/plain", "")
    )
    assert "voc_ap50_area" in figures
