"""A wheel, installed where no checkout is: everything that the commands need is in it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "tf_frcnn")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel, from a copy: a build leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "sources").mkdir()
    for name in SOURCES:
        source, target = ROOT / name, folder / "sources" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, "./sources"],
        cwd=folder,
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def without_checkout():
    """Give the environment variables without a path that may lead to a checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory):
    """Install the wheel into a new environment that has this one's libraries.

    They are on the path behind its own, and the `.pth` files among them, one of which may lead to a
    checkout, do not count there.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--no-deps", wheel]
    subprocess.run(install, env=without_checkout(), check=True)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    (site_packages / "libraries.pth").write_text(str(Path(np.__file__).parents[1]) + "\n")
    return python.parent


@pytest.mark.slow
def test_every_file_of_the_package_is_in_the_wheel(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path for path in (ROOT / "tf_frcnn").rglob("*") if path.is_file()]
    expected = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    assert inside == expected and "tf_frcnn/reporting/templates/report.html" in inside


@pytest.mark.slow
def test_from_training_to_export_without_a_checkout(bin_folder, tmp_path):
    def run(program, *options):
        """Run a program of the environment -> its output."""
        return subprocess.run(
            [bin_folder / program, *options],
            cwd=tmp_path,
            env=without_checkout(),
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        ).stdout

    where = run("python", "-c", "import tf_frcnn; print(tf_frcnn.__file__)")
    assert Path(where).is_relative_to(bin_folder.parent)

    out = run(
        "tf-frcnn",
        "train",
        *("--train.steps", "4", "--train.batch-size", "2", "--train.decay-steps", "3"),
        *("--data.short-side", "96", "--data.long-side", "128"),
    )
    assert "tf-frcnn evaluate runs/quickstart" in out and "python" not in out
    assert (tmp_path / "runs/quickstart/report.html").is_file()
    run("tf-frcnn", "evaluate", "saved_models/quickstart", "--output", "figures")
    assert (tmp_path / "figures/metrics.json").is_file()
    images = "data/quickstart/JPEGImages/00001*.jpg"
    run("tf-frcnn", "predict", "runs/quickstart", images, "--output", "predictions")
    assert (tmp_path / "predictions/detections.json").is_file()
    run("tf-frcnn", "export", "runs/quickstart", "--output", "saved_models/quickstart")
    assert (tmp_path / "saved_models/quickstart/2/saved_model.pb").is_file()
    run("tf-frcnn", "check-data", "--data.root", "data/quickstart")
    assert (tmp_path / "check-data/quickstart/check_data.html").is_file()
