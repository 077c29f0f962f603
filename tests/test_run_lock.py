"""One training at a time in a run's folder."""

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import train
from tf_frcnn.errors import UserError, run_command
from tf_frcnn.run_folder import RunFolder
from tf_frcnn.run_lock import RunLock

HOLDER = """
import sys, time
from tf_frcnn.run_folder import RunFolder
from tf_frcnn.run_lock import RunLock
lock = RunLock(RunFolder(sys.argv[1]))
lock.take()
print("has it", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    return folder


def test_the_second_is_refused_until_the_first_has_ended(folder):
    with RunLock(folder) as first, RunLock(folder) as second:
        first.take()
        first.take()  # it has it already
        with pytest.raises(UserError, match=r"run: another training is writing to this folder"):
            second.take()
        first.release()
        second.take()


def test_other_workers_of_a_job_take_no_lock(folder):
    with RunLock(folder) as chief, RunLock(RunFolder(folder.path, is_writer=False)) as worker:
        chief.take()
        worker.take()


def test_a_folder_that_is_not_there_cannot_be_locked(tmp_path):
    with RunLock(RunFolder(tmp_path / "run")) as lock:
        lock.take()
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_in_folders_of_other_things(folder):
    (folder.path / "photo.jpg").touch()
    with RunLock(folder) as lock:
        lock.take_what_is_there()
    assert [path.name for path in folder.path.iterdir()] == ["photo.jpg"]


def test_the_folder_that_takes_the_place_of_one_is_locked_too(folder, tmp_path):
    with RunLock(folder) as first, RunLock(folder) as second:
        first.take()
        folder.path.rename(tmp_path / "run.bak")
        folder.path.mkdir()
        first.take()
        with pytest.raises(UserError, match="another training"):
            second.take()
        # The old one is nobody's any more.
        second_of_old = RunLock(RunFolder(tmp_path / "run.bak"))
        second_of_old.take()
        second_of_old.release()


def test_a_process_that_is_killed_leaves_no_lock(folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder.path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    with holder, RunLock(folder) as lock:
        try:
            assert holder.stdout.readline() == "has it\n"
            with pytest.raises(UserError, match="another training"):
                lock.take()
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        lock.take()


@pytest.mark.parametrize("error", [NotImplementedError("no flock here"), OSError(95, "no locks")])
def test_without_locks_there_is_a_warning(folder, error, monkeypatch, caplog):
    def refuse(self, timeout):
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with caplog.at_level(logging.WARNING), RunLock(folder) as lock:
        lock.take()
    assert "run: cannot be locked (no " in caplog.text and "no other training" in caplog.text


def test_train_refuses_a_folder_that_another_training_has(folder, tiny_options, tmp_path, capsys):
    data = ["--data.root", str(tmp_path), "--export-dir", str(tmp_path / "exported")]
    for more in ([], ["--overwrite"]):
        with RunLock(folder) as other:
            other.take()
            arguments = [*tiny_options, *data, "--output", str(folder.path), *more]
            assert run_command(lambda arguments=arguments: train.main(arguments)) == 2
        assert "run: another training is writing to this folder" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
