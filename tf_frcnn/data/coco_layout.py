"""Where a COCO data set has what: the JSON file of each split, and the images of each file.

A split is the path of a JSON file (absolute or from the root), or a name. Its file is then
`annotations/instances_NAME.json`, `annotations/NAME.json`, `NAME.json` or, as Roboflow writes it,
`NAME/_annotations.coco.json`. Where there is a single JSON file without a split's name, the splits
train, val and test are made of it.

Images are looked for, in this order, in `NAME`, `images/NAME`, `images`, `data`, the root, and
beside the JSON file, by `image_finder`.
"""

import os
import re
from pathlib import Path

from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.folders import (
    Index,
    describe_folder,
    index_files,
    is_folder,
    list_data_folders,
)
from tf_frcnn.data.foreign_signs import DATUMARO
from tf_frcnn.data.image_finder import image_folders
from tf_frcnn.data.splits import MADE_SPLITS, match_split, names_a_split
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import open_file

LAYOUT = (
    "COCO JSON: annotations/instances_SPLIT.json, annotations/SPLIT.json, SPLIT.json or "
    "SPLIT/_annotations.coco.json, and images in SPLIT, images/SPLIT, images or the folder itself"
)
_PREFIX = "instances_"
_ROBOFLOW_NAME = "_annotations.coco.json"
RESULTS_TEXT = (
    "is a file of detections (COCO's results), no data set: it names no images. Expected the "
    "annotations; detections are judged by `tf-frcnn evaluate --detections FILE --data.root DIR`."
)
_RESULTS_KEYS = ("image_id", "category_id", "score")
_COCO_LIST = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_BYTES_LOOKED_AT = 1 << 16  # of files of hundreds of megabytes: the first list begins before


def detect_coco(root: Path) -> bool:
    """Tell whether a folder looks like a COCO data set: has JSON files of that form.

    Raises:
        DataError: a folder may not be read.
    """
    return is_folder(root) and bool(_list_coco_files(root))


def explain_missing_coco_split(root: Path, split: str, image_folder: Path | None = None) -> str:
    """Say what is there instead of a split: one message, or "" where the split is there.

    Which splits there are does not depend on the images, wherever they are.
    """
    if not is_folder(root):
        return f"{root}: {describe_folder(root)}. Expected a data set, {LAYOUT}."
    if _files_named(root, split):
        return ""
    if _is_path(split):
        return f"{root / split}: there is no such file. Expected COCO JSON, or a split's name."
    if single := _single_file(root):
        if split in MADE_SPLITS:
            return ""
        return (
            f"{root}: split {split!r} cannot be made: {single.name} is the only COCO JSON file, "
            f"so its images are divided into {', '.join(MADE_SPLITS)}. Expected one of these, or "
            "the path of a JSON file."
        )
    names = sorted({split_name(root, path) for path in _list_coco_files(root)})
    if not names:
        return f"{root}: no COCO JSON file: {describe_folder(root)}. Expected {LAYOUT}."
    return (
        f"{root}: there is no split {split!r}. Expected one of the splits that are there: "
        f"{enumerate_names(names)}; or the path of a JSON file."
    )


def _index_splits(root: Path) -> Index:
    """List the files that may be splits, by the split's name."""
    index: Index = {}
    for folder in (root / "annotations", root):
        for paths in index_files(folder, {".json"}).values() if is_folder(folder) else ():
            for path in paths:
                index.setdefault(split_name(root, path), []).append(path)
    for folder in list_data_folders(root)[1:]:
        # Asked for by name: to list folders of 100,000 images again and again takes long.
        if os.path.isfile(path := folder / _ROBOFLOW_NAME):
            index.setdefault(split_name(root, path), []).append(path)
    return index


def split_name(root: Path, path: Path) -> str:
    """Get the name of the split that a JSON file is."""
    if path.name == _ROBOFLOW_NAME and path.parent != root:
        return path.parent.name
    return path.stem.removeprefix(_PREFIX)


def _list_coco_files(root: Path) -> list[Path]:
    """List those of the files that are COCO's by their name or their beginning."""
    return [path for paths in _index_splits(root).values() for path in paths if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    if path.name.startswith(_PREFIX) or path.name == _ROBOFLOW_NAME:
        return True
    start = _read_start(path)
    is_coco = start.startswith(b"{") and _COCO_LIST.search(start) and not DATUMARO.search(start)
    return bool(is_coco)


def explain_results_file(path: Path) -> str:
    """Say that a JSON file holds detections in COCO's form, by its beginning; "" where not."""
    start = _read_start(path)
    is_results = start.startswith(b"[") and all(f'"{k}"'.encode() in start for k in _RESULTS_KEYS)
    return f"{path}: {RESULTS_TEXT}" if is_results else ""


def _read_start(path: Path) -> bytes:
    """Read how a JSON file begins; b"" where it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read(_BYTES_LOOKED_AT).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return b""


def _is_path(split: str) -> bool:
    return split.lower().endswith(".json")


def _files_named(root: Path, split: str) -> list[Path]:
    """List the files that a split's name or path means."""
    if not _is_path(split):
        index = _index_splits(root)
        if split not in index and split in MADE_SPLITS:
            there = {split_name(root, path) for path in _list_coco_files(root)}
            return index.get(match_split(split, there), [])
        return index.get(split, [])
    path = root / split  # an absolute path stays as it is
    return [path] if os.path.isfile(path) else []


def _single_file(root: Path) -> Path | None:
    """Find the file that splits are made of: the only one, unless it has a split's name."""
    paths = _list_coco_files(root)
    if len(paths) != 1 or names_a_split(split_name(root, paths[0])):
        return None
    return paths[0]


def real_name(root: Path, split: str) -> str:
    """Get the name under which a split that is there goes: `valid` for `val`; a path is its own."""
    paths = _files_named(root, split)
    return split_name(root, paths[0]) if paths and split in MADE_SPLITS else split


def find_files(root: Path, splits: tuple[str, ...]) -> tuple[dict[str, Path], bool]:
    """Find the file of each split.

    Args:
        root: folder of the data set.
        splits: names or paths, of which `explain_missing_coco_split` says that they are there.

    Returns:
        The file of each split; and whether they have to be made, all from that one file.

    Raises:
        DataError: a name means several files, or some splits would be made and others not, so
            that an image could be trained on and evaluated.
    """
    named = {split: _files_named(root, split) for split in splits}
    for split, paths in named.items():
        if len(paths) > 1:
            there = enumerate_names(str(path.relative_to(root)) for path in paths)
            raise DataError(
                f"{root}: split {split!r} is there more than once: {there}. Expected one file; "
                "give its path as the split."
            )
    paths_of_splits = {split: paths[0] for split, paths in named.items() if paths}
    made = [split for split in splits if split not in paths_of_splits]
    single = _single_file(root) if made else None
    if single is None:
        return paths_of_splits, False
    if paths_of_splits:
        raise DataError(
            f"{root}: {', '.join(made)} would be made from {single.name}, and "
            f"{', '.join(paths_of_splits)} may hold the same images. Expected "
            f"{', '.join(MADE_SPLITS)}, all made from it, or no other split than those of files: "
            f"{' '.join(f'`--data.{split}-split none`' for split in made)}."
        )
    return dict.fromkeys(made, single), True


# === Images ===


def image_folders_of(root: Path, path: Path) -> list[Path]:
    """List the folders that a JSON file's images may be in, the likeliest first."""
    folders = image_folders(root, split_name(root, path))
    if path.parent.is_relative_to(root) and ".." not in path.parts:
        folders.append(path.parent)
    return list(dict.fromkeys(folders))
