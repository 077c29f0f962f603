"""Reader for COCO: one JSON file a split, boxes as [x, y, width, height] from 0.

A split is the path of a JSON file (absolute or from the root), or a name. Its file is then
`annotations/instances_NAME.json`, `annotations/NAME.json`, `NAME.json` or, as Roboflow writes it,
`NAME/_annotations.coco.json`. Where there is a single JSON file without a split's name, the splits
train, val and test are made of it 80/10/10 by a seed.

Pictures are looked for, in this order, in `NAME`, `images/NAME`, `images`, the root, and beside the
JSON file. The folders are listed and only files found there are opened, and a file name with `..`
or from `/` on is refused, so that none can leave the root.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from tf_frcnn.data.assembly import BACKGROUND_NAMES, LabelledPicture, assemble_datasets
from tf_frcnn.data.coco_json import (
    CocoFile,
    CocoImage,
    group_annotations,
    list_images,
    parse_coco,
    read_objects,
)
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.folders import (
    Index,
    describe_folder,
    index_files,
    is_folder,
    list_data_folders,
    list_folder,
    normalise_name,
)
from tf_frcnn.data.image import read_image_size
from tf_frcnn.data.splits import MADE_SPLITS, make_splits
from tf_frcnn.errors import DataError

logger = logging.getLogger(__name__)

LAYOUT = (
    "COCO JSON: annotations/instances_SPLIT.json, annotations/SPLIT.json, SPLIT.json or "
    "SPLIT/_annotations.coco.json, and pictures in SPLIT, images/SPLIT, images or the folder itself"
)
_PREFIX = "instances_"
_ROBOFLOW_NAME = "_annotations.coco.json"
_COCO_LIST = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_SPLIT_WORD = re.compile(
    r"(?<![a-z])(train|trainval|training|val|valid|validation|minival|dev|test|testing)(?![a-z])"
)
_BYTES_LOOKED_AT = 1 << 16  # of files of hundreds of megabytes: the first list begins before


def detect_coco(root: Path) -> bool:
    """Tell whether a folder looks like a COCO data set: has JSON files of that form.

    Raises:
        DataError: a folder may not be read.
    """
    return is_folder(root) and bool(_list_coco_files(root))


def explain_missing_coco_split(root: Path, split: str) -> str:
    """Say what is there instead of a split: one message, or "" where the split is there."""
    if not is_folder(root):
        return f"{root}: {describe_folder(root)}. Expected a data set, {LAYOUT}."
    if _files_named(root, split):
        return ""
    if single := _single_file(root):
        if split in MADE_SPLITS:
            return ""
        return (
            f"{root}: split {split!r} cannot be made: {single.name} is the only COCO JSON file, "
            f"so its pictures are divided into {', '.join(MADE_SPLITS)}. Expected one of these, or "
            "the path of a JSON file."
        )
    names = sorted({_split_name(path) for path in _list_coco_files(root)})
    if not names:
        return f"{root}: no COCO JSON file: {describe_folder(root)}. Expected {LAYOUT}."
    return (
        f"{root}: there is no split {split!r}. Expected one of the splits that are there: "
        f"{enumerate_names(names)}; or the path of a JSON file."
    )


def read_coco(
    root: Path, splits: Iterable[str], class_names: tuple[str, ...], seed: int
) -> dict[str, Dataset]:
    """Read splits of a COCO data set.

    Args:
        root: folder of the data set; no picture outside of it is read.
        splits: names or JSON paths; train, val or test where there is one file without splits.
        class_names: names of classes 1..N; when empty, those of all categories of the splits'
            files, with or without boxes, by rising category id (gaps are closed; the background's
            own category is left out). Categories of the same name are one class, whatever their
            ids in different files.
        seed: decides which picture goes to which split where there is one file without splits.

    Returns:
        One `Dataset` a split, all with the same class names, in the order of the file's `images`.
        `Example.image_id` is the picture's id as text. Boxes that were partly outside of their
        picture are clipped; a picture without objects has boxes of shape [0, 4].

    Raises:
        DataError: a file, entry, picture or class is missing or wrong. All faults of the splits
            are collected; the message lists the first 20 and says how many there are.
    """
    splits = tuple(dict.fromkeys(splits))
    for split in splits:
        if problem := explain_missing_coco_split(root, split):
            raise DataError(problem)
    paths = _find_files(root, splits)
    contents: dict[Path, CocoFile] = {}
    pictures: dict[Path, list[LabelledPicture]] = {}
    faults: list[str] = []
    for path in dict.fromkeys(paths.values()):
        try:
            contents[path] = parse_coco(path)
        except DataError as error:
            faults.append(str(error))
        else:
            finder = PictureFinder(_picture_folders(root, path))
            pictures[path] = _read_pictures(contents[path], finder, faults)
    return assemble_datasets(
        root,
        _divide(root, {split: pictures.get(path, []) for split, path in paths.items()}, seed),
        class_names or _order_classes(contents.values(), pictures.values()),
        faults,
        clipping_hint="are the boxes x, y, width, height in pixels?",
    )


# === Files and splits ===


def _index_splits(root: Path) -> Index:
    """List the files that may be splits, by the split's name."""
    folders = [folder for folder in (root / "annotations", root) if is_folder(folder)]
    paths = [
        path
        for folder in folders
        for paths in index_files(folder, {".json"}).values()
        for path in paths
    ]
    for folder in list_data_folders(root)[1:]:
        paths += [path for path in list_folder(folder) if path.name == _ROBOFLOW_NAME]
    index: Index = {}
    for path in paths:
        index.setdefault(_split_name(path), []).append(path)
    return index


