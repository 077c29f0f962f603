"""Files that a command writes: whole or not at all, and never over what is there already."""

import errno
import itertools
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tf_frcnn.errors import UserError, advise

logger = logging.getLogger(__name__)

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)


# === Whole files ===


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


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write to; then give it its name.

    Args:
        path: the folder, which may be there and empty; those above it are made.

    Yields:
        A new folder in a hidden one beside it. It is removed if the block fails.

    Raises:
        OSError: it cannot be made or renamed, or the block raised it.
    """
    place = path.resolve()  # a link stays one: the folder comes to where it points
    missing = missing_folders(place.parent)
    place.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        folder = workshop / place.name  # one level down: nobody else could read mkdtemp's own
        folder.mkdir()
        yield folder
        if place.exists():
            place.rmdir()
        folder.rename(place)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
        remove_empty(missing)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files under temporary names, and rename them when all are whole.

    Args:
        files: each file's content.

    Raises:
        UserError: one cannot be written; nothing of any is left.
    """
    try:
        with ExitStack() as stack:
            for path, content in files.items():
                stack.enter_context(whole_file(path)).write_bytes(content)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}). {advise(error)}, or choose another "
            "place, then run the same command again."
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that no reader sees half of it.

    Raises:
        UserError: the file cannot be written.
    """
    write_together({path: (json.dumps(value, indent=2) + "\n").encode()})


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


# === Room for them ===


def move_aside(path: Path) -> Path | None:
    """Rename a file or folder to NAME.bak-TIME, if it exists; nothing is ever deleted.

    Returns:
        Where it is now; None where there was nothing.

    Raises:
        UserError: it cannot be renamed.
    """
    if not path.exists():
        return None
    name = f"{path.name}.bak-{time.strftime('%Y%m%d-%H%M%S')}"
    target = path.with_name(name)
    for number in itertools.count(2):  # rename() would replace a backup of the same second
        if not target.exists():
            break
        target = path.with_name(f"{name}-{number}")
    try:
        path.rename(target)
    except OSError as error:
        raise UserError(f"{path}: cannot be moved to {target} ({error.strerror}).") from None
    logger.info("%s was moved to %s", path, target)
    return target


def prepare_output(path: Path, overwrite: bool) -> None:
    """Make a folder for results, and see that nothing that is in it would be overwritten.

    Args:
        path: the folder.
        overwrite: move what is there to NAME.bak-TIME.

    Raises:
        UserError: there is something in it and `overwrite` is off; or it cannot be made.
    """
    if overwrite:
        move_aside(path)
    if path.is_dir() and any(path.iterdir()):
        raise UserError(
            f"{path}: there is something already. Give another --output, or --overwrite to move "
            "it to a .bak folder."
        )
    make_writable_folder(path, "--output")


def check_apart(output: Path, needed: Iterable[str | Path | None]) -> None:
    """Refuse an output in which lies what a command reads: --overwrite would move that away.

    Args:
        output: a folder, or a file.
        needed: what is read; names that are no file or folder, and None, are disregarded.

    Raises:
        UserError: one of them lies in it, or is it.
    """
    folder = output.resolve()
    for path in [Path(one) for one in needed if one]:
        if path.exists() and path.resolve().is_relative_to(folder):
            fault = "is" if path.resolve() == folder else "holds"
            raise UserError(
                f"--output {output}: {fault} {path}, which is an input. Give a place of its own."
            )


def missing_folders(path: Path) -> list[Path]:
    """List the folders that making one would make: itself and its parents, innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, innermost first, up to the first that is not empty or cannot be removed."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def check_writable_folder(path: Path, option: str) -> None:
    """See that a folder can be made, if it is not there, and written to; nothing is left behind.

    Args:
        path: the folder.
        option: that named it, for messages.

    Raises:
        UserError: it cannot be made or written to.
    """
    missing = missing_folders(path)
    try:
        make_writable_folder(path, option)
    finally:
        remove_empty(missing)


def make_writable_folder(path: Path, option: str) -> None:
    """Make a folder, if it is not there, and see that files can be made in it.

    Args:
        path: the folder.
        option: that named it, for messages.

    Raises:
        UserError: it cannot be made or written to.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{option} {path}: is a file. Expected a folder, or a name that is free.")
    doing = "made"
    try:
        path.mkdir(parents=True, exist_ok=True)
        doing = "written to"
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{option} {path}: the folder cannot be {doing} ({error.strerror}). Give one that can "
            "be written, or mend its permissions."
        ) from None


def prepare_file(path: Path, overwrite: bool) -> None:
    """See that a file can be written, and that nothing would be overwritten.

    Args:
        path: the file; its folder is made.
        overwrite: move what is there to NAME.bak-TIME.

    Raises:
        UserError: there is something already and `overwrite` is off; or its folder cannot be
            written to.
    """
    if path.is_dir():
        raise UserError(f"--output {path}: is a folder. Expected the name of a file.")
    if overwrite:
        move_aside(path)
    if path.exists():
        raise UserError(
            f"{path}: there is something already. Give another --output, or --overwrite to move "
            "it to a .bak file."
        )
    make_writable_folder(path.parent, "--output")
