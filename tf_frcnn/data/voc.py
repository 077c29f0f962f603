"""Reader for Pascal VOC: one XML file a picture, boxes as 1-based inclusive pixels.

Two layouts are read: the devkit's, `ImageSets/Main/SPLIT.txt` + `Annotations/NAME.xml` +
`JPEGImages/NAME.*`, and XML files and pictures in one folder or two, without lists, where the
splits train, val and test are made 80/10/10 by a seed.

Nothing in a list or an XML file is ever used as a path: the folders are listed once, and only
files found there are opened, so a name such as `../../secret` is just a name that is not there.
"""

import hashlib
import logging
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import ElementTree as SafeElementTree

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.image import PICTURE_EXTENSIONS, read_image_size
from tf_frcnn.errors import DataError

logger = logging.getLogger(__name__)

LAYOUT = (
    "Pascal VOC: ImageSets/Main/SPLIT.txt, Annotations/NAME.xml and JPEGImages/NAME.jpg, "
    "or XML files and pictures in one folder or two"
)
MADE_SPLITS = ("train", "val", "test")
MAX_LISTED = 20  # faults or names that one message spells out
_XML_EXTENSIONS = frozenset({".xml"})
_SECOND_COLUMN = re.compile(r"\s+(-1|0|1)$")  # the devkit's lists of one class: absent, hard, there

Index = dict[str, list[Path]]  # name without extension -> files of that name


@dataclass(frozen=True)
class _Folders:
    """What a data set's folders hold, listed once; `lists` is empty where splits are made."""

    lists: Index
    annotations: Index
    annotation_folder: Path
    pictures: Index
    picture_folder: Path


@dataclass(frozen=True)
class _Object:
    """One valid object: class name, [4] float32 yxyx half-open box, flags, place for messages."""

    name: str
    box: np.ndarray
    difficult: bool
    clipped: bool
    place: str


@dataclass(frozen=True)
class _Annotation:
    """One XML file that was read, with those of its objects that are valid."""

    name: str
    source: Path
    image_path: Path
    image_size: tuple[int, int]
    objects: tuple[_Object, ...]
    size_differs: bool


def detect_voc(root: Path) -> bool:
    """Tell whether a folder looks like a VOC data set: has lists, or XML files one level down."""
    if not root.is_dir():
        return False
    return bool(_index_lists(root)) or any(
        _index_files(folder, _XML_EXTENSIONS) for folder in _folders_of(root)
    )


def explain_missing_voc_split(root: Path, split: str) -> str:
    """Say what is there instead of a split: one message, or "" where the split is there."""
    if not root.is_dir():
        return f"{root}: {describe_folder(root)}. Expected a data set, {LAYOUT}."
    lists = _index_lists(root)
    if split in (lists or MADE_SPLITS):
        return ""
    if not lists:
        return (
            f"{root}: split {split!r} cannot be made: there are no lists in ImageSets/Main, so the "
            f"pictures are divided into {', '.join(MADE_SPLITS)}. Expected one of these."
        )
    # VOC has four lists of each of 20 classes beside the four that people want: those first.
    names = sorted(lists, key=lambda name: ("_" in name, name))
    return (
        f"{root / 'ImageSets' / 'Main'}: there is no {split}.txt. "
        f"Expected one of the lists that are there: {_enumerate(names)}."
    )


def describe_folder(folder: Path) -> str:
    """Describe what a folder holds, for messages about something that is not there."""
    if not folder.is_dir():
        return "this is a file" if folder.exists() else "there is no such folder"
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return f"the folder holds {_enumerate(names)}" if names else "the folder is empty"


def read_voc(
    root: Path, splits: Iterable[str], class_names: tuple[str, ...], seed: int
) -> dict[str, Dataset]:
    """Read splits of a VOC data set.

    Args:
        root: folder of the data set.
        splits: names of lists in ImageSets/Main; train, val or test where there are no lists.
        class_names: names of classes 1..N; when empty, those found in these splits, sorted.
        seed: decides which picture goes to which split where there are no lists.

    Returns:
        One `Dataset` a split, all with the same class names. Boxes that were partly outside of
        their picture are clipped; a picture without objects has boxes of shape [0, 4].

    Raises:
        DataError: a folder, list, annotation, picture or class is missing or wrong. All faults of
            the splits are collected; the message lists the first 20 and says how many there are.
    """
    splits = tuple(dict.fromkeys(splits))
    for split in splits:
        if problem := explain_missing_voc_split(root, split):
            raise DataError(problem)
    folders = _find_folders(root)
    names_of_splits = _names_of_splits(folders, splits, seed)

    annotations, faults = _read_annotations(folders, names_of_splits)
    objects = [item for annotation in annotations.values() for item in annotation.objects]
    found = Counter(item.name for item in objects)
    if class_names:
        faults += _unknown_class_faults(objects, class_names, found)
    _raise_faults(root, faults)
    if not found and not class_names:
        raise DataError(
            f"{root}: no <object> in any of the {len(annotations)} annotations of "
            f"{', '.join(splits)}. Expected at least one, or the classes by `--data.classes`."
        )
    _log_oddities(annotations.values())
    class_names = class_names or tuple(sorted(found))
    return {
        split: _build_dataset(split, [annotations[name] for name in names], class_names)
        for split, names in names_of_splits.items()
    }


