"""`tf-frcnn models`: the list, for people and for programs; a file fetched, a file looked into."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.pretrained.torch_writer import contiguous, write
from tf_frcnn import cli
from tf_frcnn.pretrained.catalogue import CATALOGUE


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TF_FRCNN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TF_FRCNN_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "home" / "weights"


@pytest.fixture
def run(capsys):
    """Give what runs the command -> (exit status, standard output, standard error)."""

    def run_command(*options):
        status = cli.main(["models", *map(str, options)])
        return status, *capsys.readouterr()

    return run_command


@pytest.fixture
def weights(tmp_path) -> Path:
    storages = {
        "0": np.array([1.0, np.nan, np.inf, 2.0], np.float32),
        "1": np.array([7]),
        "2": np.array([True]),
    }
    views = {key: contiguous(key, (array.size,)) for key, array in storages.items()}
    return write(tmp_path / "mine.pth", views, storages, legacy=False)


@pytest.fixture
def published(weights, monkeypatch) -> str:
    """Put a file into the catalogue -> its name there."""
    entry = dataclasses.replace(
        CATALOGUE["resnet50_imagenet"],
        name="mine",
        url="http://127.0.0.1:1/mine.pth",
        sha256_start=hashlib.sha256(weights.read_bytes()).hexdigest()[:8],
    )
    monkeypatch.setitem(CATALOGUE, "mine", entry)
    return "mine"


def put_into(cache: Path, weights: Path) -> Path:
    cache.mkdir(parents=True)
    return weights.rename(cache / weights.name)


# === The list ===


def test_the_list_fits_a_terminal(run, cache):
    status, text, _ = run()
    assert status == 0 and max(map(len, text.splitlines())) <= max(80, len(f"Cache: {cache}"))
    for entry in CATALOGUE.values():
        ap = "-" if entry.coco_ap is None else f"{entry.coco_ap:.1f}"
        row = [entry.name, f"{entry.parameters:,}", ap, f"{entry.size_mib:.0f}", "no"]
        assert re.search(r"\s+".join(map(re.escape, row)) + r"\s*\n", text)
    flowing = " ".join(text.split())
    assert "neither was measured here" in flowing and "BSD-3-Clause" in flowing
    assert text.endswith(f"Cache: {cache}\n")


def test_numbers_stay_whole_on_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    text = run()[1]
    assert "41,755,286" in text and "COCO AP" in text and "…" not in text


def test_what_is_in_the_cache(run, cache, weights, published):
    assert re.search(r"mine .* no\s", run()[1])
    put_into(cache, weights)
    assert re.search(r"mine .* yes\s", run()[1])


def test_the_list_for_programs(run, cache):
    status, text, _ = run("--json")
    listed = json.loads(text)
    assert status == 0 and [entry["name"] for entry in listed] == list(CATALOGUE)
    first = listed[0]
    assert first["published_coco_ap"] == 37.0 and first["sha256"] == "258fb6c6"
    assert first["parameters"] == 41_755_286
    assert first["parameters_with_normalisation"] == 41_808_406
    assert first["in_cache"] is False and first["path"] == str(cache / first["file"])
    assert "COCO" in first["licence"] and first["url"].endswith(first["file"])


# === Options ===


def test_a_file_is_fetched(run, cache, weights, published):
    kept = put_into(cache, weights)
    assert run("--download", published)[:2] == (0, f"{kept}\n")


def test_a_file_that_cannot_be_fetched(run, cache, monkeypatch):
    for options in ((), ("--offline",)):
        status, text, errors = run("--download", "resnet50_imagenet", *options)
        assert status == 2 and text == "" and "Traceback" not in errors
        assert "error: resnet50-0676ba61.pth: " in errors and str(cache) in errors
        assert "--weights" not in errors  # no option of this command
        monkeypatch.delenv("TF_FRCNN_OFFLINE", raising=False)


def test_an_unknown_name(run):
    status, _, errors = run("--download", "resnet")
    assert status == 2 and "--download resnet: no weights file is known by that name" in errors
    assert all(name in errors for name in CATALOGUE)


def test_a_file_is_looked_into(run, weights, published):
    digits = hashlib.sha256(weights.read_bytes()).hexdigest()
    status, text, _ = run("--check", weights)
    assert status == 0 and text == (
        f"{weights}: 3 tensors, 6 numbers (bool, float32, int64), 2 of them NaN or infinite\n"
        f"SHA-256 {digits}: mine\n"
    )


def test_a_file_that_is_none_known_by_name(run, weights):
    assert run("--check", weights)[1].endswith(": none of those known by name\n")


def test_a_file_that_is_cut(run, weights):
    weights.write_bytes(weights.read_bytes()[:-100])
    status, text, errors = run("--check", weights)
    assert status == 2 and text == "" and f"error: {weights}: it is a zip archive" in errors


def test_options_that_do_not_go_together(run, weights):
    status, _, errors = run("--json", "--check", weights)
    assert status == 2 and "--json and --check: expected one of them at a time" in errors
