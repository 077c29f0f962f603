"""Reader for Pascal VOC: one XML file an image, boxes as 1-based inclusive pixels.

Two layouts are read: the devkit's, `ImageSets/Main/SPLIT.txt` + `Annotations/NAME.xml` +
`JPEGImages/NAME.*`, and XML files and images in one folder or two, without lists, where the
splits train, val and test are made 80/10/10 by a seed.

Nothing in a list or an XML file is ever used as a path: the folders are listed once, and only
files found there are opened, so a name such as `../../secret` is just a name that is not there.
"""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from tf_frcnn.data.assembly import LabelledImage, assemble_datasets
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, enumerate_names, raise_faults
from tf_frcnn.data.folders import (
    Index,
    describe_folder,
    index_data_folders,
    index_files,
    is_folder,
    list_data_folders,
    normalise_name,
    only_folder,
)
from tf_frcnn.data.image import IMAGE_EXTENSIONS, read_image_header
from tf_frcnn.data.orientation import (
    UPRIGHT,
    ExifChoice,
    ExifPolicy,
    Orientations,
    SizeOnDisk,
    is_quarter_turn,
)
from tf_frcnn.data.splits import MADE_SPLITS, Divider
from tf_frcnn.data.voc_xml import (
    parse_annotation,
    read_filename,
    read_objects,
    read_size,
)
from tf_frcnn.errors import DataError

logger = logging.getLogger(__name__)

LAYOUT = (
    "Pascal VOC: ImageSets/Main/SPLIT.txt, Annotations/NAME.xml and JPEGImages/NAME.jpg, "
    "or XML files and images in one folder or two"
)
_XML_EXTENSIONS = frozenset({".xml"})
_SECOND_COLUMN = re.compile(r"\s+(-1|0|1)$")  # the devkit's lists of one class: absent, hard, there


@dataclass(frozen=True)
class _Folders:
    """What a data set's folders hold, listed once; `lists` is empty where splits are made."""

    lists: Index
    annotations: Index
    annotation_folder: Path
    images: Index
    image_folder: Path


def detect_voc(root: Path) -> bool:
    """Tell whether a folder looks like a VOC data set: has lists, or XML files one level down.

    Raises:
        DataError: a folder may not be read.
    """
    if not is_folder(root):
        return False
    return bool(_index_lists(root)) or any(
        index_files(folder, _XML_EXTENSIONS) for folder in list_data_folders(root)
    )


def explain_missing_voc_split(root: Path, split: str) -> str:
    """Say what is there instead of a split: one message, or "" where the split is there."""
    if not is_folder(root):
        return f"{root}: {describe_folder(root)}. Expected a data set, {LAYOUT}."
    lists = _index_lists(root)
    if split in (lists or MADE_SPLITS):
        return ""
    if not lists:
        return (
            f"{root}: split {split!r} cannot be made: there are no lists in ImageSets/Main, so the "
            f"images are divided into {', '.join(MADE_SPLITS)}. Expected one of these."
        )
    # VOC has four lists of each of 20 classes beside the four that people want: those first.
    names = sorted(lists, key=lambda name: ("_" in name, name))
    return (
        f"{root / 'ImageSets' / 'Main'}: there is no {split}.txt. "
        f"Expected one of the lists that are there: {enumerate_names(names)}."
    )


