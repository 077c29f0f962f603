"""Where a Pascal VOC data set has what: the names of each split, the XML files and the images.

Three layouts are known: the devkit's, `ImageSets/Main/SPLIT.txt` + `Annotations/NAME.xml` +
`JPEGImages/NAME.*`, both with sub-folders or without; a folder a split, with XML files and images
in it or in sub-folders of it; and XML files and images in one folder or two. There, and where one
list has another name than a split's, the splits train, val and test are made 80/10/10 by a seed.

Nothing in a list or an XML file is ever used as a path: the folders are listed once, and only
files found there are opened, so a name such as `../../secret` is just a name that is not there.
"""

import logging
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.folders import (
    Index,
    describe_folder,
    index_data_folders,
    index_files,
    index_tree,
    is_folder,
    list_data_folders,
    only_folder,
)
from tf_frcnn.data.foreign_signs import is_cvat
from tf_frcnn.data.image import IMAGE_EXTENSIONS
from tf_frcnn.data.splits import MADE_SPLITS, Divider, match_split, names_a_split, role_of
from tf_frcnn.data.voc_xml import parse_annotation, read_filename
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import open_text, reason_of
from tf_frcnn.names import normalise_name, quote

logger = logging.getLogger(__name__)

LAYOUT = (
    "Pascal VOC: ImageSets/Main/SPLIT.txt, Annotations/NAME.xml and JPEGImages/NAME.jpg, "
    "or XML files and images in one folder or two, or in folders train, val and test"
)
_XML_EXTENSIONS = frozenset({".xml"})
_SECOND_COLUMN = re.compile(r"\s+(-1|0|1)$")  # the devkit's lists of one class: absent, hard, there


@dataclass(frozen=True, eq=False)
class VocFolders:
    """What the folders of XML files and images hold, listed once.

    Attributes:
        annotations: XML files by name, with the sub-folders that they are in.
        annotation_folder: of the XML files.
        images: likewise.
        image_folder: likewise.
    """

    annotations: Index
    annotation_folder: Path
    images: Index
    image_folder: Path

    @cached_property
    def images_by_last_part(self) -> Index:
        """The images by their names without sub-folders."""
        return _by_last_part(self.images)

    @cached_property
    def annotations_by_last_part(self) -> Index:
        """The XML files by their names without sub-folders."""
        return _by_last_part(self.annotations)


@dataclass(frozen=True, eq=False)
class VocSplit:
    """The files of a split.

    Attributes:
        name: the split's own, which may be another spelling of the one asked for.
        folders: where they are.
        names: of the annotations, each once.
        origin: the list or folder that the names come from, for messages.
    """

    name: str
    folders: VocFolders
    names: list[str]
    origin: Path


def detect_voc(root: Path) -> bool:
    """Tell whether a folder looks like a VOC data set: has lists, or XML files where they may be.

    Raises:
        DataError: a folder may not be read.
    """
    if not is_folder(root):
        return False
    if _index_lists(root) or _split_folders(root):
        return True
    folders = (index_files(folder, _XML_EXTENSIONS) for folder in list_data_folders(root))
    tree = index_tree(root / "Annotations", _XML_EXTENSIONS)
    xml_files = (path for index in (*folders, tree) for paths in index.values() for path in paths)
    return any(not is_cvat(path) for path in xml_files)  # the first of a VOC folder tells


def explain_missing_voc_split(root: Path, split: str, image_folder: Path | None = None) -> str:
    """Say what is there instead of a split: one message, or "" where the split is there.

    Which splits there are does not depend on the images, wherever they are.
    """
    if not is_folder(root):
        return f"{root}: {describe_folder(root)}. Expected a data set, {LAYOUT}."
    lists = _index_lists(root)
    if lists and _single_list(lists) is None:
        if _lists_of(lists, split):
            return ""
        # VOC has four lists of each of 20 classes beside the four that people want: those first.
        names = sorted(lists, key=lambda name: ("_" in name, name))
        return (
            f"{root / 'ImageSets' / 'Main'}: there is no {split}.txt. "
            f"Expected one of the lists that are there: {enumerate_names(names)}."
        )
    if split in (lists or ()):
        return ""
    if folders := {} if lists else _split_folders(root):
        if match_split(split, folders):
            return ""
        return (
            f"{root}: there is no folder {split!r} with XML files. Expected one of the splits that "
            f"are there: {enumerate_names(folders)}."
        )
    if split in MADE_SPLITS:
        return ""
    reason = (
        f"{_single_list(lists)} is the only list in" if lists else "there are no lists in"
    ) + " ImageSets/Main"
    return (
        f"{root}: split {split!r} cannot be made: {reason}, so the "
        f"images are divided into {', '.join(MADE_SPLITS)}. Expected one of these."
    )


