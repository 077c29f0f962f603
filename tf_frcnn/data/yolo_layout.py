"""Where a YOLO data set has what: class names, the images of each split, the labels of each image.

Known are the `data.yaml` of Ultralytics, `obj.data` and lists of Darknet, and folders without
either: `images/SPLIT` + `labels/SPLIT`, `SPLIT/images` + `SPLIT/labels`, and one folder of images
with labels in `labels` or beside them, of which the splits train, val and test are made.

Paths in these files are those of the machine that they were written on. Of each the longest part at
its end that is there below the root is taken, so that none leads out of it.

Images may be in another folder, laid out as they would be in the data set's: `images/train` is
looked for there, and the labels of `train/a.jpg` are `labels/train/a.txt` in the data set's folder.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.folders import (
    describe_folder,
    index_files,
    index_tree,
    is_folder,
    list_data_folders,
    list_folder,
)
from tf_frcnn.data.image import IMAGE_EXTENSIONS
from tf_frcnn.data.splits import MADE_SPLITS, match_split, role_of
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import read_text, reason_of
from tf_frcnn.names import normalise_name, quote

logger = logging.getLogger(__name__)

LAYOUT = (
    "YOLO: data.yaml, obj.data, or images/SPLIT and labels/SPLIT with a text file an image and "
    "classes.txt"
)
_NAMES_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_SPLIT_KEYS = ("train", "val", "valid", "test")


@dataclass(frozen=True, eq=False)
class YoloSet:
    """What is known of a data set before its labels are read.

    Attributes:
        class_names: by their ids, from 0; empty where no file says them.
        splits: the folders and lists of each split's images; empty where splits have to be made.
        missing: what is said of splits that are not there.
        source: the file that says it, or the root.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[Path, ...]]
    missing: Mapping[str, str]
    source: Path


def detect_yolo(root: Path) -> bool:
    """Tell whether a folder looks like a YOLO data set: a file that describes one, or labels.

    Raises:
        DataError: a folder may not be read.
    """
    if not is_folder(root):
        return False
    if _find_description(root) is not None:
        return True
    folders = list_data_folders(root)
    labels = [path for folder in folders if is_folder(path := folder / "labels")]
    beside = [folder for folder in folders if any(is_file(folder / n) for n in _NAMES_FILES)]
    inside = [
        path
        for folder in labels
        for path in list_data_folders(folder)[1:]
        if role_of(path.name)  # labels/train
    ]
    return any(map(_holds_labels, [*labels, *inside, *beside, *_darknet_folders(root)]))


def explain_missing_yolo_split(root: Path, split: str, image_folder: Path | None = None) -> str:
    """Say what is there instead of a split: one message, or "" where the split is there.

    Args:
        root: folder of the data set.
        split: its name.
        image_folder: where the images are, if not in the data set's folder.

    Raises:
        DataError: a file that describes the data set cannot be read.
    """
    if not is_folder(root):
        return f"{root}: {describe_folder(root)}. Expected a data set, {LAYOUT}."
    found = open_yolo(root, image_folder)
    if match_split(split, found.splits) or (
        not found.splits and not found.missing and split in MADE_SPLITS
    ):
        return ""
    if reason := match_split(split, found.missing):
        return f"{found.source}: {found.missing[reason]}."
    if found.splits:
        return (
            f"{found.source}: there is no split {split!r}. Expected one of the splits that are "
            f"there: {enumerate_names(found.splits)}."
        )
    return (
        f"{root}: split {split!r} cannot be made: there is neither data.yaml nor a list nor a "
        f"folder of a split, so the images are divided into {', '.join(MADE_SPLITS)}. Expected one "
        "of these."
    )


def open_yolo(root: Path, image_folder: Path | None = None) -> YoloSet:
    """Read what describes a data set: classes and splits, not yet images.

    Args:
        root: folder of the data set.
        image_folder: where the images are, if not there.

    Raises:
        DataError: a file cannot be read, or says something that cannot be.
    """
    description = _find_description(root)
    if description is None:
        return YoloSet(_read_names_file(root), _find_split_sources(root, image_folder), {}, root)
    is_yaml = description.suffix != ".data"
    content = _read_yaml(description) if is_yaml else _read_darknet(description)
    base = content.get("path", "") if is_yaml else ""
    splits: dict[str, tuple[Path, ...]] = {}
    missing: dict[str, str] = {}
    for key in _SPLIT_KEYS:
        values = content.get(key) or []
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise DataError(
                f"{description}: {key} = {values!r}. Expected a path, or a list of some."
            )
        paths = [_find_source(root, image_folder, value, str(base or "")) for value in values]
        if lost := [value for value, path in zip(values, paths, strict=True) if path is None]:
            places = " or ".join(str(folder) for folder in (root, image_folder) if folder)
            missing[key] = f"{key} = {lost[0]!r}: there is no such folder or list in {places}"
        elif values:
            splits[key] = tuple(path for path in paths if path is not None)
    if is_yaml:
        names = _check_names(content.get("names"), content.get("nc"), description)
    else:
        path = find_below(root, content.get("names", ""))
        names = _read_lines(path) if path and is_file(path) else _read_names_file(root)
    if not (splits or missing):
        return YoloSet(names, _find_split_sources(root, image_folder), {}, description)
    return YoloSet(names, splits, missing, description)


