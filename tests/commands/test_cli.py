"""Every command as it is typed: help without a wait, and output that nobody reads to its end."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tf_frcnn.cli import COMMANDS

ROOT = Path(__file__).parents[2]
# Imports that take longer than all the rest of a command's help.
SLOW_IMPORTS = {
    *("tensorflow", "keras", "matplotlib", "pycocotools", "h5py", "pandas", "IPython"),
    *("datumaro", "cv2"),
}
EVERY_COMMAND = ["train.py", "evaluate.py", "tf-frcnn", *(f"tf-frcnn {name}" for name in COMMANDS)]
TF_FRCNN = "import sys; from tf_frcnn.cli import main; sys.exit(main())"  # what pip installs


def run(typed, *options, python=(), **streams):
    """Run what is typed, such as `tf-frcnn train`, as a process of its own."""
    name, *words = typed.split()
    program = ["-c", TF_FRCNN] if name == "tf-frcnn" else [str(ROOT / name)]
    return subprocess.run(
        [sys.executable, *python, *program, *words, *map(str, options)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **(streams or {"capture_output": True}),
    )


@pytest.fixture
def unread_pipe():
    """Give the end to write to of a pipe whose reader has left, as `head` does at some time."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


# === Help ===


@pytest.mark.parametrize("typed", EVERY_COMMAND)
def test_help_waits_for_no_slow_import(typed):
    done = run(typed, "--help", python=("-X", "importtime"))
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: {typed} ")  # what was typed, not the other way to do it
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "tf_frcnn" in imported and not imported & SLOW_IMPORTS


@pytest.mark.parametrize("module", ["tf_frcnn", "tf_frcnn.cli"])
def test_the_package_is_run_as_a_module(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"tf-frcnn {metadata.version('tf_frcnn')}\n"


def test_no_such_command():
    done = run("tf-frcnn trian")
    assert done.returncode == 2 and done.stderr.startswith("error: no command is named 'trian'.")
    assert "  train  " in done.stderr and "Traceback" not in done.stderr


# === Output that nobody reads to its end ===


@pytest.mark.parametrize("typed", EVERY_COMMAND)
def test_help_that_nobody_reads_ends_quietly(typed, unread_pipe):
    done = run(typed, "--help", stdout=unread_pipe, stderr=subprocess.PIPE)
    assert done.stderr == ""
    old = metadata.version("tyro").startswith("0.")  # some do not tell that they could not write
    assert done.returncode == 141 or (old and typed != "tf-frcnn" and done.returncode == 0)


def test_results_that_nobody_reads_are_written_all_the_same(voc_folder, tmp_path, unread_pipe):
    options = ("--data.root", voc_folder, "--output", tmp_path / "out")
    done = run("tf-frcnn check-data", *options, stdout=unread_pipe, stderr=subprocess.PIPE)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"check_data.html", "check_data.json"}


def test_a_log_that_nobody_reads_ends_quietly(voc_folder, tmp_path, unread_pipe):
    # 2>&1 | head -1, with a name for which the terminal has no letters
    annotation = voc_folder / "Annotations" / "train_0.xml"
    annotation.write_text(annotation.read_text().replace("cat", "\u732b"), encoding="utf-8")
    options = ("--data.root", voc_folder, "--output", tmp_path / "out")
    done = run("tf-frcnn check-data", *options, stdout=unread_pipe, stderr=unread_pipe)
    assert done.returncode == 141 and (tmp_path / "out" / "check_data.html").exists()


def test_a_terminal_without_the_letters_of_a_name(voc_folder, tmp_path, monkeypatch):
    annotation = voc_folder / "Annotations" / "train_0.xml"
    annotation.write_text(annotation.read_text().replace("cat", "\u732b"), encoding="utf-8")
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    options = ("--data.root", voc_folder, "--output", tmp_path / "out")
    done = run("tf-frcnn check-data", *options)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert r"\u732b" in done.stdout


def test_an_error_that_nobody_reads_ends_too(unread_pipe):
    # 2>&1 | head
    done = run("train.py", "voc12", stdout=unread_pipe, stderr=unread_pipe)
    assert done.returncode == 141
