"""Real processes: SIGKILL at random moments, signals in every phase, a disk that is full."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from tf_frcnn.checkpoint_folder import list_checkpoints

ROOT = Path(__file__).parents[1]
# On top of `TINY_OPTIONS`. A checkpoint is 55 MB, a third one too much for `small_disk`.
OPTIONS = [
    *("--train.deterministic", "--model.dropout", "0.5", "--train.ema-momentum", "0.9"),
    *("--train.steps", "24", "--train.checkpoint-every", "4", "--train.validate-every", "6"),
    *("--train.log-every", "5", "--train.export", "best", "--train.early-stopping-patience", "9"),
]


# `python train.py` on a disk that keeps half of the second checkpoint, and is then silent.
FAILING_DISK = """
import os, runpy, sys, time
flush, checkpoints = os.fsync, []
def fsync(file):
    name = os.readlink(f"/proc/self/fd/{file}")
    if "step-" in name:
        checkpoints.append(name)
    if len(checkpoints) == 2:
        os.truncate(name, os.path.getsize(name) // 2)
        print("the disk is silent", flush=True)
        time.sleep(3600)
    flush(file)
os.fsync = fsync
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Process:
    """A `python train.py` that writes its log to a file.

    Args of `__init__`: `options`; `folder` for the log; `disk_fails`: see `FAILING_DISK`.
    """

    def __init__(self, options, folder, disk_fails=False):
        self.log_file = folder / f"{time.monotonic_ns()}.log"
        python = [sys.executable, "-c", FAILING_DISK] if disk_fails else [sys.executable]
        with self.log_file.open("w") as log:
            self._process = subprocess.Popen(
                [*python, str(ROOT / "train.py"), *map(str, options)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    @property
    def log(self):
        return self.log_file.read_text()

    @property
    def is_training(self):
        return "start at random" in self.log or "going on from" in self.log

    def wait_until(self, condition, timeout=600.0):
        """Wait for a condition or the end of the process -> whether it is still there."""
        end = time.monotonic() + timeout
        while self._process.poll() is None and not condition():
            assert time.monotonic() < end, self.log
            time.sleep(0.002)
        return self._process.poll() is None

    def finish(self, number=None, timeout=600.0):
        """Send a signal, if one is given -> exit status."""
        if number is not None:
            self._process.send_signal(number)
        return self._process.wait(timeout)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from tests.conftest import write_voc_folder

    return write_voc_folder(tmp_path_factory.mktemp("data") / "voc")


@pytest.fixture(scope="module")
def make_options(data):
    """Make the arguments of a run in a folder: output and exports are in it."""
    from tests.conftest import TINY_OPTIONS

    def make(folder):
        places = ["--output", folder / "run", "--export-dir", folder / "exported"]
        return [*TINY_OPTIONS, *OPTIONS, "--data.root", data, *places]

    return make


@pytest.fixture(scope="module")
def never_stopped(make_options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    process = Process(make_options(folder), folder)
    assert process.finish() == 0, process.log
    return what_is_there(folder)


def what_is_there(folder):
    """Read all arrays of the last and the best checkpoint, the log, and what was detected."""
    arrays = {}
    for path in (folder / "run/checkpoints/step-00000024.h5", folder / "run/checkpoints/best.h5"):

        def collect(name, item, path=path):
            if isinstance(item, h5py.Dataset) and name != "memory":
                arrays[path.name, name] = item[()].tobytes()

        with h5py.File(path, "r") as file:
            file.visititems(collect)
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds_per_step", None)
    return arrays, lines, (folder / "run/detections.json").read_text()


def partials(folder):
    return list((folder / "run" / "checkpoints").glob("*.partial"))


@pytest.mark.parametrize(
    ("of_a_checkpoint", "at_random"),
    [pytest.param(1, 1, marks=pytest.mark.slow), pytest.param(3, 3, marks=pytest.mark.release)],
)
def test_a_run_that_is_killed_again_and_again_ends_bit_equal(
    make_options, never_stopped, tmp_path, of_a_checkpoint, at_random
):
    for number_of_kills in range(1, 1 + of_a_checkpoint):  # each gets four steps of 24 further
        process = Process(make_options(tmp_path), tmp_path, disk_fails=True)
        assert process.wait_until(lambda process=process: "disk is silent" in process.log)
        assert process.finish(signal.SIGKILL) == -signal.SIGKILL, process.log
        (partial,) = partials(tmp_path)
        assert partial.name == f"step-{4 * number_of_kills + 4:08}.h5.partial"
    moments = random.Random(0)
    for _ in range(at_random):
        process = Process(make_options(tmp_path), tmp_path)
        process.wait_until(lambda process=process: process.is_training)
        time.sleep(moments.uniform(0.0, 10.0))
        assert process.finish(signal.SIGKILL) in (-signal.SIGKILL, 0), process.log
    process = Process([*make_options(tmp_path), "--resume"], tmp_path)
    assert process.finish() == 0, process.log
    assert partials(tmp_path) == []
    assert what_is_there(tmp_path) == never_stopped


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.release),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_ends_the_process_whatever_it_is_doing(
    make_options, never_stopped, tmp_path, number, status
):
    folder = tmp_path / "run" / "checkpoints"
    process = Process(make_options(tmp_path), tmp_path)
    assert process.wait_until(lambda: list_checkpoints(folder))
    began = time.monotonic()
    assert process.finish(number) == status, process.log
    assert time.monotonic() - began < 30
    (line,) = [line for line in process.log.splitlines() if line.startswith("stopped: ")]
    step = int(list_checkpoints(folder)[-1].stem.split("-")[1])
    assert f"after step {step} of 24; saved to" in line

    process = Process(make_options(tmp_path), tmp_path)
    assert process.wait_until(lambda: "evaluating on" in process.log)
    began = time.monotonic()
    assert process.finish(number) == status, process.log
    assert time.monotonic() - began < 30
    assert "Traceback" not in process.log and not (tmp_path / "run" / "metrics.json").exists()

    process = Process(make_options(tmp_path), tmp_path)
    assert process.finish() == 0, process.log
    assert what_is_there(tmp_path) == never_stopped
    assert [path.name for path in (tmp_path / "exported").iterdir()] == ["1"]


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 150 MB: room for the two that a run keeps, not for the next."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_costs_nothing_once_there_is_space(
    make_options, never_stopped, small_disk, tmp_path
):
    process = Process(make_options(small_disk), tmp_path)
    assert process.finish() == 2, process.log
    assert "cannot be written (No space left on device)" in process.log
    assert "Traceback" not in process.log
    assert partials(small_disk) == []
    newest = list_checkpoints(small_disk / "run/checkpoints")[-1]
    assert newest.name < "step-00000024.h5"
    enlarge = ["mount", "-o", "remount,size=1g", str(small_disk)]
    subprocess.run(enlarge, check=True)
    process = Process([*make_options(small_disk), "--resume"], tmp_path)
    assert process.finish() == 0, process.log
    assert f"going on from the checkpoint of step {int(newest.stem[5:])}" in process.log
    assert what_is_there(small_disk) == never_stopped
