"""Files that a user gives: opened in one place, and only those that end.

To open a named pipe would be to wait for whoever writes to it, and a device such as /dev/zero is
read for ever. What is no ordinary file is refused before it is opened, as an `OSError` whose
`strerror` says what it is, so that it is told like a file that may not be read.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a named pipe, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
    (stat.S_ISCHR, "it is a device, not a file"),
    (stat.S_ISBLK, "it is a device, not a file"),
)
EMPTY = "the file is empty"


def check_file(path: str | Path, may_be_empty: bool = True) -> None:
    """See that a file is there and is an ordinary one, without opening it.

    Args:
        path: links are followed.
        may_be_empty: of 0 bytes.

    Raises:
        OSError: it is not there, is something else, or is empty; `strerror` says which.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for is_kind, words in _KINDS if is_kind(status.st_mode)), "no file")
        raise OSError(errno.EINVAL, kind, str(path))
    if status.st_size == 0 and not may_be_empty:
        raise OSError(errno.EINVAL, EMPTY, str(path))


def open_file(path: str | Path) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        OSError: it cannot be opened, or is no ordinary file.
    """
    check_file(path)
    return open(path, "rb")


def open_text(path: str | Path, encoding: str = "utf-8-sig", **options: Any) -> TextIO:
    """Open a file to read its text; the options are those of `open`.

    Raises:
        OSError: it cannot be opened, or is no ordinary file.
    """
    check_file(path)
    return cast(TextIO, open(path, encoding=encoding, **options))


def read_bytes(path: str | Path) -> bytes:
    """Read a file that must hold something.

    Raises:
        OSError: it cannot be read, is no ordinary file, or is empty.
    """
    with open_file(path) as file:
        content = file.read()
    if not content:
        raise OSError(errno.EINVAL, EMPTY, str(path))
    return content


def read_text(path: str | Path, encoding: str = "utf-8-sig") -> str:
    """Read a text file, which may be empty.

    Raises:
        OSError: it cannot be read, or is no ordinary file.
        UnicodeDecodeError: it is in another encoding.
    """
    with open_text(path, encoding) as file:
        return file.read()


def reason_of(error: Exception) -> str:
    """Give an error's words, without its number and the file's name."""
    return getattr(error, "strerror", None) or str(error)
