"""Files that are whole or not there."""

import errno
import os

import pytest

from tf_frcnn.whole_file import whole_file


def test_a_new_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    path = tmp_path / "notes"
    path.write_text("old")
    with whole_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_whatever_goes_wrong_the_old_file_stays(tmp_path, error):
    path = tmp_path / "notes"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as partial:
        partial.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["the file", "the folder"])
def test_a_disk_that_cannot_be_flushed_is_an_error(tmp_path, monkeypatch, failing):
    real, calls = os.fsync, []

    def refuse(descriptor):
        calls.append(descriptor)
        if len(calls) == ("the file", "the folder").index(failing) + 1:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"), whole_file(tmp_path / "notes") as file:
        file.write_text("new")


def test_a_file_system_that_flushes_no_folders_will_do(tmp_path, monkeypatch):
    real = os.fsync

    def flush_files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", flush_files_only)
    with whole_file(tmp_path / "notes") as partial:
        partial.write_text("new")
    assert (tmp_path / "notes").read_text() == "new"
