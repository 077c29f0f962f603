"""What is in a folder: listed once, so that a name from a file never has to be used as a path."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tf_frcnn.data.faults import MAX_LISTED, enumerate_names
from tf_frcnn.errors import DataError
from tf_frcnn.names import normalise_name

Index = dict[str, list[Path]]  # name without extension -> files of that name


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder; what is not there is none.

    Raises:
        DataError: a folder above it may not be entered.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, error) from None


def list_folder(folder: Path) -> list[Path]:
    """List what a folder holds, sorted.

    Raises:
        DataError: it may not be read, or is no folder.
    """
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise _unreadable(folder, error) from None


def list_data_folders(root: Path) -> list[Path]:
    """List the folders that may hold a data set's files: the root and its visible sub-folders.

    Raises:
        DataError: the root may not be read.
    """
    visible = (path for path in list_folder(root) if not path.name.startswith("."))
    return [root, *(path for path in visible if is_folder(path))]


def index_files(folder: Path, extensions: Iterable[str]) -> Index:
    """List a folder's files by name without extension; hidden files are left out.

    Args:
        folder: its own files only, not those of its sub-folders.
        extensions: of the files to list, in lower case with the dot; files may have any case.

    Raises:
        DataError: the folder may not be read.
    """
    index: Index = {}
    for path in list_folder(folder):
        if path.suffix.lower() in extensions and not path.name.startswith("."):
            index.setdefault(normalise_name(path.stem), []).append(path)
    return index


def index_tree(folder: Path, extensions: Iterable[str]) -> Index:
    """List the files of a folder and of all its visible sub-folders.

    Args:
        folder: need not be there.
        extensions: as for `index_files`.

    Returns:
        The files by their paths from the folder, with `/`, without extension.

    Raises:
        DataError: a folder may not be read.
    """
    index: Index = {}
    pending = [folder] if is_folder(folder) else []
    while pending:
        for path in list_folder(pending.pop()):
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in extensions:
                name = path.relative_to(folder).with_suffix("").as_posix()
                index.setdefault(normalise_name(name), []).append(path)
            elif is_folder(path) and not path.is_symlink():  # a link may lead in a circle
                pending.append(path)
    return index


def index_data_folders(root: Path, name: str, extensions: Iterable[str]) -> dict[Path, Index]:
    """Index folder `name` of a data set with its sub-folders or, without it, all its folders.

    Empty ones are left out.

    Raises:
        DataError: a folder may not be read.
    """
    if is_folder(root / name):
        indices = {root / name: index_tree(root / name, extensions)}
    else:
        indices = {f: index_files(f, extensions) for f in list_data_folders(root)}
    return {folder: index for folder, index in indices.items() if index}


def only_folder(root: Path, what: str, name: str, indices: dict[Path, Index]) -> tuple[Path, Index]:
    """Get the one folder that was found by `index_data_folders`.

    Args:
        root: folder of the data set.
        what: what the files are, for messages.
        name: the folder that they were looked for in first.
        indices: the folders that hold such files.

    Raises:
        DataError: there is none, or more than one.
    """
    if len(indices) == 1:
        return next(iter(indices.items()))
    if indices:
        there = f"{what} in several folders: {enumerate_names(f.name for f in indices)}"
    else:
        folder = root / name if is_folder(root / name) else root
        there = f"no {what}; {folder}: {describe_folder(folder)}"
    raise DataError(
        f"{root}: {there}. Expected them in {name}, or in one other folder: {root} itself or a "
        "sub-folder of it."
    )


def describe_folder(folder: Path) -> str:
    """Describe what a folder holds, for messages about something that is not there.

    Raises:
        DataError: the folder may not be read.
    """
    if not is_folder(folder):
        return "this is a file" if folder.exists() else "there is no such folder"
    names = [path.name + "/" * is_folder(path) for path in list_folder(folder)]
    return f"the folder holds {enumerate_names(names)}" if names else "the folder is empty"


def survey_folder(folder: Path) -> str:
    """Describe a folder as `describe_folder` does, and count what its sub-folders hold.

    Raises:
        DataError: the folder may not be read.
    """
    parts = [describe_folder(folder)]
    for inside in list_data_folders(folder)[1:] if is_folder(folder) else []:
        try:
            paths = [path for path in list_folder(inside) if not path.name.startswith(".")]
        except DataError:
            parts.append(f"{inside.name}/ may not be read")
            continue
        kinds = Counter("folders" if p.is_dir() else p.suffix.lower() or "others" for p in paths)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        parts.append(f"{inside.name}/ holds {counts or 'nothing'}")
    rest = f"; and {len(parts) - MAX_LISTED} more" if len(parts) > MAX_LISTED else ""
    return "; ".join(parts[:MAX_LISTED]) + rest


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be read ({error.strerror or error}). Expected a folder that you may list "
        "and enter: `chmod -R u+rX DIR` gives its owner the permission."
    )
