"""Videos are written whole or not at all, and look as their frames do."""

import shutil
from fractions import Fraction

import numpy as np
import pytest

from tests.predict.predicting import moving_image, read_video
from tf_frcnn.errors import UserError
from tf_frcnn.predict import video
from tf_frcnn.predict.video import ENCODERS, VideoWriter

av = pytest.importorskip("av", reason="PyAV is not installed")

H264 = pytest.mark.skipif(
    "libx264" not in av.codecs_available, reason="this FFmpeg cannot write H.264"
)


def write(path, images, rate=Fraction(25)):
    with VideoWriter(path, images[0].shape[:2], rate) as writer:
        for image in images:
            writer.write(image)


@pytest.mark.parametrize(
    ("encoders", "codec"),
    [
        pytest.param(ENCODERS, "h264", marks=H264),
        (("no_such_encoder", "mpeg4"), "mpeg4"),
    ],
)
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(120_000, 1001)])
def test_frames_come_back(encoders, codec, rate, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "ENCODERS", encoders)
    images = [moving_image(number) for number in range(8)]
    write(tmp_path / "new" / "a.mp4", images, rate)
    frames, properties = read_video(tmp_path / "new" / "a.mp4")
    assert properties[:2] == (codec, "yuv420p")
    assert float(properties[2]) == pytest.approx(float(rate), rel=1e-6)
    assert len(frames) == 8
    for frame, image in zip(frames, images, strict=True):
        # The mean error of compression; the next frame's block alone would be 4.
        assert np.abs(frame.astype(int) - image).mean() < 3
    assert [path.name for path in tmp_path.rglob("*.*")] == ["a.mp4"]


@pytest.mark.parametrize("size", [(35, 51), (36, 51), (35, 52), (1, 1), (3, 400)])
def test_the_last_row_and_column_of_an_odd_size_are_repeated(size, tmp_path):
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([40 + 4 * rows, 20 + columns // 2, np.full(size, 90)], axis=-1)
    write(tmp_path / "a.mp4", [ramp.astype(np.uint8)] * 3)
    frames, _ = read_video(tmp_path / "a.mp4")
    expected = np.pad(ramp, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    for frame in frames:
        assert frame.shape == expected.shape
        # Colour is stored for 2 x 2 pixels: half a step of the ramps, and compression.
        assert np.abs(frame.astype(int) - expected).max() < 12


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with VideoWriter(tmp_path / "a.mp4", (48, 64), Fraction(25)) as writer:
            writer.write(moving_image(0))
            assert [path.name for path in tmp_path.iterdir()] == ["a.mp4.partial"]
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"a\.mp4: cannot be written \(.*another --output"):
        VideoWriter(tmp_path / "file" / "a.mp4", (48, 64), Fraction(25))
    (tmp_path / "a.mp4.partial").mkdir()
    with pytest.raises(UserError, match=r"a\.mp4: cannot be written \(.*directory"):
        VideoWriter(tmp_path / "a.mp4", (48, 64), Fraction(25))


def test_a_folder_that_vanishes_is_told(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(UserError, match=r"a\.mp4: cannot be written \(.*No such file"):
        with VideoWriter(folder / "a.mp4", (48, 64), Fraction(25)) as writer:
            writer.write(moving_image(0))
            shutil.rmtree(folder)
