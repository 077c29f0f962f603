"""`tf-frcnn predict` on videos: results by frame, drawings, and videos that cannot be read."""

import sys
from fractions import Fraction

import numpy as np
import pytest

from tests.predict.predicting import (
    files_below,
    moving_image,
    predict,
    read_results,
    read_video,
    write_image,
    write_png_video,
    write_video,
)
from tests.predict.test_video_reader import write_matrix
from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import read_dataset
from tf_frcnn.errors import DataError
from tf_frcnn.evaluation.results_file import read_results as read_evaluated

pytest.importorskip("av", reason="PyAV is not installed")

DOGS = ("--score", "0", "--classes", "dog")


def test_results_have_the_frame_they_were_found_in(model, tmp_path, capsys):
    video = write_video(tmp_path / "in" / "a.mp4", num_frames=7)
    output = tmp_path / "out"
    assert predict(video, "--output", output, "--batch-size", "3", *DOGS) == 0
    assert model.batches == [[(48, 64)] * 3, [(48, 64)] * 3, [(48, 64)]]
    results = read_results(output)
    assert [found["frame"] for found in results] == list(range(7))
    # The corner's red is 20 * (frame + 1), which compression changes by less than 5 of 255.
    scores = [found["score"] for found in results]
    assert scores == pytest.approx([20 * (frame + 1) / 255 for frame in range(7)], abs=5 / 255)
    assert {(found["file_name"], found["category_id"]) for found in results} == {("a.mp4", 2)}
    assert results[0]["bbox"] == [2, 1, 30, 10]
    said = capsys.readouterr().err
    assert f"{video}: 7 frames, " in said and f": 7 dog -> {output / 'a.mp4'}" in said
    assert "7 detections in" in said and "pictures" not in said


def test_a_drawing_shows_the_boxes_at_the_videos_size_and_rate(model, tmp_path):
    images = [moving_image(number, (71, 95)) for number in range(5)]
    video = write_png_video(tmp_path / "in" / "a.mov", images, rate=Fraction(30000, 1001))
    assert predict(video, "--output", tmp_path / "out", "--score", "0.3") == 0
    assert files_below(tmp_path / "out") == ["a.mp4", "detections.json"]
    frames, (codec, pixel_format, rate) = read_video(tmp_path / "out" / "a.mp4")
    assert codec in ("h264", "mpeg4") and pixel_format == "yuv420p"
    assert rate == Fraction(30000, 1001) and len(frames) == 5
    for frame, image in zip(frames, images, strict=True):
        assert frame.shape == (72, 96, 3)
        changed = np.abs(frame[:71, :95].astype(int) - image).max(axis=-1) > 60
        # The cat's box is rows 4 to 6, columns 0 to 8. Nothing is drawn below labels of 20 rows.
        assert changed[4:6, 1:7].any()
        assert not changed[40:].any()


def test_every_nth_frame(model, tmp_path, capsys):
    video = write_video(tmp_path / "in" / "a.mp4", num_frames=10, rate=24)
    options = ("--frame-step", "4", "--batch-size", "2", *DOGS)
    assert predict(video, "--output", tmp_path / "out", *options) == 0
    results = read_results(tmp_path / "out")
    assert [found["frame"] for found in results] == [0, 4, 8]
    scores = [found["score"] for found in results]
    assert scores == pytest.approx([20 / 255, 100 / 255, 180 / 255], abs=5 / 255)
    frames, properties = read_video(tmp_path / "out" / "a.mp4")
    assert len(frames) == 3 and properties[2] == 6  # 24 / 4: it plays as fast
    assert "a.mp4: 3 frames (--frame-step 4), " in capsys.readouterr().err


def test_images_and_videos_of_a_folder_go_together(model, tmp_path, capsys):
    folder = tmp_path / "in"
    for name in ("a.mp4", "a.avi", "A.MKV", "b/c.webm"):
        write_video(folder / name, num_frames=2)
    write_image(folder / "a.jpg")
    (folder / "film.dat").write_bytes((folder / "a.mp4").read_bytes())
    inputs = (folder, folder / "film.dat", folder / "b")
    assert predict(*inputs, "--output", tmp_path / "out", *DOGS) == 0
    drawings = [name for name in files_below(tmp_path / "out") if name != "detections.json"]
    # A.MKV comes first; some file systems do not tell its drawing's name from a.mp4.
    assert drawings == ["A.mp4", "a-2.mp4", "a-3.mp4", "a.jpg", "b/c.mp4", "film.mp4"]
    keys = [(found["file_name"], found.get("frame")) for found in read_results(tmp_path / "out")]
    assert keys[0] == ("a.jpg", None)
    names = ("A.MKV", "a.avi", "a.mp4", "film.dat", "b/c.webm")
    assert keys[1:] == [(name, frame) for name in names for frame in (0, 1)]
    assert "1 image in " in capsys.readouterr().err