def read_voc(
    root: Path,
    splits: Iterable[str],
    class_names: tuple[str, ...],
    divider: Divider,
    on_faults: FaultHandler = raise_faults,
    exif: ExifPolicy = "auto",
) -> dict[str, Dataset]:
    """Read splits of a VOC data set.

    Args:
        root: folder of the data set.
        splits: names of lists in ImageSets/Main; train, val or test where there are no lists.
        class_names: names of classes 1..N; when empty, those found in these splits, sorted.
        divider: decides which image goes to which split where there are no lists.
        on_faults: is told all faults at once.
        exif: what is done about EXIF orientations.

    Returns:
        One `Dataset` a split, all with the same class names. Boxes that were partly outside of
        their image are clipped; an image without objects has boxes of shape [0, 4].

    Raises:
        DataError: a folder, list, annotation, image or class is missing or wrong. All faults of
            the splits are collected; the message lists the first 20 and says how many there are.
    """
    splits = tuple(dict.fromkeys(splits))
    for split in splits:
        if problem := explain_missing_voc_split(root, split):
            raise DataError(problem)
    folders = _find_folders(root)
    names_of_splits, division = _names_of_splits(folders, splits, divider)

    images, faults, choice = _read_images(root, folders, names_of_splits, exif)
    found = {
        split: [images[name] for name in names if name in images]
        for split, names in names_of_splits.items()
    }
    return assemble_datasets(
        root,
        found,
        class_names,
        faults,
        clipping_hint="do the coordinates start at 0 instead of 1?",
        on_faults=on_faults,
        num_left_out={
            split: len(names) - len(found[split]) for split, names in names_of_splits.items()
        },
        division=division,
        exif=choice,
    )


# === Folders, lists and splits ===


def _index_lists(root: Path) -> Index:
    folder = root / "ImageSets" / "Main"
    return index_files(folder, {".txt"}) if is_folder(folder) else {}


def _find_folders(root: Path) -> _Folders:
    """Find and list the folders of annotations and images, by the devkit's names or by content.

    Without `Annotations`, the XML files must all be in the root or in one of its sub-folders.
    Without `JPEGImages`, likewise the images, where those without an XML file don't count.
    """
    xml = index_data_folders(root, "Annotations", _XML_EXTENSIONS)
    annotation_folder, annotations = only_folder(root, "XML files", "Annotations", xml)
    images = index_data_folders(root, "JPEGImages", IMAGE_EXTENSIONS)
    named = {f: index for f, index in images.items() if index.keys() & annotations.keys()}
    image_folder, image_index = only_folder(root, "images", "JPEGImages", named or images)
    return _Folders(_index_lists(root), annotations, annotation_folder, image_index, image_folder)


def _names_of_splits(
    folders: _Folders, splits: tuple[str, ...], divider: Divider
) -> tuple[dict[str, list[str]], dict[str, list[str]] | None]:
    """Read the splits' lists, or make the splits; no split is empty.

    Returns:
        The names of each of the splits; and the division of all names, where it was made.
    """
    if folders.lists:
        lists = {split: folders.lists[split][0] for split in splits}
        return {split: _read_list(path, folders.annotations) for split, path in lists.items()}, None
    made = divider.divide(folders.annotations, f"{folders.annotation_folder}: no ImageSets/Main")
    if unlabelled := sorted(folders.images.keys() - folders.annotations.keys()):
        logger.warning(
            "%s: images without XML file, left out: %d: %s",
            folders.image_folder,
            len(unlabelled),
            enumerate_names(unlabelled),
        )
    for split in splits:
        if not made[split]:
            raise DataError(
                f"{folders.annotation_folder}: with {len(folders.annotations)} XML files the split "
                f"{split!r} is empty. Expected at least 3 files, or `--data.{split}-split none`."
            )
    return {split: made[split] for split in splits}, made


