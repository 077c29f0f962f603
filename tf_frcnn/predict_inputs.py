"""The pictures that `tf-frcnn predict` is asked for: which they are, and their pixels."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from tf_frcnn.data.image import PICTURE_EXTENSIONS, PICTURE_FORMATS, read_image

UPRIGHT = 1  # the EXIF orientation of a picture that is stored as it is to be seen


def find_pictures(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Find the pictures that the arguments of a command stand for.

    Args:
        inputs: files, whatever their extension; folders, which stand for the files directly in
            them that have a picture's extension and are not hidden; globs (`**` for folders at any
            depth), which stand for what a shell would make of them. What exists under the very
            name is no glob.

    Returns:
        The files, each once, in the order of the arguments and by name within one; and a message
        for each argument that stands for nothing.
    """
    pictures: dict[str, Path] = {}  # absolute path -> as it was given
    problems = []
    for argument in inputs:
        found = list(_expand(argument))
        for path in found:
            pictures.setdefault(os.path.abspath(path), path)
        if not found:
            problems.append(_nothing_there(Path(argument)))
    return list(pictures.values()), problems


def _expand(argument: str) -> Iterator[Path]:
    is_name = os.path.lexists(argument)
    for match in [argument] if is_name else sorted(glob.glob(argument, recursive=True)):
        path = Path(match)
        if not path.is_dir():
            yield path
            continue
        for entry in sorted(path.iterdir()):
            hidden = entry.name.startswith(".")  # "._NAME.jpg" of a Mac is no picture
            if entry.suffix.lower() in PICTURE_EXTENSIONS and not hidden and entry.is_file():
                yield entry


def _nothing_there(path: Path) -> str:
    if path.is_dir():
        extensions = ", ".join(sorted(PICTURE_EXTENSIONS))
        return (
            f"{path}: there is no picture directly in this folder. Expected files that end in "
            f"{extensions}; quote a glob for those in sub-folders: '{path / '**' / '*.jpg'}'."
        )
    return (
        f"{path}: there is no such file or folder, and no glob that matches one. Expected pictures."
    )


def common_folder(pictures: Sequence[Path]) -> Path:
    """Find the deepest folder that all pictures lie in.

    Args:
        pictures: at least one file.

    Returns:
        The folder, absolute.
    """
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in pictures]))


def relative_name(path: Path, folder: Path) -> str:
    """Name a picture by its path below a folder, with slashes.

    Args:
        path: of the picture.
        folder: absolute, one that the picture lies in.
    """
    return Path(os.path.abspath(path)).relative_to(folder).as_posix()


def read_orientation(path: Path) -> int:
    """Read the EXIF orientation of a picture.

    Args:
        path: a picture that can be decoded.

    Returns:
        1 to 8, as EXIF numbers them; 1 (`UPRIGHT`) where there is none, or none that makes sense.
    """
    orientation: object = None
    with suppress(Exception):  # broken metadata make Pillow raise nearly anything
        with Image.open(path, formats=PICTURE_FORMATS) as picture:
            orientation = picture.getexif().get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else UPRIGHT


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels to how a viewer shows them.

    Args:
        image: [H, W, 3].
        orientation: 1 to 8 of EXIF 2.32, table 6: 1 to 4 keep rows as rows, 5 to 8 make columns
            of them.

    Returns:
        [H, W, 3], or [W, H, 3] for orientations 5 to 8.
    """
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def read_picture(path: Path, apply_exif: bool) -> tuple[np.ndarray, int]:
    """Read a picture, and how it is to be turned.

    Args:
        path: the file.
        apply_exif: turn the pixels upright; otherwise they are returned as stored.

    Returns:
        [H, W, 3] uint8 RGB, and the EXIF orientation that the file states.

    Raises:
        DataError: the picture cannot be read.
    """
    image = read_image(path)
    orientation = read_orientation(path)
    return turn_upright(image, orientation) if apply_exif else image, orientation
