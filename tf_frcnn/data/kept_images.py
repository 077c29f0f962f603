"""Images that came out of a data set's own files, kept as files in the user's cache.

The rest of the project knows images by their paths. An image is written once and found again
later; the folder may be deleted at any time between two commands.
"""

import hashlib
import os
from pathlib import Path, PurePosixPath

from tf_frcnn.cache_folder import cache_folder
from tf_frcnn.errors import DataError, advise

_MAX_NAME_BYTES = 200  # file systems allow 255, and the name gets an ending while it is written


def kept_folder(*parts: str) -> Path:
    """Name a folder for images in the user's cache; it need not be there.

    Args:
        parts: names of folders inside of the cache; what could lead out of it is replaced.

    Raises:
        DataError: the user has no home and so no cache.
    """
    try:
        folder = cache_folder()
    except RuntimeError as error:
        raise DataError(
            f"there is no folder to keep images in ({error}). Expected a home, or the name of a "
            "folder in the environment variable XDG_CACHE_HOME."
        ) from None
    return folder.joinpath(*(_as_one_name(part) for part in parts))


def keep_image(folder: Path, stated_name: str, fallback: str, content: bytes) -> Path:
    """Write an image's file, unless it is there already.

    The file is in a sub-folder named by its content. So images of one name don't meet, and an
    image that changed is another file: no run that goes on beside this one sees it change.

    Args:
        folder: for the images of one split.
        stated_name: the image's file name as the data have it; folders in it are left out.
        fallback: the name to use where that one is no name for a file.
        content: of the file.

    Raises:
        DataError: the disk is full, or the folder cannot be written.
    """
    name = _as_file_name(stated_name) or _as_one_name(fallback)
    path = folder / hashlib.blake2b(content, digest_size=10).hexdigest() / name
    partial = path.with_name(f"{name}.{os.getpid()}.partial")
    try:
        if path.is_file() and path.stat().st_size == len(content):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: the image cannot be written ({error.strerror or error}). Expected a folder "
            f"that can be written, with room for all images. {advise(error)}, or name another one "
            "by the environment variable XDG_CACHE_HOME."
        ) from None
    return path


def _as_file_name(stated: str) -> str:
    """Take a file's name out of a path, "" where it has none that can be used."""
    name = PurePosixPath(stated.replace("\\", "/")).name
    usable = name != ".." and name.isprintable() and len(os.fsencode(name)) <= _MAX_NAME_BYTES
    return name if usable else ""


def _as_one_name(text: str) -> str:
    """Make a name for a file or folder that is no path."""
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)
    return name if name.strip(".") else "_"
