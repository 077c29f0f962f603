"""Every image is decoded once before training, and a second start is quick."""

import dataclasses
import logging
import os
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train
from tf_frcnn.config import DataConfig
from tf_frcnn.data import image_cache, verification
from tf_frcnn.data.loading import read_datasets
from tf_frcnn.data.verification import verify_images
from tf_frcnn.errors import DataError


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """List the names of the images that are decoded from here on."""
    names = []

    def read_and_note(path):
        names.append(path.name)
        return read_image(path)

    read_image = verification.read_whole_image
    monkeypatch.setattr(verification, "read_whole_image", read_and_note)
    return names


@pytest.fixture
def datasets(voc_folder):
    return read_datasets(DataConfig(root=str(voc_folder)), seed=0)  # 6, 2 and 2 images


def cut_short(path):
    """Leave half of an image; its header still states its size."""
    noise = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def image_of(datasets, role, index=0):
    return datasets[role].examples[index].image_path


def message_of(datasets):
    with pytest.raises(DataError) as caught:
        verify_images(datasets)
    return str(caught.value)


# === What is checked ===


def test_every_image_of_every_split_is_decoded_and_the_rate_is_logged(datasets, decoded, caplog):
    with caplog.at_level(logging.INFO):
        verify_images(datasets)
    every = [e.image_path.name for dataset in datasets.values() for e in dataset.examples]
    assert sorted(decoded) == sorted(every) and len(every) == 10
    assert re.search(r"checked 10 images in \d+\.\d s, \d+ images/s$", caplog.text.strip())


def test_a_file_in_two_roles_is_decoded_once(datasets, decoded, caplog):
    with caplog.at_level(logging.INFO):
        verify_images({"val": datasets["val"], "test": datasets["val"]})
    assert sorted(decoded) == ["val_0.jpg", "val_1.jpg"]
    assert "checked 2 images" in caplog.text


def test_no_images_are_no_fault(decoded):
    verify_images({})
    assert not decoded


def test_images_cut_short_are_told_in_one_message(datasets):
    broken = [image_of(datasets, "train", 3), image_of(datasets, "test", 1)]
    for path in broken:
        cut_short(path)
    lines = message_of(datasets).splitlines()
    assert lines[0] == "train, val, test: 2 faults in the annotations and images:"
    for line, path in zip(lines[1:3], broken, strict=True):  # in the order of the images
        assert line.startswith(f"  {path}: the image cannot be decoded")
        assert "replace the file or take it out" in line
    assert len(lines) == 4


def test_of_many_faults_the_first_twenty_are_listed(tmp_path, datasets):
    example = datasets["train"].examples[0]
    missing = tuple(
        dataclasses.replace(example, image_path=tmp_path / f"gone_{number:03}.jpg")
        for number in range(600)  # more than are handed to the threads at a time
    )
    message = message_of({"train": dataclasses.replace(datasets["train"], examples=missing)})
    assert "train: 600 faults in the annotations and images; the first 20:" in message
    listed = re.findall(r"gone_(\d+).jpg: ", message)
    assert listed == [f"{number:03}" for number in range(20)]


def test_a_damaged_jpeg_is_a_fault_though_it_decodes(datasets):
    path = image_of(datasets, "train", 3)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    message = message_of(datasets)
    assert f"{path}: the image is damaged (Corrupt JPEG data: premature end" in message
    assert "1 fault " in message


def test_another_size_than_the_headers_is_a_fault_known_or_not(datasets):
    dataset = datasets["val"]
    turned = dataclasses.replace(dataset.examples[1], image_size=(96, 72))  # width first
    datasets = {"val": dataclasses.replace(dataset, examples=(dataset.examples[0], turned))}
    for _ in range(2):
        message = message_of(datasets)
        assert "val: 1 fault " in message
        assert "val_1.jpg: has 72 rows of 96 pixels" in message
        assert "its header said 96 rows of 72" in message
        verify_images({"val": dataset})  # from now on its size is in the cache


def test_training_stops_before_its_first_step(voc_folder, tmp_path):
    cut_short(voc_folder / "JPEGImages" / "test_1.jpg")
    run = tmp_path / "run"
    options = ["--data.root", str(voc_folder), "--output", str(run), "--train.steps", "1"]
    options += ["--export-dir", str(tmp_path / "exported")]
    with pytest.raises(DataError, match=r"1 fault .*\n.*test_1.jpg: the image cannot be decoded"):
        train.main(["finetune", *options])
    assert [path.name for path in run.iterdir()] == [".lock"]


# === What is remembered ===


def test_a_second_check_decodes_nothing(datasets, decoded, caplog):
    verify_images(datasets)
    decoded.clear()
    with caplog.at_level(logging.INFO):
        verify_images(datasets)
    assert not decoded
    assert caplog.text.rstrip().endswith("s; 10 unchanged since an earlier check")


