"""Videos read frame by frame."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.data.image import MAX_PIXELS
from tf_frcnn.data.orientation import UPRIGHT, turn_upright
from tf_frcnn.errors import DataError
from tf_frcnn.predict.containers import VIDEO_FORMATS_TEXT, check_whole
from tf_frcnn.predict.pyav import load_pyav

# FFmpeg would also read lists of other files and of addresses, whatever the extension says.
_DEMUXERS = "mov,matroska,avi"  # mov is MP4's as well, matroska WebM's
_USUAL_RATE = Fraction(25)  # of files that do not say
_MAX_RATE = 1000  # what is above is no rate but a clock, as browsers write it into WebM

# Signs of a, b, c, d in (x, y) -> (a x + c y, b x + d y), y downwards: the orientation of EXIF.
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


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video: its `number` from 0, and `image` [H, W, 3] uint8 RGB."""

    number: int
    image: np.ndarray


class VideoReader:
    """Goes over the frames of a video, once; a context manager that closes the file.

    Both making one and going over it raise `DataError` where the file is no video, was cut short,
    or cannot be decoded.

    Args of `__init__`: `path`; `apply_orientation` turns frames upright, otherwise they are as
    stored; of every `step` frames the first is given.

    Attributes:
        size: (height, width) of the frames that are given.
        rate: how many of them make a second.
        num_expected: how many there are by what the file says; None where it does not say.
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
                f"{self._path}: holds no video stream. Expected {VIDEO_FORMATS_TEXT} with pictures "
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

    def __enter__(self) -> "VideoReader":
        """Give the reader itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Decode all frames, one in memory at a time, and give those that are wanted."""
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
        """Tell whether a stream is the picture that goes with a recording of sound."""
        return bool(stream.disposition & self._av.stream.Disposition.attached_pic)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what FFmpeg says into a `DataError`."""
        try:
            yield
        except self._av.FFmpegError as error:
            raise DataError(
                f"{self._path}: the video cannot be decoded ({error.strerror}). Expected a whole "
                f"{VIDEO_FORMATS_TEXT}; replace the file or convert it."
            ) from None


def _read_rate(stream: Any) -> Fraction:
    """Find how many frames make a second, on average where they do not come evenly."""
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