def list_images(source: Path, base: Path) -> tuple[dict[str, Path], list[str]]:
    """List the images of a folder, with all below it, or of a list.

    Args:
        source: the folder or list.
        base: the data set's folder, or that of its images.

    Returns:
        The images by their paths from the base, without extension; and one message for each that
        is not there, and for each two that would share a label.
    """
    found: dict[str, list[Path]] = {}
    faults: list[str] = []
    if is_folder(source):
        for paths in index_tree(source, IMAGE_EXTENSIONS).values():
            found[_image_id(paths[0], base)] = paths
    else:
        for number, line in enumerate(_read_text(source).splitlines(), start=1):
            path = find_below(base, line.strip())
            if path is not None and is_file(path):
                same = found.setdefault(_image_id(path, base), [])
                same += [path] if path not in same else []
            elif line.strip():
                faults.append(
                    f"{source}: line {number} = {line.strip()!r}: there is no such image in {base}."
                )
    for name, paths in found.items():
        if len(paths) > 1:
            there = enumerate_names(path.name for path in paths)
            faults.append(f"{source}: images named {name!r}: {there}. Expected one for its labels.")
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1}, faults


def _image_id(path: Path, base: Path) -> str:
    return normalise_name(path.relative_to(base).with_suffix("").as_posix())


def label_places(image: Path, base: Path, root: Path) -> list[Path]:
    """List where an image's labels may be, the likeliest first.

    `labels` stands instead of the last folder `images`; else they are beside the image.

    Args:
        image: below the base.
        base: the data set's folder, or that of its images.
        root: the data set's folder.
    """
    parts = image.relative_to(base).with_suffix(".txt").parts
    places = [root.joinpath(*parts), root.joinpath("labels", *parts)]
    if "images" in parts[:-1]:
        last = len(parts) - 1 - parts[::-1].index("images")
        places.insert(0, root.joinpath(*parts[:last], "labels", *parts[last + 1 :]))
    return places


def find_orphans(labels: Mapping[Path, Path]) -> list[Path]:
    """Find files of labels whose image is not there, in the folders of those whose image is.

    Args:
        labels: files of labels, and the image of each. There may be others, whose images are
            there as well: those of other splits.

    Raises:
        OSError: a folder of labels may not be listed.
        DataError: a folder of images may not be listed.
    """
    image_folders: dict[Path, set[Path]] = {}
    for label, image in labels.items():
        image_folders.setdefault(label.parent, set()).add(image.parent)
    known = {(label.parent, label.name) for label in labels}
    others = [
        folder / name
        for folder in image_folders
        for name in sorted(os.listdir(folder))  # there may be 100,000: no more than their names
        if name.lower().endswith(".txt") and name[0] != "." and (folder, name) not in known
    ]
    images = {
        folder: index_files(folder, IMAGE_EXTENSIONS).keys()
        for folder in ({one for some in image_folders.values() for one in some} if others else ())
    }
    return [
        path
        for path in others
        if path.name not in _NAMES_FILES and not role_of(path.stem) and _is_label(path)
        if not any(
            normalise_name(path.stem) in images[folder] for folder in image_folders[path.parent]
        )
    ]


def find_below(root: Path, text: str, base: str = "") -> Path | None:
    """Find what a path means below the root: the longest part at its end that is there.

    Args:
        root: folder of the data set.
        text: the path, as of any machine.
        base: the folder that it starts from, if it is relative.

    Returns:
        The path of a file or folder; None where there is none, or the path is empty.
    """
    text = text.replace("\\", "/")
    whole = text if PurePosixPath(text).is_absolute() or not base else f"{base}/{text}"
    parts = [
        part
        for part in PurePosixPath(whole).parts
        if part not in ("..", ".", "/") and not part.endswith(":")
    ]
    if text in (".", "./") and not base:
        return root
    for start in range(len(parts)):
        path = root.joinpath(*parts[start:])
        if is_file(path) or is_folder(path):
            return path
    return None


def _find_source(root: Path, image_folder: Path | None, text: str, base: str) -> Path | None:
    """Find what a split is said to be: a list, or a folder of images."""
    path = find_below(root, text, base)
    if image_folder is None or (path is not None and is_file(path)):
        return path
    return find_below(image_folder, text, base)