def find_splits(
    root: Path, splits: tuple[str, ...], divider: Divider, image_folder: Path | None = None
) -> tuple[dict[str, VocSplit], dict[str, list[str]] | None]:
    """Find the files of splits, or make the splits; no list is empty.

    Args:
        root: folder of the data set.
        splits: names of which `explain_missing_voc_split` says that they are there.
        divider: divides the images, where there are no splits.
        image_folder: of the images, where they are elsewhere.

    Returns:
        Each of the splits; and the division of all names, where it was made.

    Raises:
        DataError: a folder or list is missing or cannot be read, or a split is empty.
    """
    lists = _index_lists(root)
    if lists and (_single_list(lists) is None or set(splits) & set(lists)):
        if made := [split for split in splits if not _lists_of(lists, split)]:
            raise DataError(
                f"{root}: {', '.join(made)} would be made from the list "
                f"{_single_list(lists)}, which is asked for as well. Expected "
                f"{', '.join(MADE_SPLITS)}, all made from it, or no other split."
            )
        folders = _find_folders(root, image_folder)
        return {split: _listed_split(split, lists, folders) for split in splits}, None
    if by_name := {} if lists else _split_folders(root):
        names = {split: match_split(split, by_name) for split in splits}
        found = {name: _find_folders(by_name[name], image_folder) for name in set(names.values())}
        return {
            split: VocSplit(name, found[name], list(found[name].annotations), by_name[name])
            for split, name in names.items()
        }, None
    folders = _find_folders(root, image_folder)
    return _make_splits(folders, splits, divider, lists)


def find_image(name: str, source: Path, filename: str, folders: VocFolders) -> Path:
    """Find the image by the annotation's own name; its `filename` is only a fallback.

    Of `filename` the last part counts: tools write paths of the machine that they ran on.

    Args:
        name: of the annotation, with its sub-folders.
        source: its XML file, for messages.
        filename: the field of that name.
        folders: the files that there are.

    Raises:
        DataError: there is no such image, or there are several.
    """
    stated = PureWindowsPath(normalise_name(filename)).name  # splits at / and at \
    last_part = PurePosixPath(name).name
    paths = folders.images.get(name, [])
    # 2/a.xml must not get 1/a.jpg, which is 1/a.xml's: a name without folder has to be unique.
    if not paths and len(folders.annotations_by_last_part.get(last_part, [])) == 1:
        paths = folders.images_by_last_part.get(last_part, [])
    paths = paths or folders.images_by_last_part.get(Path(stated).stem, [])
    if len(paths) > 1:
        paths = [path for path in paths if normalise_name(path.name) == stated] or paths
    if len(paths) != 1:
        there = enumerate_names(path.name for path in paths) or "none"
        raise DataError(
            f"{source}: images in {folders.image_folder} named {quote(name)} (or as the field "
            f"filename = {quote(filename)}): {there}. Expected one, with any image extension."
        )
    return paths[0]


def _unlabelled_images(folders: VocFolders) -> list[str]:
    """List the images that neither have the name of an XML file nor are named by one."""
    unlabelled = folders.images.keys() - folders.annotations.keys()
    others = folders.annotations.keys() - folders.images.keys() if unlabelled else set()
    names = {path: name for name, paths in folders.images.items() for path in paths}
    for name in others:
        with suppress(DataError):  # which is told when it is read
            source = folders.annotations[name][0]
            filename = read_filename(parse_annotation(source))
            unlabelled.discard(names[find_image(name, source, filename, folders)])
    return sorted(unlabelled)


# === Folders ===


def _by_last_part(index: Index) -> Index:
    short: Index = {}
    for name, paths in index.items():
        short.setdefault(PurePosixPath(name).name, []).extend(paths)
    return short


def _split_folders(root: Path) -> dict[str, Path]:
    """Find the sub-folders that are splits, by name: two or more, one alone is just a folder."""
    folders = {
        folder.name: folder
        for folder in list_data_folders(root)[1:]
        if role_of(folder.name)
        and any(index_files(inside, _XML_EXTENSIONS) for inside in list_data_folders(folder))
    }
    is_divided = len({role_of(name) for name in folders}) > 1
    return folders if is_divided and not index_files(root, _XML_EXTENSIONS) else {}


