"""`tf-frcnn predict`: drawings, COCO results, and what is said of inputs that do not fit."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.predict.predicting import (
    ORIENTATION,
    files_below,
    predict,
    read_results,
    write_image,
)
from tf_frcnn import cli
from tf_frcnn.commands import predict as command
from tf_frcnn.config import load_config, save_config
from tf_frcnn.run_folder import with_exif

# === What is written ===


def test_results_are_coco_objects(model, tmp_path):
    write_image(tmp_path / "in" / "a.png")
    assert predict(tmp_path / "in" / "a.png", "--output", tmp_path / "out") == 0
    # yxyx [1, 2, 11, 32] begins at x 2, y 1, and is 30 wide, 10 high; 204 / 255 = 0.8.
    # The cat's 0.4 is below the default of --score.
    (found,) = read_results(tmp_path / "out")
    assert found.pop("score") == pytest.approx(0.8)
    assert found == {
        "file_name": "a.png",
        "category_name": "dog",
        "category_id": 2,
        "bbox": [2, 1, 30, 10],
    }


def test_score_and_classes_choose(model, tmp_path):
    image = write_image(tmp_path / "in" / "a.png")
    names = {}
    for number, options in enumerate(
        [("--score", "0.3"), ("--score", "0.3", "--classes", "cat"), ("--score", "1")]
    ):
        assert predict(image, "--output", tmp_path / str(number), *options) == 0
        names[number] = [found["category_name"] for found in read_results(tmp_path / str(number))]
    assert names == {0: ["dog", "cat"], 1: ["cat"], 2: []}


def test_drawings_keep_sub_paths_and_names_apart(model, tmp_path):
    folder = tmp_path / "in"
    for name in ("a.jpg", "a.png", "A.bmp", "a-2.jpg", "häuser/天.png", "deep/er/b [1].gif"):
        write_image(folder / name)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    assert predict(folder / "**" / "*.*", "--output", tmp_path / "out") == 0
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    drawings = [name for name in files_below(tmp_path / "out") if name.endswith(".jpg")]
    assert len({name.casefold() for name in drawings}) == 6
    assert {"häuser/天.jpg", "deep/er/b [1].jpg"} < set(drawings)
    assert {found["file_name"] for found in read_results(tmp_path / "out")} == {
        path.relative_to(folder).as_posix() for path in before
    }


def test_a_drawing_shows_the_box_and_small_images_are_enlarged(model, tmp_path):
    write_image(tmp_path / "in" / "small.png", size=(40, 60))
    write_image(tmp_path / "in" / "large.png", size=(500, 700))
    assert predict(tmp_path / "in", "--output", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "large.jpg") as large:
        assert large.size == (700, 500)
    with Image.open(tmp_path / "out" / "small.jpg") as small:
        assert small.size == (480, 320)  # 8 times as large
        pixels = np.asarray(small).astype(int)
    plain = np.abs(pixels - [204, 20, 90]).max(axis=-1) < 30
    # Box rows 8 to 88, columns 16 to 256: its right side is drawn, its inside is not.
    assert not plain[40:60, 254].any()
    assert plain[60, 100:200].all() and plain[200:].all()


def test_nothing_that_is_there_is_overwritten(model, tmp_path, capsys):
    image = write_image(tmp_path / "in" / "a.jpg")
    output = tmp_path / "out"
    assert predict(image, "--output", output) == 0
    (output / "a.jpg").write_text("mine")
    assert predict(image, "--output", output) == 2
    assert "out: there is something already" in capsys.readouterr().err
    assert (output / "a.jpg").read_text() == "mine"
    assert predict(image, "--output", output, "--overwrite") == 0
    (backup,) = tmp_path.glob("out.bak-*")
    assert (backup / "a.jpg").read_text() == "mine"
    assert files_below(output) == ["a.jpg", "detections.json"]


def test_images_are_taken_in_batches(model, tmp_path, capsys):
    for number in range(5):
        write_image(tmp_path / "in" / f"{number}.png", size=(40, 60 + number))
    assert predict(tmp_path / "in", "--output", tmp_path / "out", "--batch-size", "2") == 0
    assert model.batches == [[(40, 60), (40, 61)], [(40, 62), (40, 63)], [(40, 64)]]
    said = capsys.readouterr().err
    assert "4.png: 1 dog -> " in said and "5 images in " in said and "5 detections in" in said
    assert "videos" not in said


# === Images that cannot be read ===


def test_an_unreadable_image_is_named_and_the_others_are_done(model, tmp_path, capsys):
    folder = tmp_path / "in"
    write_image(folder / "c.png")
    (folder / "b.jpg").write_text("no image")
    (folder / "a.png").write_bytes(write_image(folder / "a.png").read_bytes()[:60])
    assert predict(folder, tmp_path / "gone.png", "--output", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert f"skipped: {folder / 'b.jpg'}: the content is not that of an image" in said
    assert f"skipped: {folder / 'a.png'}: the image cannot be decoded" in said
    assert f"{tmp_path / 'gone.png'}: there is no such file or folder" in said
    assert "2 of 3 images could not be read." in said and "1 image in " in said
    assert files_below(tmp_path / "out") == ["c.jpg", "detections.json"]


def test_an_interrupt_keeps_what_was_found(model, tmp_path, capsys, monkeypatch):
    for name in ("a", "b", "c"):
        write_image(tmp_path / "in" / f"{name}.png")
    detect = type(model).__call__

    def detect_two(self, images, batch_size):
        if len(self.batches) == 2:
            raise KeyboardInterrupt
        return detect(self, images, batch_size)

    monkeypatch.setattr(type(model), "__call__", detect_two)
    assert predict(tmp_path / "in", "--output", tmp_path / "out") == 130
    assert [found["file_name"] for found in read_results(tmp_path / "out")] == ["a.png", "b.png"]
    assert "interrupted: " in capsys.readouterr().err


def test_no_image_at_all_is_a_usage_error(model, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    assert predict(tmp_path / "in", f"{tmp_path}/*.gif", "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert (
        "in: there is no image or video directly in this folder. Expected files that end in" in said
    )
    assert "*.gif: there is no such file or folder, and no glob that matches one" in said
    assert not (tmp_path / "out").exists() and not model.batches


def test_a_disk_that_takes_no_more_is_told(model, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    image = write_image(tmp_path / "in" / "a.jpg")
    monkeypatch.setattr(Image.Image, "save", fail)
    assert predict(image, "--output", tmp_path / "out") == 2
    assert "a.jpg: cannot be written (No space left on device). Free" in capsys.readouterr().err


# === Options that cannot be used ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--score", "1.5"), "--score 1.5: expected a number from 0 to 1"),
        (("--score", "nan"), "--score nan: expected a number from 0 to 1"),
        (("--batch-size", "0"), "--batch-size 0: expected 1 or more"),
        (("--frame-step", "-2"), "--frame-step -2: expected 1 or more"),
        (
            ("--classes", "cat", "hund", "Dog"),
            "--classes: the model knows no 'hund', 'Dog'. Expected some of cat, dog.",
        ),
    ],
)
def test_options_out_of_range(options, message, model, tmp_path, capsys):
    image = write_image(tmp_path / "in" / "a.png")
    assert predict(image, "--output", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_input_is_told(model, tmp_path, capsys):
    assert predict("--output", tmp_path / "out") == 2
    assert predict("--output", tmp_path / "out", "--classes", "cat", tmp_path / "a.png") == 2
    said = capsys.readouterr().err
    assert said.count("no INPUT was given") == 2 and "before --classes, which takes every" in said


def test_what_cannot_work_is_told_before_tensorflow_is_loaded(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "set_up_tensorflow", lambda: pytest.fail("TensorFlow is loaded"))
    image = write_image(tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("mine")
    assert predict(image, "--output", tmp_path / "file") == 2
    assert predict(image, "--output", "/proc/out") == 2  # which nobody may write
    assert predict(image, "--output", tmp_path / "out", "--classes", "cow") == 2
    said = capsys.readouterr().err
    assert "file: is a file" in said and "--output /proc/out: the folder cannot be made" in said
    assert "no 'cow'" in said and (tmp_path / "file").read_text() == "mine"


def test_inputs_are_never_moved_out_of_the_way(model, tmp_path, capsys):
    image = write_image(tmp_path / "in" / "sub" / "a.png")
    assert predict(image, "--output", tmp_path / "in", "--overwrite") == 2
    assert f"in: holds {image}, which is an input" in capsys.readouterr().err
    assert image.is_file()


def test_a_model_that_is_not_there(tmp_path, capsys):
    image = write_image(tmp_path / "in" / "a.png")
    output = str(tmp_path / "out")
    assert cli.main(["predict", str(tmp_path / "no"), str(image), "--output", output]) == 2
    assert "no: there is no such file or folder. Expected the folder" in capsys.readouterr().err
    assert not Path(output).exists()


# === EXIF ===


def test_orientation_is_ignored_with_one_warning(model, tmp_path, capsys):
    config = load_config(model.config_file)  # of a run that took stored pixels
    save_config(with_exif(config, "ignore"), model.config_file)
    for number, orientation in enumerate((6, 1, 3, None)):
        write_image(tmp_path / "in" / f"{number}.jpg", orientation=orientation)
    assert predict(tmp_path / "in", "--output", tmp_path / "out") == 0
    assert model.batches == [[(40, 60)]] * 4
    said = capsys.readouterr().err
    assert said.count("2 images have an EXIF orientation, which was ignored") == 1


@pytest.mark.parametrize(
    ("trained", "options"), [("apply", ()), ("auto", ()), ("ignore", ("--exif", "apply"))]
)
def test_orientation_is_applied_and_told(trained, options, model, tmp_path, capsys):
    save_config(with_exif(load_config(model.config_file), trained), model.config_file)
    for number, orientation in enumerate((6, 1, None)):
        write_image(tmp_path / "in" / f"{number}.jpg", orientation=orientation)
    assert predict(tmp_path / "in", "--output", tmp_path / "out", *options) == 0
    assert model.batches == [[(60, 40)], [(40, 60)], [(40, 60)]]
    with Image.open(tmp_path / "out" / "0.jpg") as drawing:
        assert drawing.size == (320, 480)
        assert ORIENTATION not in drawing.getexif()  # else a viewer would turn it once more
    said = capsys.readouterr().err
    assert "0.jpg (turned: EXIF orientation 6): 1 dog" in said
    assert "1 image was turned upright" in said and "1.jpg: 1 dog" in said


# === With a real network ===


def test_a_run_of_the_project_predicts(tiny_config, tmp_path, caplog):
    from tests.test_detector import save_random_run

    run, output = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    save_random_run(run, tiny_config, steps=(2,))
    for name, size in (("wide.png", (1, 90)), ("dot.png", (1, 1)), ("high.jpg", (80, 31))):
        write_image(tmp_path / "in" / name, size=size)
    options = ["--output", str(output), "--score", "0", "--batch-size", "3"]
    caplog.set_level(logging.INFO)
    assert cli.main(["predict", str(run), str(tmp_path / "in"), *options]) == 0
    assert files_below(output) == ["detections.json", "dot.jpg", "high.jpg", "wide.jpg"]
    found = [result for result in read_results(output) if result["file_name"] == "high.jpg"]
    assert found
    for result in found:
        assert result["category_name"] == ("cat", "dog", "duck")[result["category_id"] - 1]
        x, y, width, height = result["bbox"]
        assert 0 <= x and 0 <= y and width > 0 and height > 0
        assert x + width <= 31 + 1e-3 and y + height <= 80 + 1e-3
        assert 0.05 <= result["score"] <= 1
