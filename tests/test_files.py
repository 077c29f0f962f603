"""Files that are whole or not there, and what is in the place of new ones."""

import errno
import json
import os
from pathlib import Path

import pytest

from tf_frcnn.errors import UserError
from tf_frcnn.files import (
    check_apart,
    make_writable_folder,
    move_aside,
    prepare_output,
    whole_file,
    whole_folder,
    write_json,
)


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


def test_a_new_folder_has_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "above" / "made"
    with whole_folder(path) as folder:
        (folder / "notes").write_text("new")
        assert not path.exists()
    assert [one.name for one in path.iterdir()] == ["notes"]
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777  # not mkdtemp's own


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_whatever_goes_wrong_no_half_folder_stays(tmp_path, error, is_there):
    path = tmp_path / "above" / "made"
    if is_there:
        path.mkdir(parents=True)
    with pytest.raises(error), whole_folder(path) as folder:
        (folder / "notes").write_text("half")
        raise error
    assert [one.name for one in tmp_path.rglob("*")] == ["above", "made"] * is_there


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


def test_a_folder_that_went_away_is_not_told_as_a_full_disk(tmp_path):
    with pytest.raises(UserError, match="No such file or directory") as caught:
        write_json(tmp_path / "gone" / "a.json", {})
    assert "no other process moves" in str(caught.value) and "space" not in str(caught.value)


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


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.json"]


def test_json_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(UserError, match=r"metrics\.json: cannot be written \(No space left"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.json"]


# === Room for results ===


def test_a_folder_of_results_is_made(tmp_path):
    prepare_output(tmp_path / "a" / "b", overwrite=False)
    assert (tmp_path / "a" / "b").is_dir()
    prepare_output(tmp_path / "a" / "b", overwrite=False)  # empty: nothing can be lost


def test_results_that_are_there_are_refused_or_moved(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("old")
    with pytest.raises(UserError, match=r"out: there is something already.*--overwrite"):
        prepare_output(tmp_path / "out", overwrite=False)
    prepare_output(tmp_path / "out", overwrite=True)
    assert list((tmp_path / "out").iterdir()) == []
    (backup,) = tmp_path.glob("out.bak-*")
    assert (backup / "metrics.json").read_text() == "old"


def test_what_is_read_is_not_moved_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "out" / "deep" / "a.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    for needed in (weights, "out/deep/a.pth"):
        with pytest.raises(UserError, match=rf"^--output out: holds {needed}, which is an input"):
            check_apart(Path("out"), [None, "no/such", needed])
    with pytest.raises(UserError, match=r"--output .*a.pth: is .*a.pth, which is an input"):
        check_apart(weights, [weights])
    check_apart(weights.parent / "results", [weights, weights.parent, "voc/2007", None])


def test_a_file_in_the_place_of_results_is_refused(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(UserError, match="out: is a file"):
        prepare_output(tmp_path / "out", overwrite=False)
    assert (tmp_path / "out").read_text() == "old"


def test_a_folder_must_take_files(tmp_path):
    make_writable_folder(tmp_path / "a" / "b", "--export-dir")
    assert list((tmp_path / "a" / "b").iterdir()) == []  # the trial leaves nothing
    # /proc refuses files and folders to everyone, the superuser too.
    with pytest.raises(UserError, match="--export-dir /proc: the folder cannot be written to"):
        make_writable_folder(Path("/proc"), "--export-dir")
    with pytest.raises(UserError, match="--output /proc/mine: the folder cannot be made"):
        make_writable_folder(Path("/proc/mine"), "--output")


def test_moving_what_cannot_be_moved_is_told(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(18, "Invalid cross-device link")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("pathlib.PosixPath.rename", refuse)
    with pytest.raises(UserError, match=r"out: cannot be moved to .*Invalid cross-device link"):
        move_aside(tmp_path / "out")
