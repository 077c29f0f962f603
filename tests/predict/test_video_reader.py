"""Videos are read frame by frame: every container, order, orientation, and what is broken."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from tests.predict.predicting import moving_image, write_png_video, write_video
from tf_frcnn.data import image as image_module
from tf_frcnn.errors import DataError
from tf_frcnn.predict import video
from tf_frcnn.predict.video import VideoReader

av = pytest.importorskip("av", reason="PyAV is not installed")

# [a, b, u], [c, d, v], [x, y, w] as 16.16 and 2.30 fixed point: (x, y) -> (a x + c y, b x + d y).
UPRIGHT_MATRIX = (1, 0, 0, 1)


def write_matrix(path, a, b, c, d):
    """Change the display matrix of the track in an MP4."""
    one = 1 << 16
    matrices = [
        struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
        for a, b, c, d in (UPRIGHT_MATRIX, (a, b, c, d))
    ]
    content = path.read_bytes()
    track = content.index(matrices[0], content.index(b"tkhd"))
    path.write_bytes(content[:track] + matrices[1] + content[track + 36 :])


@pytest.mark.parametrize("name", ["a.mp4", "a.MOV", "a.avi", "a.mkv", "a.webm", "http:é %03d.mp4"])
def test_frames_of_every_container_come_in_order(name, tmp_path):
    path = write_video(tmp_path / name, num_frames=6, rate=Fraction(30000, 1001))
    with VideoReader(path, apply_orientation=False, step=1) as video:
        frames = list(video)
    assert [frame.number for frame in frames] == list(range(6))
    # WebM counts in whole milliseconds, so that its 29.97 is a little off.
    assert float(video.rate) == pytest.approx(30000 / 1001, rel=0.01)
    assert (video.size, video.orientation) == ((48, 64), 1)
    assert video.num_expected in (6, None)
    for frame in frames:
        # Compression changes colours by a grey level or two; the next frame's differ by 20.
        expected = moving_image(frame.number)[4:12, 4:12]
        assert np.abs(frame.image[4:12, 4:12].astype(int) - expected).max() < 8


@pytest.mark.parametrize(("step", "numbers"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (9, [0])])
def test_every_frame_of_the_step_is_given(step, numbers, tmp_path):
    images = [moving_image(number, (35, 51)) for number in range(5)]
    path = write_png_video(tmp_path / "a.mov", images)
    with VideoReader(path, apply_orientation=False, step=step) as video:
        frames = list(video)
    assert [frame.number for frame in frames] == numbers
    for frame in frames:
        np.testing.assert_array_equal(frame.image, images[frame.number])
    assert (video.size, video.rate) == ((35, 51), Fraction(25, step))
    assert video.num_expected == len(numbers)


# === Orientation ===


@pytest.mark.parametrize(
    ("matrix", "orientation", "turn"),
    [
        (UPRIGHT_MATRIX, 1, lambda image: image),
        ((-1, 0, 0, 1), 2, np.fliplr),
        ((-1, 0, 0, -1), 3, lambda image: np.rot90(image, 2)),
        ((1, 0, 0, -1), 4, np.flipud),
        ((0, 1, 1, 0), 5, lambda image: image.transpose(1, 0, 2)),
        # x to the right becomes y downwards: a quarter clockwise, which rot90 counts as -1.
        ((0, 1, -1, 0), 6, lambda image: np.rot90(image, -1)),
        ((0, -1, -1, 0), 7, lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
        ((0, -1, 1, 0), 8, np.rot90),
        ((1, 1, -1, 1), 1, lambda image: image),  # an eighth: no orientation of EXIF
    ],
)
def test_the_display_matrix_is_applied_when_that_was_asked_for(matrix, orientation, turn, tmp_path):
    upright = moving_image(3, (35, 51))
    path = write_png_video(tmp_path / "a.mov", [upright, upright])
    write_matrix(path, *matrix)
    for apply_orientation, expected in ((False, upright), (True, turn(upright))):
        with VideoReader(path, apply_orientation, step=1) as video:
            frames = list(video)
        assert video.orientation == orientation
        assert video.size == expected.shape[:2]
        for frame in frames:
            np.testing.assert_array_equal(frame.image, expected)


# === Rate ===


class _Stream:
    def __init__(self, average_rate, guessed_rate):
        self.average_rate, self.guessed_rate = average_rate, guessed_rate


@pytest.mark.parametrize(
    ("average", "guessed", "expected"),
    [
        (Fraction(30000, 1001), Fraction(30), Fraction(30000, 1001)),
        (None, Fraction(24), 24),
        (Fraction(0), Fraction(90_000), 25),  # a clock is no rate
    ],
)
def test_the_rate_is_what_the_file_says_or_25(average, guessed, expected):
    assert video._read_rate(_Stream(average, guessed)) == expected


# === What cannot be read ===


def read_all(path):
    with VideoReader(path, apply_orientation=False, step=1) as video:
        return list(video)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.avi", "a.mkv", "a.webm"])
def test_a_file_that_was_cut_is_found_before_its_first_frame(name, tmp_path):
    path = write_video(tmp_path / name, num_frames=20)
    content = path.read_bytes()
    for length in (len(content) - 1, len(content) * 3 // 4):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=f"{name}: the video is cut short"):
            VideoReader(path, apply_orientation=False, step=1)


def test_a_cut_mp4_whose_index_stands_first(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=20, options={"movflags": "+faststart"})
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"a\.mp4: the video is cut short"):
        read_all(path)


def test_what_ffmpeg_cannot_decode_is_named(tmp_path):
    images = [moving_image(number) for number in range(4)]
    path = write_png_video(tmp_path / "a.mov", images)
    content = path.read_bytes()
    assert content.count(b"IHDR") == 4
    third = content.index(b"IHDR", content.index(b"IHDR", content.index(b"IHDR") + 4) + 4)
    path.write_bytes(content[:third] + b"XXXX" + content[third + 4 :])
    numbers = []
    with pytest.raises(DataError, match=r"a\.mov: the video cannot be decoded \(Invalid data"):
        with VideoReader(path, apply_orientation=False, step=1) as video:
            numbers += [frame.number for frame in video]


def test_an_unknown_codec_is_named(tmp_path):
    path = write_png_video(tmp_path / "a.mov", [moving_image(0)])
    path.write_bytes(path.read_bytes().replace(b"png ", b"xyz "))
    with pytest.raises(DataError, match=r"a\.mov: FFmpeg knows no decoder .* to H\.264"):
        read_all(path)


def test_frames_of_another_size_are_named(tmp_path):
    images = [moving_image(0), moving_image(1), moving_image(2, (50, 66))]
    path = write_png_video(tmp_path / "a.mov", images)
    with pytest.raises(DataError, match="frame 2 has 66 x 50 pixels, those before it 64 x 48"):
        read_all(path)


def write_sound(path, cover=False):
    """Write an MP4 with a tenth of a second of silence, and an image of its cover if wanted."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        streams = [sound]
        if cover:
            image = container.add_stream("mjpeg", rate=1)
            image.height, image.width, image.pix_fmt = 48, 64, "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic.value
            streams.append(image)
        silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        silence.sample_rate = 8000
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(sound.encode(silence))
        if cover:
            container.mux(image.encode(av.VideoFrame.from_ndarray(moving_image(0))))
        for stream in streams:
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("cover", [False, True])
def test_sound_is_no_video(cover, tmp_path):
    path = write_sound(tmp_path / "song.mp4", cover)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == cover
    with pytest.raises(DataError, match=r"song\.mp4: holds no video stream. Expected MP4"):
        read_all(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.mp4", "holds no video stream"),  # FFmpeg drops a track without content
        ("a.avi", "holds no frame. Expected a whole MP4"),
        ("a.mkv", r"the video cannot be decoded \(End of file\)"),
    ],
)
def test_a_video_without_frames(name, message, tmp_path):
    path = write_video(tmp_path / name, num_frames=0)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        read_all(path)


def test_frames_that_are_too_large_are_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", size=(48, 64))
    assert video.MAX_PIXELS == image_module.MAX_PIXELS
    monkeypatch.setattr(video, "MAX_PIXELS", 48 * 64)
    assert len(read_all(path)) == 6
    monkeypatch.setattr(video, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(DataError, match=r"too large \(64 x 48 pixels\).*at most 3,071 pixels"):
        read_all(path)


def test_lists_of_other_files_are_not_followed(tmp_path):
    write_video(tmp_path / "a.mp4")
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(DataError, match=r"list\.mp4: the content is not that of a video"):
        read_all(path)
