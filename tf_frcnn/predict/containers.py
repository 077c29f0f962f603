"""Video files by their bytes: which files are videos, and whether a video is complete.

FFmpeg plays what is left of a file that was cut short, without an error. But containers state
their own length, from which a truncated file is told before its first frame is decoded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tf_frcnn.data.image import read_image_size
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import open_file

VIDEO_EXTENSIONS = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})
VIDEO_FORMATS_TEXT = "MP4, MOV, AVI, MKV or WebM"

# Boxes that a file of MP4's family may begin with (ISO/IEC 14496-12, and QuickTime before it).
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
# Images of the same family (HEIF, AVIF), by the beginning of their brand.
_IMAGE_BRANDS = (b"hei", b"hev", b"mif1", b"msf1", b"avif", b"avis")
_CONTENT_BOXES = (b"mdat", b"moov", b"moof")  # what comes after may be anything
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"  # elements of Matroska and WebM (RFC 8794, 9559)


def is_video(path: Path) -> bool:
    """Tell whether a file is a video, by its content, or by its extension where that is unknown.

    Args:
        path: a file; where it cannot be read, its extension decides.
    """
    try:
        with open_file(path) as file:
            if _find_end(file.read(12)) is not None:
                return True
    except OSError:
        pass
    if path.suffix.lower() not in VIDEO_EXTENSIONS:
        return False
    try:
        read_image_size(path)
    except DataError:
        return True
    return False  # an image with the extension of a video


def check_whole(path: Path) -> None:
    """Check that a video is as long as it states.

    Args:
        path: the file.

    Raises:
        DataError: it cannot be opened, is empty, is of no known format, or was cut short.
    """
    try:
        with open_file(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            find_end = _find_end(file.read(12))
            end = find_end(file, size) if find_end else 0
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Expected a video.") from None
    if find_end is None:
        there = "the content is not that of a video" if size else "the file is empty"
        raise DataError(f"{path}: {there}. Expected {VIDEO_FORMATS_TEXT}.")
    if end > size:
        raise DataError(
            f"{path}: the video is cut short: it has {size:,} bytes and says that it goes on to "
            f"byte {end:,}. Expected the whole file: copy or download it again, or make a whole "
            "one of what is there: ffmpeg -i FILE -c copy OTHER."
        )


def _find_end(head: bytes) -> Callable[[BinaryIO, int], int] | None:
    """Recognise a container by its first 12 bytes.

    Returns:
        A function (file, its size) -> the end of the video as the file states it, 0 where it
        states none; None where the file is no video.
    """
    if head[4:8] in _FIRST_BOXES:
        is_image = head[4:8] == b"ftyp" and head[8:12].startswith(_IMAGE_BRANDS)
        return None if is_image else _end_of_boxes
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return _end_of_riff
    return _end_of_segment if head[:4] == _EBML else None


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Walk over the boxes of an MP4 or MOV: each is its length, 4 letters, and its content."""
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:  # too long for 4 bytes
            length = int.from_bytes(header[8:16], "big")
        if length < 8:  # 0 is "to the end of the file"; 1 to 7 are shorter than the header itself
            break
        if position + length > size and header[4:8] not in _CONTENT_BOXES:
            break
        position += length
    return position


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Walk over the RIFF chunks of an AVI: one, or several in a file beyond 1 GiB."""
    position = end = 0
    while position < size:
        file.seek(position)
        header = file.read(8)
        if header[:4] != b"RIFF":
            break
        length = int.from_bytes(header[4:], "little")
        end = position + 8 + length
        position = end + length % 2  # chunks begin at even bytes
    return end


def _end_of_segment(file: BinaryIO, size: int) -> int:
    """Find the end of the segment, which holds all of an MKV or WebM but a short header."""
    file.seek(len(_EBML))
    header_length = _read_length(file)
    if header_length is None or file.seek(header_length, 1) > size:
        return 0
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length = _read_length(file)
    return 0 if length is None else file.tell() + length


def _read_length(file: BinaryIO) -> int | None:
    """Read the length of an EBML element; None where it is unknown, as in a live recording."""
    first = file.read(1)
    if not first or first == b"\x00":
        return None
    num_bytes = 9 - first[0].bit_length()  # the first bit that is set says how many there are
    length = int.from_bytes(first + file.read(num_bytes - 1), "big")
    unknown = (1 << 7 * num_bytes) - 1  # all bits set
    length &= unknown
    return None if length == unknown else length
