"""Videos read and written frame by frame, with PyAV, which comes with the extra `[video]`."""

import itertools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.data.image import MAX_PIXELS
from tf_frcnn.data.orientation import UPRIGHT, turn_upright
from tf_frcnn.errors import DataError, UserError, install_command
from tf_frcnn.predict.containers import VIDEO_FORMATS_TEXT, check_whole
from tf_frcnn.predict.outputs import not_written

# FFmpeg would also open lists of other files and of addresses, whatever their extension.
_DEMUXERS = "mov,matroska,avi"  # mov also reads MP4, matroska also WebM
_USUAL_RATE = Fraction(25)  # of files that do not state theirs
_MAX_RATE = 1000  # above it stands a clock, which browsers write into WebM in place of the rate

# The EXIF orientation by the signs of a, b, c, d in (x, y) -> (a x + c y, b x + d y), y downwards.
_ORIENTATIONS: dict[tuple[int, ...], int] = {
    (1, 0, 0, 1): UPRIGHT,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}

ENCODERS = ("libx264", "libopenh264", "mpeg4")  # two of H.264, and one that every FFmpeg has
_CONSTANT_RATE_FACTOR = "20"  # of x264; lower is better and larger
_BITS_PER_PIXEL = 0.2  # for encoders without a constant rate factor
_BT_601 = 6  # the conversion from RGB to what is stored, as H.273 numbers them
_MAX_CLOCK = 65_535  # ticks a second, the most that MPEG-4 can state


def load_pyav() -> Any:
    """Import PyAV.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"videos are read with PyAV, which cannot be imported ({error}). Install it: "
            f"{install_command('video')}, or leave the videos out."
        ) from None
    return av


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video: its `number` from 0, and `image` [H, W, 3] uint8 RGB."""

    number: int
    image: np.ndarray