def _split_name(path: Path) -> str:
    if path.name == _ROBOFLOW_NAME:
        return path.parent.name
    return path.stem.removeprefix(_PREFIX)


def _list_coco_files(root: Path) -> list[Path]:
    """List those of the files that are COCO's by their name or their beginning."""
    return [path for paths in _index_splits(root).values() for path in paths if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    if path.name.startswith(_PREFIX) or path.name == _ROBOFLOW_NAME:
        return True
    try:
        with path.open("rb") as file:
            start = file.read(_BYTES_LOOKED_AT).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return False
    return start.startswith(b"{") and _COCO_LIST.search(start) is not None


def _files_named(root: Path, split: str) -> list[Path]:
    """List the files that a split's name or path means."""
    if not split.lower().endswith(".json"):
        return _index_splits(root).get(split, [])
    path = root / split  # an absolute path stays as it is
    return [path] if is_folder(path.parent) and path in list_folder(path.parent) else []


def _single_file(root: Path) -> Path | None:
    """Find the file that splits are made of: the only one, unless it has a split's name."""
    paths = _list_coco_files(root)
    if len(paths) != 1 or _SPLIT_WORD.search(_split_name(paths[0]).lower()):
        return None
    return paths[0]


def _find_files(root: Path, splits: tuple[str, ...]) -> dict[str, Path]:
    """Find the file of each split; for splits that have to be made it is the single file.

    Raises:
        DataError: a name means several files, or some splits would be made and others not, so
            that a picture could be trained on and evaluated.
    """
    named = {split: _files_named(root, split) for split in splits}
    for split, paths in named.items():
        if len(paths) > 1:
            there = enumerate_names(str(path.relative_to(root)) for path in paths)
            raise DataError(
                f"{root}: split {split!r} is there more than once: {there}. Expected one file; "
                "give its path as the split."
            )
    single = _single_file(root)
    made = [split for split, paths in named.items() if not paths]
    if single and made and len(made) < len(splits):
        whole = enumerate_names(split for split in splits if split not in made)
        raise DataError(
            f"{root}: {', '.join(made)} would be made from {single.name}, beside {whole}, which may "
            f"hold the same pictures. Expected {', '.join(MADE_SPLITS)} all made from it, or only "
            f"files: {' '.join(f'`--data.{split}-split none`' for split in made)}."
        )
    return {split: paths[0] if paths else single for split, paths in named.items()}


def _divide(
    root: Path, pictures: Mapping[str, list[LabelledPicture]], seed: int
) -> dict[str, list[LabelledPicture]]:
    """Give each split its own pictures, where they were read from one file without splits."""
    if any(_files_named(root, split) for split in pictures):
        return dict(pictures)
    whole = next(iter(pictures.values()))
    made = make_splits([picture.image_id for picture in whole], seed)
    sizes = ", ".join(f"{split} {len(ids)}" for split, ids in made.items())
    logger.info("%s: one JSON file; pictures divided with seed %d: %s", root, seed, sizes)
    for split in pictures:
        if whole and not made[split]:
            raise DataError(
                f"{root}: with {len(whole)} pictures the split {split!r} is empty. Expected at "
                f"least 3 pictures, or `--data.{split}-split none`."
            )
    members = {split: set(made[split]) for split in pictures}
    return {
        split: [picture for picture in whole if picture.image_id in ids]
        for split, ids in members.items()
    }


# === Classes and pictures ===


def _order_classes(
    contents: Iterable[CocoFile], pictures: Iterable[list[LabelledPicture]]
) -> tuple[str, ...]:
    """List the classes by rising category id; none where there is no box of any class."""
    lowest: dict[str, int] = {}
    for content in contents:
        for key, name in content.class_names.items():
            lowest[name] = min(key, lowest.get(name, key))
    names = sorted(lowest.keys() - set(BACKGROUND_NAMES), key=lambda name: (lowest[name], name))
    with_boxes = {item.name for split in pictures for picture in split for item in picture.objects}
    if not with_boxes:
        return ()
    if empty := [name for name in names if name not in with_boxes]:
        logger.warning(
            "categories without a box in these splits, kept as classes: %d: %s. "
            "`--data.classes` takes only those that it names.",
            len(empty),
            enumerate_names(empty),
        )
    return tuple(names)


def _picture_folders(root: Path, path: Path) -> list[Path]:
    """List the folders that a JSON file's pictures may be in, the likeliest first."""
    name = _split_name(path)
    folders = [root / name, root / "images" / name, root / "images", root]
    if path.parent.is_relative_to(root) and ".." not in path.parts:
        folders.append(path.parent)
    return list(dict.fromkeys(folders))


class PictureFinder:
    """Finds the pictures that a file names, by listing each folder once.

    Args:
        folders: where to look, in this order; they need not be there.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [folder for folder in folders if is_folder(folder)]
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, image: CocoImage) -> Path:
        """Find an image's picture.

        Raises:
            DataError: it is not there, or its name leads out of the data set.
        """
        relative = PurePosixPath(image.file_name.replace("\\", "/"))  # written on Windows
        if relative.is_absolute() or ".." in relative.parts or Path(relative).drive:
            raise DataError(
                f"{image.place}, file_name = {image.file_name!r}: leads out of the data set. "
                "Expected a path inside of it, without `..`."
            )
        for folder in self._folders:
            names = self._list_names(folder / relative.parent)
            if path := names.get(normalise_name(relative.name)):
                return path
        raise DataError(
            f"{image.place}, file_name = {image.file_name!r}: there is no such picture in "
            f"{enumerate_names(map(str, self._folders))}."
        )

    def _list_names(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            paths = list_folder(folder) if is_folder(folder) else []
            self._listed[folder] = {normalise_name(path.name): path for path in paths}
        return self._listed[folder]


def _read_pictures(
    content: CocoFile, finder: PictureFinder, faults: list[str]
) -> list[LabelledPicture]:
    """Read all pictures of a file with their objects; what is wrong is added to the faults."""
    images, image_faults = list_images(content)
    groups, group_faults = group_annotations(content)
    faults += [*image_faults, *group_faults]
    pictures = []
    for image in images:
        try:
            image_path = finder.find(image)
            image_size = read_image_size(image_path)
        except DataError as error:
            faults.append(str(error))
            continue
        objects, object_faults = read_objects(
            groups.get(image.key, []), content.class_names, image_size
        )
        faults += object_faults
        pictures.append(
            LabelledPicture(
                str(image.key),
                image_path,
                image_size,
                objects,
                image.place,
                size_differs=image.states_another_size(image_size),
            )
        )
    return pictures
