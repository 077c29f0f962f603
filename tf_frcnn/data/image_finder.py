"""Where the images are that an annotation file names: by their paths, or by the last part of one.

Tools write the paths of the machine that they ran on: `C:/pics/a.jpg`, `../upload/a.jpg`. Such a
name is never used as a path. The folders are listed, and only files found there are opened, so that
no name leads out of them.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.folders import is_folder, list_folder
from tf_frcnn.data.image import IMAGE_EXTENSIONS
from tf_frcnn.data.splits import role_of
from tf_frcnn.errors import DataError
from tf_frcnn.names import normalise_name, quote

logger = logging.getLogger(__name__)


def image_folders(root: Path, split: str) -> list[Path]:
    """List the folders of a data set that a split's images may be in, the likeliest first."""
    names = dict.fromkeys(filter(None, (split, role_of(split))))  # train_annotations: also train
    folders = [folder / name for name in names for folder in (root, root / "images")]
    return list(dict.fromkeys([*folders, root / "images", root / "data", root]))


class ImageFinder:
    """Finds the images that a file names, by listing each folder once.

    An image that is not at its path is looked for by the last part of its name, in the folders and
    all below them but those of other splits, and taken where there is one such file that no
    other name has found. A name without extension may have any of an image.

    Args:
        folders: where to look, in this order; they need not be there.
        split: whose images they are.
    """

    def __init__(self, folders: Iterable[Path], split: str = "") -> None:
        self._folders = [folder for folder in folders if is_folder(folder)]
        self._role = role_of(split)
        self._listed: dict[Path, dict[str, Path]] = {}
        self._trees: dict[Path, dict[str, list[Path]]] = {}
        self._found: dict[Path, str] = {}
        self._by_last_part: dict[Path, str] = {}

    def find(self, file_name: str, place: str) -> Path:
        """Find the file of an image.

        Args:
            file_name: as it is stated.
            place: where, for messages: `FILE: images[3], file_name`.

        Raises:
            DataError: it is not there, or only its last part is and in several places.
        """
        # A backslash may belong to the name, elsewhere than on Windows.
        if "\\" in file_name or "/" not in file_name:
            for folder in self._folders:
                if path := self._list_names(folder).get(normalise_name(file_name)):
                    return self._take(path, file_name, place, exact=True)
        relative = PurePosixPath(file_name.replace("\\", "/"))  # written on Windows
        is_absolute = relative.is_absolute() or PureWindowsPath(file_name).is_absolute()
        leads_out = is_absolute or ".." in relative.parts
        for folder in [] if leads_out else self._folders:
            names = self._list_names(folder / relative.parent)
            if path := names.get(normalise_name(relative.name)):
                return self._take(path, file_name, place, exact=True)
        same: list[Path] = []
        for folder in self._folders:
            same = self._list_tree(folder).get(normalise_name(relative.name), [])
            if len(same) == 1:
                return self._take(same[0], file_name, place, exact=False)
            if same:
                break
        there = enumerate_names(sorted(map(str, same)))
        several = f"; of its last part there are several: {there}" if same else ""
        folders = enumerate_names(map(str, self._folders))
        if leads_out:
            raise DataError(
                f"{place} = {quote(file_name)}: leads out of the data set, and there is not one "
                f"image named {quote(relative.name)} in {folders}{several}. Expected a path inside "
                "of it, without `..`."
            )
        raise DataError(
            f"{place} = {quote(file_name)}: there is no such image in {folders}{several}."
        )

    def log_found(self, source: Path) -> None:
        """Say how many images were found by the last part of their names only.

        Args:
            source: of the names.
        """
        if self._by_last_part:
            path, file_name = next(iter(self._by_last_part.items()))
            logger.warning(
                "%s: images found by the last part of their names: %d; the first: %r is %s",
                source,
                len(self._by_last_part),
                file_name,
                path,
            )

    def _take(self, path: Path, file_name: str, place: str, exact: bool) -> Path:
        """Note who an image belongs to; one that was guessed may belong to no other name."""
        if path in self._found and not (exact and path not in self._by_last_part):
            raise DataError(
                f"{place} = {quote(file_name)}: the only image of that name, {path}, is "
                f"{quote(self._found[path])} already. Expected an image for each."
            )
        self._found.setdefault(path, file_name)
        if not exact:
            self._by_last_part[path] = file_name
        return path

    def _list_names(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            paths = list_folder(folder) if is_folder(folder) else []
            names = {normalise_name(path.name): path for path in paths}
            images = [path for path in paths if path.suffix.lower() in IMAGE_EXTENSIONS]
            stems = Counter(path.stem for path in images)
            for path in images:
                if stems[path.stem] == 1:
                    names.setdefault(normalise_name(path.stem), path)
            self._listed[folder] = names
        return self._listed[folder]

    def _list_tree(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._trees:
            tree: dict[str, list[Path]] = {}
            pending = [folder]
            while pending:
                for path in list_folder(pending.pop()):
                    if path.name.startswith("."):
                        continue
                    if path.suffix.lower() in IMAGE_EXTENSIONS:
                        tree.setdefault(normalise_name(path.name), []).append(path)
                        tree.setdefault(normalise_name(path.stem), []).append(path)
                    elif is_folder(path) and not path.is_symlink():
                        if role_of(path.name) in (None, self._role):
                            pending.append(path)
            self._trees[folder] = tree
        return self._trees[folder]