def _read_list(path: Path, annotations: Index) -> list[str]:
    """Read the names of a split's list, each once; the devkit's second column is left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Expected UTF-8 text.") from None
    names = [normalise_name(line.strip()) for line in lines if line.strip()]
    # A name may itself end in " 1", so the column is only taken off a line that is no name.
    names = [name if name in annotations else _SECOND_COLUMN.sub("", name) for name in names]
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


# === Annotations and images ===


@dataclass(frozen=True, eq=False)
class _Located:
    """An annotation whose image was found.

    Attributes:
        name: the annotation's name.
        source: the XML file.
        image_path: the image's file.
        size: what tells how its boxes were drawn.
    """

    name: str
    source: Path
    image_path: Path
    size: SizeOnDisk


def _read_images(
    root: Path, folders: _Folders, names_of_splits: dict[str, list[str]], exif: ExifPolicy
) -> tuple[dict[str, LabelledImage], list[str], ExifChoice]:
    """Read the annotations of all splits, each once -> (images by name, faults, choice).

    In whose pixels boxes are is known when all sizes are: files of images that are turned by a
    quarter, of which there mostly are few, are parsed a second time.
    """
    located: dict[str, _Located] = {}
    images: dict[str, LabelledImage] = {}
    faults: list[str] = []
    for split, names in names_of_splits.items():
        origin = folders.lists[split][0] if folders.lists else folders.annotation_folder
        for name in names:
            if name in located:
                continue
            try:
                located[name], annotation = _locate_image(name, origin, folders)
            except DataError as error:
                faults.append(str(error))
                continue
            size = located[name].size
            if not is_quarter_turn(size.orientation):
                images[name] = _label_image(located[name], annotation, size.stored, faults)
    orientations = Orientations(exif, (item.size for item in located.values()))
    orientations.log(str(root))
    for name, item in located.items():
        if item.size.orientation == UPRIGHT:
            continue
        image_size = orientations.size_of(item.size)
        if problem := orientations.explain_contradiction(item.size):
            faults.append(f"{item.source}: {problem}")
            # Whether its boxes are right is told by the image that they belong to.
            images[name] = _label_image(item, Element("annotation"), image_size, faults)
        elif name not in images:
            annotation = parse_annotation(item.source)
            images[name] = _label_image(item, annotation, image_size, faults)
        orientation = orientations.orientation_of(item.size)
        images[name] = dataclasses.replace(
            images[name], orientation=orientation, is_unfit=bool(problem)
        )
    # A broken file may stand in two lists.
    return images, list(dict.fromkeys(faults)), orientations.choice


def _locate_image(name: str, origin: Path, folders: _Folders) -> tuple[_Located, Element]:
    """Read one XML file and its image's header -> (what is known of it, the annotation).

    Args:
        name: the annotation's name.
        origin: the list or folder that the name comes from, for messages.
        folders: the files that there are.

    Raises:
        DataError: the XML file or the image is missing or cannot be read.
    """
    sources = folders.annotations.get(name, [])
    if len(sources) != 1:
        there = enumerate_names(path.name for path in sources) or "none"
        raise DataError(
            f"{origin}: {name!r}: XML files of that name in {folders.annotation_folder}: {there}. "
            "Expected one; lists hold names without folder and extension."
        )
    source = sources[0]
    annotation = parse_annotation(source)
    image_path = _find_image(name, source, annotation, folders)
    header = read_image_header(image_path)
    size = SizeOnDisk(header.size, header.orientation, read_size(annotation))
    return _Located(name, source, image_path, size), annotation


def _label_image(
    item: _Located, annotation: Element, image_size: tuple[int, int], faults: list[str]
) -> LabelledImage:
    """Read the objects of an annotation; those with faults are left out, and told."""
    objects, object_faults = read_objects(annotation, item.source, image_size)
    faults += object_faults
    return LabelledImage(
        item.name,
        item.image_path,
        image_size,
        objects,
        str(item.source),
        stated_size=item.size.stated,
        num_left_out=len(object_faults),
    )


def _find_image(name: str, source: Path, annotation: Element, folders: _Folders) -> Path:
    """Find the image by the annotation's own name; its <filename> is only a fallback."""
    filename = normalise_name(read_filename(annotation))
    paths = folders.images.get(name) or folders.images.get(Path(filename).stem, [])
    if len(paths) > 1:
        paths = [path for path in paths if normalise_name(path.name) == filename] or paths
    if len(paths) != 1:
        there = enumerate_names(path.name for path in paths) or "none"
        raise DataError(
            f"{source}: images in {folders.image_folder} named {name!r} (or as the field "
            f"filename = {filename!r}): {there}. Expected one, with any image extension."
        )
    return paths[0]