# === Folders, lists and splits ===


def _enumerate(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + rest


def _normalise(name: str) -> str:
    """Give composed and decomposed spellings of a letter (Linux, macOS) the same form."""
    return unicodedata.normalize("NFC", name)


def _index_files(folder: Path, extensions: Iterable[str]) -> Index:
    """List a folder's files with these extensions, in any case; hidden files are left out."""
    index: Index = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in extensions and not path.name.startswith("."):
            index.setdefault(_normalise(path.stem), []).append(path)
    return index


def _index_lists(root: Path) -> Index:
    folder = root / "ImageSets" / "Main"
    return _index_files(folder, {".txt"}) if folder.is_dir() else {}


def _folders_of(root: Path) -> list[Path]:
    """List the folders that may hold XML files or pictures: the root and its sub-folders."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    return [root, *(path for path in folders if not path.name.startswith("."))]


def _find_folders(root: Path) -> _Folders:
    """Find and list the folders of annotations and pictures, by the devkit's names or by content.

    Without `Annotations`, the XML files must all be in the root or in one of its sub-folders.
    Without `JPEGImages`, likewise the pictures, where those without an XML file don't count.
    """
    xml = _find_indices(root, "Annotations", _XML_EXTENSIONS)
    annotation_folder, annotations = _only_folder(root, "XML files", "Annotations", xml)
    pictures = _find_indices(root, "JPEGImages", PICTURE_EXTENSIONS)
    named = {f: index for f, index in pictures.items() if index.keys() & annotations.keys()}
    picture_folder, picture_index = _only_folder(root, "pictures", "JPEGImages", named or pictures)
    return _Folders(
        _index_lists(root), annotations, annotation_folder, picture_index, picture_folder
    )


def _find_indices(root: Path, name: str, extensions: Iterable[str]) -> dict[Path, Index]:
    """List the files of folder `name` or, without it, of all folders; empty ones are left out."""
    folders = [root / name] if (root / name).is_dir() else _folders_of(root)
    indices = {folder: _index_files(folder, extensions) for folder in folders}
    return {folder: index for folder, index in indices.items() if index}


def _only_folder(
    root: Path, what: str, name: str, indices: dict[Path, Index]
) -> tuple[Path, Index]:
    if len(indices) == 1:
        return next(iter(indices.items()))
    if indices:
        there = f"{what} in several folders: {_enumerate(f.name for f in indices)}"
    else:
        folder = root / name if (root / name).is_dir() else root
        there = f"no {what}; {folder}: {describe_folder(folder)}"
    raise DataError(
        f"{root}: {there}. Expected them in {name}, or in one other folder: {root} itself or a "
        "sub-folder of it."
    )


def _names_of_splits(folders: _Folders, splits: tuple[str, ...], seed: int) -> dict[str, list[str]]:
    """Read the splits' lists, or make the splits; no split is empty."""
    if folders.lists:
        lists = {split: folders.lists[split][0] for split in splits}
        return {split: _read_list(path, folders.annotations) for split, path in lists.items()}
    made = _make_splits(folders.annotations, seed)
    sizes = {split: len(names) for split, names in made.items()}
    logger.info(
        "%s: no ImageSets/Main; pictures divided with seed %d: %s",
        folders.annotation_folder,
        seed,
        ", ".join(f"{split} {size}" for split, size in sizes.items()),
    )
    if unlabelled := len(folders.pictures.keys() - folders.annotations.keys()):
        logger.warning(
            "%s: pictures without XML file, left out: %d", folders.picture_folder, unlabelled
        )
    for split in splits:
        if not made[split]:
            raise DataError(
                f"{folders.annotation_folder}: with {len(folders.annotations)} XML files the split "
                f"{split!r} is empty. Expected at least 3 files, or `--data.{split}-split none`."
            )
    return {split: made[split] for split in splits}


def _make_splits(names: Iterable[str], seed: int) -> dict[str, list[str]]:
    """Divide names 80/10/10; val and test get at least one each of three or more names.

    The order is that of a hash of seed and name: the same on every machine and Python, whatever
    the order of the files on disk.
    """

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()

    ordered = sorted(names, key=key)
    num_held_out = max((len(ordered) + 5) // 10, int(len(ordered) >= 3))
    val, test = ordered[:num_held_out], ordered[num_held_out : 2 * num_held_out]
    return {"train": sorted(ordered[2 * num_held_out :]), "val": sorted(val), "test": sorted(test)}


def _read_list(path: Path, annotations: Index) -> list[str]:
    """Read the names of a split's list, each once; the devkit's second column is left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Expected UTF-8 text.") from None
    names = [_normalise(line.strip()) for line in lines if line.strip()]
    # A name may itself end in " 1", so the column is only taken off a line that is no name.
    names = [name if name in annotations else _SECOND_COLUMN.sub("", name) for name in names]
    counts = Counter(names)
    if not names:
        raise DataError(f"{path}: the list is empty. Expected one picture name a line.")
    if twice := [name for name, count in counts.items() if count > 1]:
        logger.warning(
            "%s: names that stand in it more than once, kept once: %d; the first: %s",
            path,
            len(twice),
            twice[0],
        )
    return list(counts)


# === One annotation ===


def _read_annotations(
    folders: _Folders, names_of_splits: dict[str, list[str]]
) -> tuple[dict[str, _Annotation], list[str]]:
    """Read the annotations of all splits, each once -> (annotations by name, faults)."""
    annotations: dict[str, _Annotation] = {}
    faults: list[str] = []
    for split, names in names_of_splits.items():
        origin = folders.lists[split][0] if folders.lists else folders.annotation_folder
        for name in names:
            if name in annotations:
                continue
            try:
                annotations[name] = _read_annotation(name, origin, folders, faults)
            except DataError as error:
                faults.append(str(error))
    return annotations, list(dict.fromkeys(faults))  # a broken file may stand in two lists


def _read_annotation(name: str, origin: Path, folders: _Folders, faults: list[str]) -> _Annotation:
    """Read one XML file and its picture's header.

    Args:
        name: the annotation's name.
        origin: the list or folder that the name comes from, for messages.
        folders: the files that there are.
        faults: messages about single objects are added here, and the objects left out.

    Raises:
        DataError: the XML file or the picture is missing or cannot be read.
    """
    sources = folders.annotations.get(name, [])
    if len(sources) != 1:
        there = _enumerate(path.name for path in sources) or "none"
        raise DataError(
            f"{origin}: {name!r}: XML files of that name in {folders.annotation_folder}: {there}. "
            "Expected one; lists hold names without folder and extension."
        )
    source = sources[0]
    root = _parse_xml(source)
    image_path = _find_picture(name, source, root, folders)
    image_size = read_image_size(image_path)
    objects = []
    for number, element in enumerate(root.findall("object"), start=1):
        try:
            objects.append(_read_object(element, f"{source}: object {number}", image_size))
        except DataError as error:
            faults.append(str(error))
    stated = [_text(root, "size/height"), _text(root, "size/width")]
    size_differs = any(stated) and stated != [str(side) for side in image_size]
    return _Annotation(name, source, image_path, image_size, tuple(objects), size_differs)


def _parse_xml(source: Path) -> Element:
    try:
        root = SafeElementTree.fromstring(source.read_bytes())
    except (OSError, ParseError, ValueError, LookupError) as error:  # defusedxml's: ValueError
        raise DataError(
            f"{source}: cannot be read as XML ({error}). Expected a VOC annotation."
        ) from None
    if root.tag != "annotation":
        raise DataError(f"{source}: the root is <{root.tag}>. Expected <annotation>, as in VOC.")
    return root


def _find_picture(name: str, source: Path, root: Element, folders: _Folders) -> Path:
    """Find the picture by the annotation's own name; its <filename> is only a fallback."""
    filename = _normalise(_text(root, "filename"))
    paths = folders.pictures.get(name) or folders.pictures.get(Path(filename).stem, [])
    if len(paths) > 1:
        paths = [path for path in paths if _normalise(path.name) == filename] or paths
    if len(paths) != 1:
        there = _enumerate(path.name for path in paths) or "none"
        raise DataError(
            f"{source}: pictures in {folders.picture_folder} named {name!r} (or as the field "
            f"filename = {filename!r}): {there}. Expected one, with any picture extension."
        )
    return paths[0]


def _read_object(element: Element, place: str, image_size: tuple[int, int]) -> _Object:
    """Read and check one <object>.

    Raises:
        DataError: a field is missing or wrong, or the box is inverted or wholly outside.
    """
    name = _text(element, "name")
    if not name:
        raise DataError(f"{place}, name: there is none. Expected the name of a class.")
    flag = _text(element, "difficult").lower() or "0"
    if flag not in ("0", "1", "false", "true"):
        raise DataError(f"{place} ({name}), difficult = {flag!r}. Expected 0 or 1.")
    place = f"{place} ({name})"
    xmin, ymin, xmax, ymax = (
        _read_coordinate(element, field, place) for field in ("xmin", "ymin", "xmax", "ymax")
    )
    for low, high, axis in ((xmin, xmax, "x"), (ymin, ymax, "y")):
        if high < low:
            raise DataError(
                f"{place}, {axis}min = {low:g} and {axis}max = {high:g}: the box is inverted. "
                f"Expected {axis}min <= {axis}max (equal for a box one pixel wide)."
            )
    # 1-based inclusive -> half-open: the first pixel begins at 0, the last one ends at its number.
    whole = np.array([ymin - 1, xmin - 1, ymax, xmax])
    inside = np.clip(whole, 0, [*image_size, *image_size])
    box = inside.astype(np.float32)
    if not (box[2:] > box[:2]).all():
        raise DataError(
            f"{place}, bndbox = xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g}: wholly "
            f"outside of the picture. Expected 1 to {image_size[1]} in x and 1 to {image_size[0]} "
            "in y."
        )
    return _Object(name, box, flag in ("1", "true"), bool((inside != whole).any()), place)


def _read_coordinate(element: Element, field: str, place: str) -> float:
    text = _text(element, f"bndbox/{field}")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}, bndbox/{field} = {text!r}. Expected a finite number of pixels.")
    return value


def _text(element: Element, path: str) -> str:
    """Get the text at a path, stripped; "" where there is none."""
    return (element.findtext(path) or "").strip()


# === From annotations to data sets ===


def _unknown_class_faults(
    objects: Iterable[_Object], class_names: tuple[str, ...], found: Counter[str]
) -> list[str]:
    """Describe each class that is not in the list once, at its first object."""
    faults: dict[str, str] = {}
    by_folded_name = {name.casefold(): name for name in class_names}
    for item in objects:
        if item.name in class_names or item.name in faults:
            continue
        close = get_close_matches(item.name.casefold(), by_folded_name, n=1)
        hint = f" (closest: {by_folded_name[close[0]]!r})" if close else ""
        faults[item.name] = (
            f"{item.place}, name = {item.name!r} (objects of that name: "
            f"{found[item.name]}). Expected one of the classes {', '.join(class_names)}{hint}."
        )
    return list(faults.values())


def _raise_faults(root: Path, faults: list[str]) -> None:
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        listed = "".join(f"\n  {fault}" for fault in faults[:MAX_LISTED])
        first = f"; the first {MAX_LISTED}" if len(faults) > MAX_LISTED else ""
        raise DataError(
            f"{root}: {count} in the annotations and pictures{first}:{listed}\n"
            "Mend these files, or take them out of the data set."
        )


def _log_oddities(annotations: Iterable[_Annotation]) -> None:
    """Warn once of all clipped boxes and once of all sizes that differ, each with the first."""
    annotations = list(annotations)
    clipped = [item for annotation in annotations for item in annotation.objects if item.clipped]
    if clipped:
        logger.warning(
            "boxes partly outside of their picture, clipped: %d (do the coordinates start at 0 "
            "instead of 1?); the first: %s",
            len(clipped),
            clipped[0].place,
        )
    if differing := [annotation for annotation in annotations if annotation.size_differs]:
        first = differing[0]
        logger.warning(
            "annotations that state another size than the picture has, which is used: %d; the "
            "first: %s, picture %d x %d",
            len(differing),
            first.source,
            first.image_size[1],
            first.image_size[0],
        )


def _build_dataset(
    split: str, annotations: list[_Annotation], class_names: tuple[str, ...]
) -> Dataset:
    ids = {name: number for number, name in enumerate(class_names, start=1)}
    examples = tuple(
        Example(
            image_id=annotation.name,
            image_path=annotation.image_path,
            image_size=annotation.image_size,
            boxes=np.array([o.box for o in annotation.objects], np.float32).reshape(-1, 4),
            classes=np.array([ids[o.name] for o in annotation.objects], np.int32),
            difficult=np.array([o.difficult for o in annotation.objects], bool),
            crowd=np.zeros(len(annotation.objects), bool),
            source=str(annotation.source),
        )
        for annotation in annotations
    )
    num_clipped = sum(item.clipped for annotation in annotations for item in annotation.objects)
    return Dataset(split, class_names, examples, num_clipped)