def test_what_was_broken_is_decoded_again_and_what_was_whole_is_not(datasets, decoded):
    path = image_of(datasets, "train", 3)
    whole = path.read_bytes()
    cut_short(path)
    message = message_of(datasets)
    decoded.clear()
    assert message_of(datasets) == message and decoded == ["train_3.jpg"]
    path.write_bytes(whole)
    decoded.clear()
    verify_images(datasets)
    assert decoded == ["train_3.jpg"]


def test_a_change_of_length_or_of_time_makes_an_image_unknown(datasets, decoded):
    verify_images(datasets)
    longer, touched = image_of(datasets, "train", 1), image_of(datasets, "val", 1)
    status = longer.stat()
    longer.write_bytes(longer.read_bytes() + b"\x00")
    os.utime(longer, ns=(status.st_atime_ns, status.st_mtime_ns))
    status = touched.stat()
    os.utime(touched, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    decoded.clear()
    verify_images(datasets)
    assert sorted(decoded) == ["train_1.jpg", "val_1.jpg"]


def test_another_decoder_knows_nothing(datasets, decoded, monkeypatch):
    verify_images(datasets)
    decoded.clear()
    monkeypatch.setattr(image_cache.PIL, "__version__", "0.0")
    verify_images(datasets)
    assert len(decoded) == 10


def test_an_interrupted_check_has_kept_what_it_did(datasets, decoded, monkeypatch):
    monkeypatch.setattr(verification, "_CHUNK", 4)
    sizes = []

    def interrupt_in_the_third(chunks, description):
        for chunk in chunks:
            sizes.append(len(chunk))
            if len(sizes) == 3:
                raise KeyboardInterrupt
            yield chunk

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(verification, "track", interrupt_in_the_third)
        verify_images(datasets)
    assert sizes == [4, 4, 2] and len(decoded) == 8  # 10 images in chunks of 4
    decoded.clear()
    verify_images(datasets)
    assert sorted(decoded) == ["test_0.jpg", "test_1.jpg"]


def test_names_that_are_no_text_are_remembered(datasets, decoded):
    example = datasets["val"].examples[0]
    path = Path(os.fsdecode(os.fsencode(example.image_path.parent) + b"/\xff.jpg"))
    try:
        path.write_bytes(example.image_path.read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    odd = dataclasses.replace(example, image_path=path)
    odd_datasets = {"val": dataclasses.replace(datasets["val"], examples=(odd,))}
    verify_images(odd_datasets)
    verify_images(odd_datasets)
    assert decoded == [path.name]


def test_the_cache_lies_in_the_users_cache_folder(datasets, cache_home, tmp_path, monkeypatch):
    verify_images(datasets)
    (file,) = (cache_home / "tf_frcnn").iterdir()
    assert file.name == "images-4.sqlite"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given in ("", "not/absolute"):  # both stand for the default
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        verify_images(datasets)
        (file,) = (tmp_path / "home" / ".cache" / "tf_frcnn").iterdir()
        file.unlink()


# === A cache that can't be used ===


def is_a_file(home):
    home.write_text("")


def is_no_database(home):
    (home / "tf_frcnn").mkdir(parents=True)
    (home / "tf_frcnn" / "images-4.sqlite").write_bytes(b"something else" * 100)


def has_another_table(home):
    (home / "tf_frcnn").mkdir(parents=True)
    with sqlite3.connect(home / "tf_frcnn" / "images-4.sqlite") as connection:
        connection.execute("CREATE TABLE images (path)")


@pytest.mark.parametrize("spoil", [is_a_file, is_no_database, has_another_table])
def test_an_unusable_cache_is_said_and_no_error(datasets, decoded, cache_home, caplog, spoil):
    spoil(cache_home)
    with caplog.at_level(logging.INFO):
        verify_images(datasets)
    assert len(decoded) == 10
    assert caplog.text.count("images are checked without a cache (") == 1


def test_a_cache_that_another_run_is_writing_is_no_error(
    datasets, decoded, cache_home, caplog, monkeypatch
):
    verify_images(datasets)
    decoded.clear()
    monkeypatch.setattr(image_cache, "_LOCK_SECONDS", 0.01)
    other = sqlite3.connect(cache_home / "tf_frcnn" / "images-4.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.INFO):
        verify_images(datasets)
    other.close()
    assert len(decoded) == 10 and "without a cache (database is locked)" in caplog.text


def test_a_cache_that_may_only_be_read_is_used_and_no_error(
    datasets, decoded, cache_home, caplog, monkeypatch
):
    verify_images({"val": datasets["val"]})
    decoded.clear()
    connect = sqlite3.connect

    def connect_to_read(file, timeout):  # permissions do not bind who may do anything
        return connect(f"file:{file}?mode=ro", timeout=timeout, uri=True)

    monkeypatch.setattr(image_cache.sqlite3, "connect", connect_to_read)
    with caplog.at_level(logging.INFO):
        verify_images(datasets)
    assert len(decoded) == 8 and "val_0.jpg" not in decoded
    assert caplog.text.count("without a cache (attempt to write a readonly database)") == 1