def _find_folders(root: Path, image_folder: Path | None) -> VocFolders:
    """Find and list the folders of annotations and images, by the devkit's names or by content.

    Without `Annotations`, the XML files must all be in the root or in one of its sub-folders.
    Without `JPEGImages`, likewise the images, where those without an XML file don't count.
    """
    xml = index_data_folders(root, "Annotations", _XML_EXTENSIONS)
    annotation_folder, annotations = only_folder(root, "XML files", "Annotations", xml)
    if image_folder is not None:
        images = index_tree(image_folder, IMAGE_EXTENSIONS)
        return VocFolders(annotations, annotation_folder, images, image_folder)
    indices = index_data_folders(root, "JPEGImages", IMAGE_EXTENSIONS)
    named = {f: index for f, index in indices.items() if index.keys() & annotations.keys()}
    folder, images = only_folder(root, "images", "JPEGImages", named or indices)
    return VocFolders(annotations, annotation_folder, images, folder)


# === Lists ===


def _index_lists(root: Path) -> Index:
    folder = root / "ImageSets" / "Main"
    return index_files(folder, {".txt"}) if is_folder(folder) else {}


def _single_list(lists: Index) -> str | None:
    """Find the list that splits are made of: the only one, unless it has a split's name."""
    name = next(iter(lists), "")
    return name if len(lists) == 1 and not names_a_split(name) else None


def _lists_of(lists: Index, split: str) -> list[str]:
    """Name the lists that are a split: one, or without it those of its classes, `CLASS_split`."""
    if name := match_split(split, lists):
        return [name]
    is_default = split in MADE_SPLITS
    return [name for name in lists if is_default and name.casefold().endswith(f"_{split}")]


def _listed_split(split: str, lists: Index, folders: VocFolders) -> VocSplit:
    names = _lists_of(lists, split)
    paths = [lists[name][0] for name in names]
    if len(paths) > 1:
        logger.info("split %s: the names of the lists %s", split, enumerate_names(names))
    found = [name for path in paths for name in _read_list(path, folders.annotations)]
    own_name = names[0] if len(names) == 1 and match_split(split, lists) else split
    return VocSplit(own_name, folders, list(dict.fromkeys(found)), paths[0])


def _make_splits(
    folders: VocFolders, splits: tuple[str, ...], divider: Divider, lists: Index
) -> tuple[dict[str, VocSplit], dict[str, list[str]]]:
    """Divide the names of the only list, or all annotations."""
    if lists:
        ((origin,),) = lists.values()
        names = _read_list(origin, folders.annotations)
        made = divider.divide(names, f"{origin}: the only list")
    else:
        origin = folders.annotation_folder
        names = list(folders.annotations)
        made = divider.divide(names, f"{origin}: no ImageSets/Main")
        if unlabelled := _unlabelled_images(folders):
            logger.warning(
                "%s: images without XML file, left out: %d: %s",
                folders.image_folder,
                len(unlabelled),
                enumerate_names(unlabelled),
            )
    return {split: VocSplit(split, folders, made[split], origin) for split in splits}, made


def _read_list(path: Path, annotations: Index) -> list[str]:
    """Read the names of a split's list, each once; the devkit's second column is left out."""
    try:
        # What is no UTF-8 is read as Python reads the names of files that are none.
        with open_text(path, errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({reason_of(error)}). Expected UTF-8 text."
        ) from None
    if "\0" in text:
        raise DataError(f"{path}: holds zero bytes, as UTF-16 does. Expected UTF-8 text.")
    names = [_annotation_name(line, annotations) for line in text.split("\n") if line.strip()]
    counts = Counter(names)
    if not names:
        raise DataError(f"{path}: the list is empty. Expected one image name a line.")
    if twice := [name for name, count in counts.items() if count > 1]:
        logger.warning(
            "%s: names that stand in it more than once, kept once: %d; the first: %s",
            path,
            len(twice),
            twice[0],
        )
    return list(counts)


def _annotation_name(line: str, annotations: Index) -> str:
    """Take off a line what is no part of the annotation's name: `NAME.jpg -1`, as VoTT writes."""
    for name in (normalise_name(line), normalise_name(line.strip())):
        if name in annotations:  # a name may itself end in " 1" or ".jpg", or in a space
            return name
    name = _SECOND_COLUMN.sub("", name)
    stem, dot, extension = name.rpartition(".")
    is_image = f"{dot}{extension.lower()}" in IMAGE_EXTENSIONS
    return stem if is_image and name not in annotations and stem in annotations else name
