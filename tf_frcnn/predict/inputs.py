"""The files that the inputs of `tf-frcnn predict` stand for."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.data.image import IMAGE_EXTENSIONS
from tf_frcnn.predict.containers import VIDEO_EXTENSIONS

_EXTENSIONS = IMAGE_EXTENSIONS | VIDEO_EXTENSIONS


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        batch_size: images or frames a call of the model.
        frame_step: of a video, every Nth frame is looked at; its drawing plays as fast as it does.
        apply_exif: turn images and videos upright first.
    """

    batch_size: int
    frame_step: int
    apply_exif: bool


def find_inputs(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Find the images and videos that the arguments of a command stand for.

    Args:
        inputs: files, whatever their extension; folders, which stand for the files directly in
            them that have an image's or a video's extension and are not hidden; globs (`**` for
            folders at any depth), which stand for what a shell would expand them to. The name of
            an existing file or folder is never taken as a glob.

    Returns:
        The files, each once, in the order of the arguments and by name within each; and a message
        for each argument that matches nothing.
    """
    files: dict[str, Path] = {}  # absolute path -> as it was given
    problems = []
    for argument in inputs:
        found = list(_expand(argument))
        for path in found:
            files.setdefault(os.path.abspath(path), path)
        if not found:
            problems.append(_nothing_there(Path(argument)))
    return list(files.values()), problems


def _expand(argument: str) -> Iterator[Path]:
    is_name = os.path.lexists(argument)
    for match in [argument] if is_name else sorted(glob.glob(argument, recursive=True)):
        path = Path(match)
        if not path.is_dir():
            yield path
            continue
        for entry in sorted(path.iterdir()):
            hidden = entry.name.startswith(".")  # as are the files ._NAME.jpg of macOS
            if entry.suffix.lower() in _EXTENSIONS and not hidden and entry.is_file():
                yield entry


def _nothing_there(path: Path) -> str:
    if path.is_dir():
        extensions = ", ".join([*sorted(IMAGE_EXTENSIONS), *sorted(VIDEO_EXTENSIONS)])
        return (
            f"{path}: there is no image or video directly in this folder. Expected files that "
            f"end in {extensions}; quote a glob for those in sub-folders: "
            f"'{path / '**' / '*.jpg'}'."
        )
    hint = ""
    if "[" in str(path):  # a glob takes [...] as a choice of letters
        escaped = str(path).replace("[", "[[]")
        hint = f" Brackets that belong to a name are written so: '{escaped}'."
    return f"{path}: there is no such file or folder, and no glob that matches one.{hint}"


def common_folder(files: Sequence[Path]) -> Path:
    """Find the deepest folder that holds all of at least one files, as an absolute path."""
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in files]))


def relative_name(path: Path, folder: Path) -> str:
    """Name a file by its path below an absolute folder that holds it, with slashes."""
    return Path(os.path.abspath(path)).relative_to(folder).as_posix()