class VideoReader(AbstractContextManager["VideoReader"]):
    """Iterates once over the frames of a video; a context manager that closes the file.

    Both the constructor and the iteration raise `DataError` where the file is no video, was cut
    short, or cannot be decoded.

    Args of `__init__`: `path`; `apply_orientation` turns frames upright, otherwise they are as
    stored; the first of every `step` frames is yielded.

    Attributes:
        size: (height, width) of the frames that are yielded.
        rate: yielded frames per second.
        num_expected: how many will be yielded, if the file states its length; None if not.
        orientation: that the file states, 1 to 8 as EXIF numbers them.
    """

    def __init__(self, path: Path, apply_orientation: bool, step: int) -> None:
        self._av = load_pyav()
        self._path = path
        self._apply_orientation = apply_orientation
        self._step = step
        check_whole(path)
        with self._reading():
            self._container = self._av.open(
                os.path.abspath(path),  # a name with a colon would be taken for an address
                container_options={"format_whitelist": _DEMUXERS},
                metadata_errors="ignore",
            )
        try:
            self._start()
        except BaseException:
            self._container.close()
            raise

    def _start(self) -> None:
        """Find the stream and decode its first frame, which shows size and orientation."""
        streams = [stream for stream in self._container.streams.video if not self._is_cover(stream)]
        if not streams:
            raise DataError(
                f"{self._path}: holds no video stream. Expected {VIDEO_FORMATS_TEXT} with images "
                "in it."
            )
        stream = streams[0]
        if stream.codec_context is None:  # some releases of PyAV crash on going on
            raise DataError(
                f"{self._path}: FFmpeg knows no decoder for this video. Convert it first, to H.264."
            )
        stream.thread_type = "AUTO"
        frames = self._container.decode(stream)
        with self._reading():
            first = next(frames, None)
        if first is None:
            raise DataError(f"{self._path}: holds no frame. Expected a whole {VIDEO_FORMATS_TEXT}.")
        if first.height * first.width > MAX_PIXELS:
            raise DataError(
                f"{self._path}: the frames are too large ({first.width} x {first.height} pixels). "
                f"Expected at most {MAX_PIXELS:,} pixels; make the video smaller first."
            )
        self._frames = itertools.chain([first], frames)
        self.orientation = _read_orientation(first)
        self.size = self._to_array(first).shape[:2]
        self.rate = _read_rate(stream) / self._step
        self.num_expected = -(-stream.frames // self._step) or None

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Decode all frames, one in memory at a time, and yield the first of every `step`."""
        for number in itertools.count():
            with self._reading():
                frame = next(self._frames, None)
            if frame is None:
                return
            if number % self._step:
                continue
            image = self._to_array(frame)
            if image.shape[:2] != self.size:
                height, width = image.shape[:2]
                raise DataError(
                    f"{self._path}: frame {number} has {width} x {height} pixels, those before it "
                    f"{self.size[1]} x {self.size[0]}. Expected one size: convert the video first."
                )
            yield Frame(number, image)

    def _to_array(self, frame: Any) -> np.ndarray:
        with self._reading():
            image = frame.to_ndarray(format="rgb24")
        return turn_upright(image, self.orientation) if self._apply_orientation else image

    def _is_cover(self, stream: Any) -> bool:
        """Tell whether a stream is the cover image of a sound recording."""
        return bool(stream.disposition & self._av.stream.Disposition.attached_pic)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn errors of FFmpeg into a `DataError`."""
        try:
            yield
        except self._av.FFmpegError as error:
            raise DataError(
                f"{self._path}: the video cannot be decoded ({error.strerror}). Expected a whole "
                f"{VIDEO_FORMATS_TEXT}; replace the file or convert it."
            ) from None


def _read_rate(stream: Any) -> Fraction:
    """Find the frames per second, on average where they are not evenly spaced."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= _MAX_RATE:
            return Fraction(rate)
    return _USUAL_RATE


def _read_orientation(frame: Any) -> int:
    """Read the display matrix, rows [a, b, u], [c, d, v], [x, y, w] (ISO/IEC 14496-12, 6.2.2)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    matrix = np.frombuffer(bytes(data), np.int32)
    signs = tuple(int(sign) for sign in np.sign(matrix[[0, 1, 3, 4]]))
    return _ORIENTATIONS.get(signs, UPRIGHT)


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """Writes an MP4; a context manager.

    The file gets its name only when it is whole; after an error there is none. Colours are stored
    for 2 x 2 pixels together, so the last row or column of an odd size is written twice.

    The constructor, `write` and the end of the block raise `UserError` where the file cannot be
    written.

    Args of `__init__`: `path` of a file that does not exist, its folder is made; `size` (height,
    width) of the frames; `rate`, frames per second.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction) -> None:
        self._av = load_pyav()
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._padding = ((0, size[0] % 2), (0, size[1] % 2), (0, 0))
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.write_bytes(b"")  # else PyAV would fail later, half-way
        self._container = self._av.open(os.path.abspath(self._partial), "w", format="mp4")
        seconds = (1 / rate).limit_denominator(_MAX_CLOCK)
        stream = self._container.add_stream(
            self._find_encoder(), rate=1 / seconds, options={"crf": _CONSTANT_RATE_FACTOR}
        )
        stream.height, stream.width = (side + side % 2 for side in size)
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = round(_BITS_PER_PIXEL * stream.height * stream.width / seconds)
        stream.codec_context.colorspace = _BT_601
        self._stream = stream

    def write(self, image: np.ndarray) -> None:
        """Append a frame.

        Args:
            image: [H, W, 3] uint8 RGB.

        Raises:
            UserError: it cannot be written.
        """
        even = np.pad(image, self._padding, mode="edge")
        frame = self._av.VideoFrame.from_ndarray(even, format="rgb24")
        self._encode(frame.reformat(format="yuv420p", dst_colorspace="ITU601"))

    def __exit__(self, error_type: Any, *error: object) -> None:
        """Finish the file and give it its name, or remove it after an error."""
        try:
            if error_type is None:
                self._encode(None)
                with self._writing():
                    self._container.close()
                    self._partial.replace(self._path)
        finally:
            with suppress(self._av.FFmpegError):
                self._container.close()
            self._partial.unlink(missing_ok=True)

    def _encode(self, frame: Any) -> None:
        """Encode a frame; None flushes what the encoder still holds."""
        with self._writing():
            self._container.mux(self._stream.encode(frame))

    def _find_encoder(self) -> str:
        for name in ENCODERS[:-1]:
            with suppress(ValueError):  # PyAV's UnknownCodecError is one
                self._av.Codec(name, "w")
                return name
        return ENCODERS[-1]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn errors of FFmpeg and of the file system into a `UserError`."""
        try:
            yield
        except (self._av.FFmpegError, OSError) as error:
            raise not_written(self._path, error) from None
