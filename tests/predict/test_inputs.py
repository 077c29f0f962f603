"""Which files the inputs of `tf-frcnn predict` stand for."""

import os
from pathlib import Path

from tf_frcnn.predict.inputs import find_inputs


def test_inputs_stand_for_images_once_and_in_order(tmp_path, monkeypatch):
    for name in ("b.PNG", "a.jpeg", ".hidden.jpg", "._a.jpeg", "notes.txt", "sub/c.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "[x].dat").touch()  # as a glob it would match a file named x.dat
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)
    inputs = ["sub", "[x].dat", ".", "b.PNG", str(tmp_path / "a.jpeg"), "**/*.gif"]
    images, problems = find_inputs(inputs)
    assert [path.as_posix() for path in images] == ["sub/c.gif", "[x].dat", "a.jpeg", "b.PNG"]
    assert problems == []


def test_brackets_of_a_name_that_is_not_there_are_explained(tmp_path, monkeypatch):
    (tmp_path / "day [1]").mkdir()
    (tmp_path / "day [1]" / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    found, problems = find_inputs(["day [1]/*.jpg"])  # as a glob it looks in "day 1"
    assert found == [] and problems[0].endswith("are written so: 'day [[]1]/*.jpg'.")
    assert find_inputs(["day [[]1]/*.jpg"])[0] == [Path("day [1]/a.jpg")]


def test_a_link_to_nowhere_is_an_image_that_cannot_be_read(tmp_path):
    os.symlink(tmp_path / "gone.jpg", tmp_path / "a*.jpg")
    assert find_inputs([str(tmp_path / "a*.jpg")]) == ([tmp_path / "a*.jpg"], [])
