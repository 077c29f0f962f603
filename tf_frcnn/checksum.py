"""A checksum in front of an HDF5 file, by which damage is found before anything is read from it.

HDF5 leaves a block at the start of a file to its user (`userblock_size`); there stands the SHA-256
of all bytes behind it. So a file that was cut off, or in which a bit has changed, is told from a
whole one, and the file stays an ordinary HDF5 file.
"""

import hashlib
from pathlib import Path
from typing import BinaryIO

from tf_frcnn.given_files import EMPTY, open_file

BLOCK_SIZE = 512

_MARK = b"tf_frcnn, SHA-256 of all bytes from 512 on: "
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CHUNK = 1 << 20


def write_checksum(path: Path) -> None:
    """Write the checksum of a finished HDF5 file into its user block.

    Args:
        path: a file with a user block of `BLOCK_SIZE` bytes.

    Raises:
        OSError: it cannot be read or written.
    """
    with path.open("r+b") as file:
        file.seek(BLOCK_SIZE)
        digest = _digest(file)
        file.seek(0)
        file.write((_MARK + digest).ljust(BLOCK_SIZE, b"\0"))


def verify_checksum(path: Path) -> None:
    """See that a file is as `write_checksum` left it; HDF5 files without a checksum pass.

    Args:
        path: the file.

    Raises:
        OSError: it is missing or damaged.
    """
    with open_file(path) as file:
        block = file.read(BLOCK_SIZE)
        if not block:
            raise OSError(EMPTY)
        if block.startswith(_HDF5_SIGNATURE):  # written before there were checksums
            return
        if not block.startswith(_MARK):
            raise OSError("it begins neither with a checksum nor as an HDF5 file")
        if not block.startswith(_MARK + _digest(file)):
            raise OSError("its content is not what its checksum is of")


def _digest(file: BinaryIO) -> bytes:
    """Compute the SHA-256 of the rest of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest().encode("ascii")