def test_memory_holds_no_more_than_two_batches(model, tmp_path):
    video = write_video(tmp_path / "in" / "a.mp4", num_frames=40)
    assert predict(video, "--output", tmp_path / "out", "--batch-size", "4") == 0
    assert len(model.batches) == 10
    assert model.most_alive <= 8


# === Orientation ===


@pytest.mark.parametrize(
    ("exif", "size", "message"),
    [
        ("ignore", (48, 64), "its orientation, 6, was ignored: boxes are in stored pixels"),
        ("apply", (64, 48), "was turned upright (orientation 6)"),
    ],
)
def test_orientation_follows_the_policy_for_images(exif, size, message, model, tmp_path, capsys):
    video = write_video(tmp_path / "in" / "a.mp4", num_frames=2)
    write_matrix(video, 0, 1, -1, 0)
    assert predict(video, "--output", tmp_path / "out", "--exif", exif) == 0
    assert model.batches == [[size]] * 2
    frames, _ = read_video(tmp_path / "out" / "a.mp4")
    assert frames[0].shape[:2] == size
    assert message in capsys.readouterr().err


# === Videos that cannot be read ===


def test_broken_videos_are_named_and_the_others_are_done(model, tmp_path, capsys):
    folder = tmp_path / "in"
    whole = write_video(folder / "e.mp4", num_frames=3)
    (folder / "a.mp4").touch()
    (folder / "b.mkv").write_text("no video")
    (folder / "c.mp4").write_bytes(whole.read_bytes()[:-30])
    # The third frame is broken, so that two are detected and drawn before that is known.
    broken = write_png_video(folder / "d.mov", [moving_image(number) for number in range(4)])
    parts = broken.read_bytes().split(b"IHDR")
    broken.write_bytes(b"IHDR".join(parts[:3]) + b"XXXX" + b"IHDR".join(parts[3:]))
    write_image(folder / "z.png")
    assert predict(folder, "--output", tmp_path / "out", *DOGS) == 1
    said = capsys.readouterr().err
    assert f"skipped: {folder / 'a.mp4'}: the file is empty" in said
    assert f"skipped: {folder / 'b.mkv'}: the content is not that of a video" in said
    assert f"skipped: {folder / 'c.mp4'}: the video is cut short" in said
    assert f"skipped: {folder / 'd.mov'}: the video cannot be decoded" in said
    assert "4 of 5 videos could not be read." in said
    assert files_below(tmp_path / "out") == ["detections.json", "e.mp4", "z.jpg"]
    names = [found["file_name"] for found in read_results(tmp_path / "out")]
    assert names == ["z.png", "e.mp4", "e.mp4", "e.mp4"]


def test_without_pyav_the_extra_is_named(model, tmp_path, capsys, monkeypatch):
    video = write_video(tmp_path / "in" / "a.mp4")
    image = write_image(tmp_path / "in" / "a.png")
    monkeypatch.setitem(sys.modules, "av", None)
    assert predict(video, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "videos are read with PyAV" in said
    assert "python -m pip install -e '.[video]'" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists() and not model.batches
    assert predict(image, "--output", tmp_path / "out") == 0  # images need none


def test_a_detector_that_fails_leaves_no_half_drawing(model, tmp_path, monkeypatch):
    def fail(self, images, batch_size):
        if len(self.batches) == 3:
            raise MemoryError
        return detect(self, images, batch_size)

    detect = type(model).__call__
    monkeypatch.setattr(type(model), "__call__", fail)
    video = write_video(tmp_path / "in" / "a.mp4")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for the traceback
    assert predict(video, "--output", tmp_path / "out") == 70
    assert len(model.batches) == 3
    assert files_below(tmp_path / "out") == []


# === What evaluation makes of them ===


def test_evaluation_names_detections_in_videos(model, voc_folder, tmp_path):
    video = write_video(tmp_path / "in" / "a.mp4", num_frames=1)
    assert predict(video, "--output", tmp_path / "out", *DOGS) == 0
    dataset = read_dataset(DataConfig(root=str(voc_folder)), "test", (), seed=0)
    message = (
        r"detections\.json: entry 1 of \d+, file_name = 'a\.mp4': the split 'test' has no such ima"
    )
    with pytest.raises(DataError, match=message):
        read_evaluated(tmp_path / "out" / "detections.json", dataset)
