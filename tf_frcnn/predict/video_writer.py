"""Videos written frame by frame, as MP4."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.predict.outputs import not_written
from tf_frcnn.predict.pyav import load_pyav

ENCODERS = ("libx264", "libopenh264", "mpeg4")  # two of H.264, and one that every FFmpeg has
_CONSTANT_RATE_FACTOR = "20"  # of x264; lower is better and larger
_BITS_PER_PIXEL = 0.2  # for those that know no such factor
_BT_601 = 6  # as H.273 numbers the matrices that lead from RGB to what is stored
_MAX_CLOCK = 65_535  # ticks a second, the most that MPEG-4 can state


class VideoWriter:
    """Writes an MP4; a context manager.

    The file has its name only when it is whole, and after an error there is none. Colours are
    stored for 2 x 2 pixels together, so the last row or column of an odd size is written twice.

    Making one, writing and leaving the block raise `UserError` where the file cannot be written.

    Args of `__init__`: `path` of a file that does not exist, its folder is made; `size` (height,
    width) of the frames; `rate`, how many of them make a second.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction) -> None:
        self._av = load_pyav()
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._padding = ((0, size[0] % 2), (0, size[1] % 2), (0, 0))
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.write_bytes(b"")  # PyAV would find out later that it cannot
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

    def __enter__(self) -> "VideoWriter":
        """Give the writer itself."""
        return self

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
        """Encode a frame, or what is still held back when it is None."""
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
        """Turn what FFmpeg and the file system say into a `UserError`."""
        try:
            yield
        except (self._av.FFmpegError, OSError) as error:
            raise not_written(self._path, error) from None
