"""Files that are there whole or not at all, whatever kills the process or the machine."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; then flush that file to the disk and rename it.

    Args:
        path: the file, in a folder that is there; what it holds stays until the new one is whole.

    Yields:
        `path` with `.partial` behind it. It is removed if the block or the disk fails.

    Raises:
        OSError: the file cannot be flushed or renamed, or the block raised it.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # it may not even be there
            partial.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Flush the new name itself, without which a crash of the machine may bring the old one back.

    Some file systems cannot do that to a folder.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
