"""Images kept as files in the user's cache: where, how often written, and what may go wrong."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_frcnn.data.kept_images import keep_image, kept_folder
from tf_frcnn.errors import DataError


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_image_is_written_once_under_its_own_name(cache_home):
    folder = kept_folder("tfds", "voc", "2007", "5.0.0")
    path = keep_image(folder / "train", "000005.jpg", "key", b"content")
    assert path.name == "000005.jpg" and path.read_bytes() == b"content"
    assert path.parents[1] == cache_home / "tf_frcnn" / "tfds" / "voc" / "2007" / "5.0.0" / "train"
    before = path.stat()
    assert keep_image(folder / "train", "000005.jpg", "key", b"content") == path
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files_in(cache_home) == [path]


def test_a_file_of_another_length_is_written_anew(tmp_path):
    path = keep_image(tmp_path, "a.jpg", "key", b"whole content")
    path.write_bytes(b"whole")
    assert keep_image(tmp_path, "a.jpg", "key", b"whole content") == path
    assert path.read_bytes() == b"whole content"


def test_images_of_one_name_and_length_are_kept_apart(tmp_path):
    first = keep_image(tmp_path, "a.jpg", "1", b"one")
    second = keep_image(tmp_path, "a.jpg", "2", b"two")
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert first.name == second.name == "a.jpg"


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("../../evil.png", "evil.png"),
        ("/etc/passwd", "passwd"),
        ("sub/folder/a.png", "a.png"),
        ("..\\..\\evil.png", "evil.png"),
        ("Bläschen 1.png", "Bläschen 1.png"),
        ("..", "set__7"),
        (".", "set__7"),
        ("", "set__7"),
        ("sub/..", "set__7"),
        ("a\0b.png", "set__7"),
        ("a\nb.png", "set__7"),
        ("x" * 300 + ".png", "set__7"),
        ("ä" * 120, "set__7"),  # 240 bytes
    ],
)
def test_names_become_plain_names(tmp_path, stated, name):
    path = keep_image(tmp_path, stated, "set__7", b"content")
    assert path.name == name and path.parents[1] == tmp_path


@given(stated=st.text(max_size=300), fallback=st.text(max_size=30), part=st.text(max_size=30))
def test_no_name_leads_out_of_the_folder(tmp_path_factory, stated, fallback, part):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(home))
        folder = kept_folder("tfds", part)
    assert folder.resolve().parent == (home / "tf_frcnn" / "tfds").resolve()
    path = keep_image(folder, stated, fallback, b"content")
    assert path.resolve().parents[1] == folder.resolve() and path.read_bytes() == b"content"


def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def write_half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(DataError) as caught:
        keep_image(tmp_path, "a.jpg", "key", b"content")
    message = str(caught.value)
    assert "a.jpg: the image cannot be written (No space left on device)" in message
    assert "Free some space" in message and "XDG_CACHE_HOME" in message
    assert not files_in(tmp_path)


def test_a_cache_that_is_no_folder_is_told(cache_home):
    cache_home.write_text("a file")
    with pytest.raises(DataError, match=r"cannot be written \(.*XDG_CACHE_HOME"):
        keep_image(kept_folder("tfds"), "a.jpg", "key", b"content")


def test_nobodys_home_is_told(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(DataError, match="Could not determine home.*XDG_CACHE_HOME"):
        kept_folder("tfds")