def is_file(path: Path) -> bool:
    """Tell whether a path is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


# === Files that describe a data set ===


def _find_description(root: Path) -> Path | None:
    """Find data.yaml or obj.data, under any name, by its content.

    Raises:
        DataError: there are several and none has its usual name.
    """
    paths = [
        path for found in index_files(root, {".yaml", ".yml", ".data"}).values() for path in found
    ]
    paths = [path for path in paths if _describes(path)]
    usual = [path for path in paths if path.stem in ("data", "dataset", "obj")]
    if len(paths) > 1 and len(usual) != 1:
        raise DataError(
            f"{root}: several files describe a YOLO data set: "
            f"{enumerate_names(path.name for path in paths)}. Expected one, or one of "
            "them called data.yaml."
        )
    return next(iter(usual or paths), None)


def _describes(path: Path) -> bool:
    """Tell whether a file has the keys `names` and `train`, whether or not it is whole."""
    try:
        lines = _read_text(path).splitlines()
    except DataError:
        return False
    mark = "=" if path.suffix.lower() == ".data" else ":"
    keys = {line.partition(mark)[0].strip().strip("'\"") for line in lines if mark in line}
    return "names" in keys and bool({"train", "val"} & keys)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(_read_text(path))
    except yaml.YAMLError as error:
        raise DataError(
            f"{path}: cannot be read as YAML ({' '.join(str(error).split())})."
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected the keys train, val and names, as Ultralytics has them.")
    return content


def _read_darknet(path: Path) -> dict[str, Any]:
    pairs = (line.partition("=") for line in _read_text(path).splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _check_names(names: Any, count: Any, path: Path) -> tuple[str, ...]:
    """Check `names`, a list or a mapping from ids, and `nc`, their number, where it is said."""
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(
                f"{path}: names has the ids {quote(list(names))}. Expected 0, 1, 2, ..."
            )
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names = {quote(names)}. Expected a list of classes' names.")
    if count is not None and count != len(names):
        raise DataError(
            f"{path}: nc = {quote(count)}, and names has {len(names)}. Expected the same."
        )
    return _check_unique([str(name).strip() for name in names], path)


def _check_unique(names: list[str], path: Path) -> tuple[str, ...]:
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(
            f"{path}: the class {quote(twice[0])} is there more than once. Expected it once."
        )
    return tuple(names)


def _read_lines(path: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in _read_text(path).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise DataError(f"{path}: line {lines.index('') + 1} is empty. Expected a class's name.")
    return _check_unique(lines, path)


def _read_names_file(root: Path) -> tuple[str, ...]:
    """Read classes.txt or the like from wherever it is; none where there is no such file.

    Raises:
        DataError: two such files say different things.
    """
    folders = list_data_folders(root)
    folders += [folder / "labels" for folder in folders]
    paths = [path for f in folders for name in _NAMES_FILES if is_file(path := f / name)]
    found = {path: _read_lines(path) for path in paths}
    if len(set(found.values())) > 1:
        raise DataError(
            f"{root}: {enumerate_names(map(str, found))} name different classes. Expected the same."
        )
    return next(iter(found.values()), ())


def _read_text(path: Path) -> str:
    try:
        return normalise_name(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({reason_of(error)}). Expected UTF-8 text."
        ) from None


# === Folders and lists ===


def _find_split_sources(root: Path, image_folder: Path | None) -> Mapping[str, tuple[Path, ...]]:
    """Find lists of images with a split's name, or else folders, or else nothing."""
    folders = [folder for name in ("", "data") if is_folder(folder := root / name)]
    lists = {
        path.stem: (path,)
        for folder in folders
        for paths in index_files(folder, {".txt"}).values()
        for path in paths
        if role_of(path.stem)
    }
    if lists:
        return lists
    base = image_folder or root
    inside = list_data_folders(base / "images")[1:] if is_folder(base / "images") else []
    sources = {folder.name: (folder,) for folder in inside if role_of(folder.name)}
    if sources:
        return sources
    return {
        folder.name: (folder / "images" if is_folder(folder / "images") else folder,)
        for folder in list_data_folders(base)[1:]
        if role_of(folder.name)
    }


def _darknet_folders(root: Path) -> list[Path]:
    """Find the folders that Darknet's tools keep images and labels in: obj, obj_train_data."""
    return [folder for folder in list_data_folders(root)[1:] if folder.name.startswith("obj")]


def _holds_labels(folder: Path) -> bool:
    """Tell whether the first text file that is neither empty nor one of names is of labels."""
    for path in list_folder(folder):
        if path.suffix.lower() != ".txt" or path.name in _NAMES_FILES or path.name.startswith("."):
            continue
        if role_of(path.stem):  # a list of images
            continue
        if (fields := _first_fields(path)) is None or fields:
            return fields is not None and _are_label(fields)
    return False


def _is_label(path: Path) -> bool:
    """Tell whether a file has an object in its first line."""
    return _are_label(_first_fields(path) or [])


def _first_fields(path: Path) -> list[str] | None:
    """Read the fields of a file's first line; None where it cannot be read."""
    try:
        return _read_text(path).split("\n", 1)[0].split()
    except DataError:
        return None


def _are_label(fields: list[str]) -> bool:
    return len(fields) >= 5 and all(map(_is_number, fields))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
