"""Files that are none: a pipe that nobody writes to, a device without end, nothing at all."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tf_frcnn.checkpoints import load_progress
from tf_frcnn.config import load_config
from tf_frcnn.data.coco_json import parse_coco
from tf_frcnn.data.csv_rows import read_rows
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.image import read_image, read_image_header, read_whole_image
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc_layout import find_splits
from tf_frcnn.data.voc_xml import parse_annotation
from tf_frcnn.data.yolo import read_labels
from tf_frcnn.errors import DataError, UserError
from tf_frcnn.evaluation.results_file import read_results
from tf_frcnn.given_files import check_file, open_file, open_text, read_bytes, read_text
from tf_frcnn.model_files import find_model
from tf_frcnn.predict.containers import check_whole, is_video
from tf_frcnn.pretrained.torch_file import read_state_dict
from tf_frcnn.training.non_finite.record import load_step


@pytest.fixture(autouse=True)
def no_waiting():
    """Fail a test that waits for a pipe's writer, who never comes."""

    def give_up(number, frame):
        raise TimeoutError("a file was waited for")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


KINDS = {
    "it is a named pipe, not a file": os.mkfifo,
    "it is a folder": os.mkdir,
    "it is a device, not a file": lambda path: os.symlink("/dev/zero", path),
    "it is a socket, not a file": make_socket,
}

READERS = {
    "a.png": [read_image, read_image_header, read_whole_image],
    "a.xml": [parse_annotation],
    "a.json": [parse_coco, lambda path: read_results(path, Dataset("test", ("cat",), ()))],
    "a.csv": [read_rows],
    "a.txt": [lambda path: read_labels(path, ("cat",), path, (10, 20))],
    "a.h5": [load_progress, load_step, find_model],
    "a.pth": [read_state_dict, find_model],
    "config.json": [load_config],
    "a.mp4": [check_whole],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", [check_file, open_file, open_text, read_bytes, read_text])
def test_what_is_no_file_is_refused_with_what_it_is(kind, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    KINDS[kind](Path("a"))
    with pytest.raises(OSError) as caught:
        read(Path("a"))
    assert caught.value.strerror == kind


@pytest.mark.parametrize(
    ("name", "read"), [(name, read) for name, reads in READERS.items() for read in reads]
)
def test_no_reader_waits_for_a_pipe(name, read, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises((UserError, OSError), match="it is a named pipe, not a file"):
        read(tmp_path / name)


def test_a_pipe_is_no_video_unless_its_name_says_so(tmp_path):
    for name in ("a", "a.mp4"):
        os.mkfifo(tmp_path / name)
    assert not is_video(tmp_path / "a") and is_video(tmp_path / "a.mp4")


def test_a_list_of_a_split_is_not_waited_for(voc_folder):
    split = voc_folder / "ImageSets" / "Main" / "train.txt"
    split.unlink()
    os.mkfifo(split)
    with pytest.raises(DataError, match=r"train\.txt: cannot be read \(it is a named pipe"):
        find_splits(voc_folder, ("train",), Divider(0), None)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (name, read)
        for name in ("a.png", "a.xml", "a.json", "a.h5", "a.pth", "a.mp4")
        for read in READERS[name]
        if read is not find_model
    ],
)
def test_a_file_of_no_bytes_is_called_empty(name, read, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises((UserError, OSError), match="is empty"):
        read(tmp_path / name)


def test_a_link_to_a_file_is_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfcat")
    (tmp_path / "b").symlink_to("a")
    check_file(tmp_path / "b", may_be_empty=False)
    assert read_text(tmp_path / "b") == "cat" and read_bytes(tmp_path / "b").endswith(b"cat")
