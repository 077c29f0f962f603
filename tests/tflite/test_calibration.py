"""Images to measure with: which are taken, and at what size."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tf_frcnn.config import save_config
from tf_frcnn.errors import DataError, UserError
from tf_frcnn.model_files import find_model
from tf_frcnn.tflite.calibration import find_images, read_resized


@pytest.fixture
def model(tmp_path, tiny_config, voc_folder):
    """Find a run that was trained on `voc_folder`."""
    data = dataclasses.replace(tiny_config.data, root=str(voc_folder))
    (tmp_path / "run").mkdir()
    save_config(dataclasses.replace(tiny_config, data=data), tmp_path / "run" / "config.json")
    return find_model(tmp_path / "run")


def test_training_images_of_the_run(model, voc_folder):
    names = [path.name for path in find_images(None, model)]
    assert names == [f"train_{number}.jpg" for number in range(6)]


def test_training_images_that_are_gone(model, voc_folder):
    voc_folder.rename(voc_folder.with_name("moved"))
    with pytest.raises(UserError, match=r"ranges of int8 in: .*run was.*voc: .*--calibration DIR"):
        find_images(None, model)


def cut_short(path):
    """Leave an image its size, which the readers ask for, and not all of its pixels."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])


def test_training_images_that_a_run_skipped_are_left_out(model, voc_folder, caplog):
    images = sorted((voc_folder / "JPEGImages").glob("train_*.jpg"))
    cut_short(images[0])
    names = [path.name for path in find_images(None, model)]
    assert names == [f"train_{number}.jpg" for number in range(1, 6)]
    assert "left out: " in caplog.text and "train_0.jpg" in caplog.text
    for path in images:
        cut_short(path)
    with pytest.raises(UserError, match="none of them is an image that can be decoded"):
        find_images(None, model)


def test_a_folder_gives_what_is_directly_in_it(tmp_path, model):
    folder = tmp_path / "mine"
    (folder / "deeper.jpg").mkdir(parents=True)
    for name in ("b.PNG", "a.jpg", "notes.txt", "._a.jpg"):
        (folder / name).touch()
    assert [path.name for path in find_images(folder, model)] == ["a.jpg", "b.PNG"]


def test_many_images_are_thinned_evenly(tmp_path, model):
    for number in range(250):
        (tmp_path / f"{number:03d}.png").touch()
    names = [path.stem for path in find_images(tmp_path, model)]
    # Image floor(2.5 k) for k = 0 ... 99.
    assert len(names) == 100 and names[:4] == ["000", "002", "005", "007"] and names[-1] == "247"


def test_folders_without_images(tmp_path, model):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"--calibration .*empty: there is no image directly"):
        find_images(tmp_path / "empty", model)
    with pytest.raises(UserError, match=r"--calibration .*nowhere: cannot be listed \(No such"):
        find_images(tmp_path / "nowhere", model)


def test_an_image_is_stretched_to_the_size(tmp_path):
    # Left half black, right half white, 4 x 8 -> 2 x 20.
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 4:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_resized(tmp_path / "a.png", (2, 20), "apply")
    assert image.shape == (2, 20, 3) and image.dtype == np.uint8
    assert not image[:, :8].any() and np.all(image[:, 12:] == 255)
    exif = Image.Exif()
    exif[0x0112] = 3  # the other way round
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert read_resized(tmp_path / "a.png", (2, 20), "apply")[:, :8].all()
    assert not read_resized(tmp_path / "a.png", (2, 20), "ignore")[:, :8].any()
    (tmp_path / "b.png").touch()
    with pytest.raises(DataError, match=r"b\.png: cannot be read \(the file is empty\)"):
        read_resized(tmp_path / "b.png", (2, 20), "apply")
