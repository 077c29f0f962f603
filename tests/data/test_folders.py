"""Folders: what is listed, how it is described, and that one may read them."""

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from tests.conftest import voc_xml
from tests.data.voc_writer import SIZE, message_of, write_voc
from tf_frcnn.config import DataConfig
from tf_frcnn.data.folders import describe_folder, index_files, list_data_folders
from tf_frcnn.data.loading import read_datasets
from tf_frcnn.errors import DataError


@pytest.fixture
def forbid(monkeypatch):
    """Close folders, also to root, whom permissions do not bind."""
    closed_to_lists: set[Path] = set()
    closed_to_looks: set[Path] = set()
    iterdir, is_dir = Path.iterdir, Path.is_dir

    def guarded_iterdir(path):
        if path in closed_to_lists or closed_to_looks & set(path.parents):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return iterdir(path)

    def guarded_is_dir(path):
        if closed_to_looks & set(path.parents):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "iterdir", guarded_iterdir)
    monkeypatch.setattr(Path, "is_dir", guarded_is_dir)

    def close(folder, to_lists=True, to_looks=False):
        closed_to_lists.update([folder] * to_lists)
        closed_to_looks.update([folder] * to_looks)

    return close


def write_data_set(root):
    return write_voc(root, {name: voc_xml(SIZE, [("cat", 1, 2, 3, 4)]) for name in "ab"})


def message_of_datasets(root):
    with pytest.raises(DataError) as caught:
        read_datasets(DataConfig(root=str(root), val_split="none", test_split="none"), seed=0)
    return str(caught.value)


def test_files_are_indexed_by_name_whatever_the_case_of_the_extension(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Bläschen")
    for name in ("b.JPG", "a.png", "a.Jpg", "c.txt", ".d.jpg", f"{decomposed}.jpg"):
        (tmp_path / name).touch()
    index = index_files(tmp_path, {".jpg", ".png"})
    assert {name: [path.name for path in paths] for name, paths in index.items()} == {
        "a": ["a.Jpg", "a.png"],
        "b": ["b.JPG"],
        unicodedata.normalize("NFC", "Bläschen"): [f"{decomposed}.jpg"],
    }


def test_data_folders_are_the_root_and_its_visible_sub_folders(tmp_path):
    for name in ("b", "a/deep", ".git"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "c").touch()
    assert list_data_folders(tmp_path) == [tmp_path, tmp_path / "a", tmp_path / "b"]


def test_folders_are_described_by_what_they_hold(tmp_path):
    assert describe_folder(tmp_path / "nowhere") == "there is no such folder"
    assert describe_folder(tmp_path) == "the folder is empty"
    (tmp_path / "b").mkdir()
    (tmp_path / "a").touch()
    assert describe_folder(tmp_path / "a") == "this is a file"
    assert describe_folder(tmp_path) == "the folder holds a, b/"
    for number in range(21):  # 23 in all, of which 20 are named
        (tmp_path / f"c{number:02}").touch()
    assert describe_folder(tmp_path).endswith("c16, c17 and 3 more")


@pytest.mark.parametrize("folder", ["Annotations", "JPEGImages", "ImageSets/Main"])
def test_a_folder_that_may_not_be_listed_is_named(tmp_path, forbid, folder):
    root = write_data_set(tmp_path / "data")
    forbid(root / folder)
    for message in (message_of(root), message_of_datasets(root)):
        assert f"{root / folder}: cannot be read (Permission denied)" in message
        assert "Expected a folder that you may list and enter: `chmod -R u+rX DIR`" in message


def test_a_root_that_may_not_be_listed_is_named_where_it_must_be_searched(tmp_path, forbid):
    root = write_data_set(tmp_path / "data")
    forbid(root)  # its sub-folders have known names, so they can be read all the same
    config = DataConfig(root=str(root), val_split="none", test_split="none")
    assert len(read_datasets(config, seed=0)["train"].examples) == 2
    (root / "ImageSets").rename(root / "Sets")
    assert f"{root}: cannot be read (Permission denied)" in message_of_datasets(root)


@pytest.mark.parametrize("folder", [".", "ImageSets"])
def test_a_folder_that_may_not_be_entered_is_named(tmp_path, forbid, folder):
    root = write_data_set(tmp_path / "data")
    forbid(root / folder, to_lists=False, to_looks=True)
    for message in (message_of(root), message_of_datasets(root)):
        assert f"{root / 'ImageSets' / 'Main'}: cannot be read (Permission denied)" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
@pytest.mark.parametrize(
    "path", ["Annotations", "Annotations/b.xml", "JPEGImages/b.png", "ImageSets/Main/train.txt"]
)
def test_a_path_without_any_permission_is_named(tmp_path, path):
    root = write_data_set(tmp_path / "data")
    (root / path).chmod(0)
    message = message_of(root)
    (root / path).chmod(0o700)
    assert f"{root / path}: " in message and "Permission denied" in message


def test_what_may_not_be_read_is_not_suggested(tmp_path, forbid):
    root = write_data_set(tmp_path / "data")
    (tmp_path / "other" / "closed").mkdir(parents=True)
    forbid(tmp_path / "other" / "closed")
    message = message_of_datasets(tmp_path)
    assert f"`--data.root DIR`, perhaps {root}.\n" in message
