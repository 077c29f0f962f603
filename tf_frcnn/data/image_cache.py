"""Which images were decoded without a fault before: a small SQLite file in the user's cache.

An image is known as long as its path, its length in bytes and its time of change stay the same,
and so do Pillow, which decoded it, and the formats that it reads. The file may be deleted at any
time. Where it can't be read or written, nothing is known and nothing is kept, and that is said once
by who checks images. Kept are facts of the files: sizes are those of the stored pixels, whatever is
done about EXIF orientations.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import PIL

from tf_frcnn.cache_folder import cache_folder
from tf_frcnn.data.image import IMAGE_FORMATS
from tf_frcnn.data.orientation import UPRIGHT

logger = logging.getLogger(__name__)

_FILE_NAME = "images-4.sqlite"  # the number changes with the table and with what is a fault
_TABLE = """
CREATE TABLE IF NOT EXISTS images (
    path BLOB PRIMARY KEY, bytes INTEGER, changed_ns INTEGER, decoder TEXT,
    height INTEGER, width INTEGER, brightest INTEGER, orientation INTEGER
) WITHOUT ROWID"""
_LOCK_SECONDS = 2  # how long another run's writing is waited for


@dataclass(frozen=True)
class ImageState:
    """What of an image's file must stay the same for the image to stay known."""

    path: bytes  # names need not be valid text
    num_bytes: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> "ImageState":
        """Look at a file.

        Raises:
            OSError: it is not there, or may not be looked at.
        """
        status = path.stat()
        return cls(os.fsencode(os.path.abspath(path)), status.st_size, status.st_mtime_ns)


class DecodedImage(NamedTuple):
    """What decoding showed.

    Attributes:
        height: of the stored pixels.
        width: of the stored pixels.
        brightest: of an image of 16 bits a channel, the largest of its high bytes; None of others.
        orientation: of EXIF.
    """

    height: int
    width: int
    brightest: int | None = None
    orientation: int = UPRIGHT


class ImageCache:
    """Remembers images that were decoded; use `open_image_cache`.

    Args of `__init__`: `connection` to the file, or None to know and keep nothing; whether it
    `is_only_asked`, as in `open_image_cache`.
    """

    def __init__(self, connection: sqlite3.Connection | None, is_only_asked: bool = False) -> None:
        self._connection = connection
        self._is_only_asked = is_only_asked

    def find(self, state: ImageState) -> DecodedImage | None:
        """Get what was decoded from a file in this state, or None."""
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(
                "SELECT height, width, brightest, orientation FROM images "
                "WHERE path = ? AND bytes = ? AND changed_ns = ? AND decoder = ?",
                (state.path, state.num_bytes, state.changed_ns, _decoder()),
            ).fetchone()
            return row and DecodedImage(*row)
        except sqlite3.Error as error:
            self._give_up(error)
            return None

    def add(self, decoded: Sequence[tuple[ImageState, DecodedImage]]) -> None:
        """Keep what was decoded, in one transaction."""
        if self._connection is None:
            return
        rows = [
            (state.path, state.num_bytes, state.changed_ns, _decoder(), *image)
            for state, image in decoded
        ]
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._connection = None
        if not self._is_only_asked:
            _log_unusable(error)


@contextmanager
def open_image_cache(is_only_asked: bool = False) -> Iterator[ImageCache]:
    """Open the user's cache, a file in `cache_folder()`.

    Args:
        is_only_asked: nothing will be added; it is not made, and that it can't be used is not said.
    """
    with ExitStack() as stack:
        connection = None
        try:
            file = cache_folder() / _FILE_NAME
            if not is_only_asked:
                file.parent.mkdir(parents=True, exist_ok=True)
            if not is_only_asked or file.is_file():
                connection = sqlite3.connect(file, timeout=_LOCK_SECONDS)
                stack.enter_context(closing(connection))
            if connection and not is_only_asked:
                connection.execute(_TABLE)
        except (OSError, RuntimeError, sqlite3.Error) as error:
            connection = None
            if not is_only_asked:
                _log_unusable(error)
        yield ImageCache(connection, is_only_asked)


def _decoder() -> str:
    return " ".join((PIL.__version__, *IMAGE_FORMATS))


def _log_unusable(error: Exception) -> None:
    logger.info("images are checked without a cache (%s)", error)
