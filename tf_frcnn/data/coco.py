"""Reader for COCO: one JSON file a split, boxes as [x, y, width, height] from 0.

Which file a split is and where its images are is in `coco_layout`, what is in a file in
`coco_json`.
"""

import dataclasses
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tf_frcnn.data.assembly import LabelledImage, assemble_datasets, order_declared_classes
from tf_frcnn.data.coco_json import (
    CocoFile,
    group_annotations,
    list_images,
    parse_coco,
    read_objects_of,
)
from tf_frcnn.data.coco_layout import (
    explain_missing_coco_split,
    find_files,
    image_folders_of,
    real_name,
    split_name,
)
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, enumerate_names, raise_faults
from tf_frcnn.data.image_finder import ImageFinder, image_folders
from tf_frcnn.data.labelling import FoundImage, Labeller
from tf_frcnn.data.orientation import ExifChoice, ExifPolicy
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import DataError

logger = logging.getLogger(__name__)


def read_coco(
    root: Path,
    splits: Iterable[str],
    class_names: tuple[str, ...],
    divider: Divider,
    on_faults: FaultHandler = raise_faults,
    image_folder: Path | None = None,
    exif: ExifPolicy = "auto",
) -> dict[str, Dataset]:
    """Read splits of a COCO data set.

    Args:
        root: folder of the data set; no image outside of it is read.
        splits: names or JSON paths; train, val or test where there is one file without splits.
        class_names: names of classes 1..N; when empty, those of all categories of the splits'
            files, with or without boxes, by rising category id (gaps are closed; a category of
            the background is left out). Categories of the same name are one class, whatever
            their ids in different files.
        divider: decides which image goes to which split where there is one file without splits.
        on_faults: is told all faults at once.
        image_folder: where the images are, if not in the data set's folder; none outside of it is
            read then.
        exif: what is done about EXIF orientations.

    Returns:
        One `Dataset` a split, under its real name, all with the same class names, in the order of
        the file's `images`. `Example.image_id` is the image's id as text. Boxes that were partly
        outside of their image are clipped; an image without objects has boxes of shape [0, 4].

    Raises:
        DataError: a file, entry, image or class is missing or wrong. All faults of the splits
            are collected; the message lists the first 20 and says how many there are.
    """
    splits = tuple(dict.fromkeys(splits))
    for split in splits:
        if problem := explain_missing_coco_split(root, split):
            raise DataError(problem)
    paths, are_made = find_files(root, splits)
    files, faults, choice = _read_files(root, dict.fromkeys(paths.values()), image_folder, exif)
    division = None
    if are_made:
        ids = [image_id for file in files.values() for image_id in file.image_ids]
        division = divider.divide(ids, f"{root}: one JSON file")
    images, num_left_out = _images_of_splits(paths, files, division)
    contents = [file.content for file in files.values()]
    datasets = assemble_datasets(
        root,
        images,
        class_names or _order_classes(files.values()),
        faults,
        clipping_hint="are the boxes x, y, width, height in pixels?",
        on_faults=on_faults,
        num_left_out=num_left_out,
        division=division,
        exif=choice,
        remarks=list(filter(None, map(_explain_repeated_ids, contents))),
    )
    if are_made:
        return datasets
    return {
        split: dataclasses.replace(dataset, split=real_name(root, split))
        for split, dataset in datasets.items()
    }


@dataclass(frozen=True, eq=False)
class _ReadFile:
    """A JSON file that was read.

    Attributes:
        content: of the file.
        image_ids: of its valid entries of `images`, whether or not the files could be read.
        images: those whose files could be.
    """

    content: CocoFile
    image_ids: list[str]
    images: list[LabelledImage]


def _images_of_splits(
    paths: Mapping[str, Path],
    files: Mapping[Path, _ReadFile],
    division: Mapping[str, Sequence[str]] | None,
) -> tuple[dict[str, list[LabelledImage]], dict[str, int]]:
    """Find each split's images, and count those that it should have and that have faults.

    Args:
        paths: the file of each split.
        files: those of the files that could be read.
        division: the ids of each split, where all are made of one file.
    """
    images: dict[str, list[LabelledImage]] = {}
    num_left_out: dict[str, int] = {}
    for split, path in paths.items():
        file = files.get(path)
        images[split] = [] if file is None else file.images
        num_entries = 0 if file is None else len(file.content.images)
        if division is not None:
            ids, num_entries = set(division[split]), len(division[split])
            images[split] = [image for image in images[split] if image.image_id in ids]
        num_left_out[split] = num_entries - len(images[split])
    return images, num_left_out


def _order_classes(files: Collection[_ReadFile]) -> tuple[str, ...]:
    """List the classes by rising category id; none where there is no box of any class."""
    lowest: dict[str, int] = {}
    for file in files:
        for key, name in file.content.class_names.items():
            lowest[name] = min(key, lowest.get(name, key))
    names = sorted(lowest, key=lambda name: (lowest[name], name))
    return order_declared_classes(names, [item for file in files for item in file.images])


# === Images ===


def _read_files(
    root: Path, paths: Iterable[Path], image_folder: Path | None, exif: ExifPolicy
) -> tuple[dict[Path, _ReadFile], list[str], ExifChoice]:
    """Read JSON files and the headers of their images -> (files by path, faults, choice)."""
    faults: list[str] = []
    contents: dict[Path, CocoFile] = {}
    image_ids: dict[Path, list[str]] = {}
    with Labeller(exif, faults) as labeller:
        for path in paths:
            try:
                content = parse_coco(path)
            except DataError as error:
                faults.append(str(error))
                continue
            _log_replacements(content)
            split = split_name(root, path)
            folders = (
                image_folders_of(root, path)
                if image_folder is None
                else image_folders(image_folder, split)
            )
            finder = ImageFinder(folders, split)
            contents[path] = content
            image_ids[path] = _find_images(content, finder, labeller, faults)
            finder.log_found(path)
        choice = labeller.finish(str(root))
    files = {
        path: _ReadFile(content, ids, labeller.select((path, image_id) for image_id in ids))
        for (path, content), ids in zip(contents.items(), image_ids.values(), strict=True)
    }
    return files, faults, choice


def _log_replacements(content: CocoFile) -> None:
    """Say which categories are no classes, and how many boxes are those of polygons and masks."""
    if content.roots:
        logger.warning(
            "%s: categories without a box that others have as supercategory, left out: %s",
            content.source,
            enumerate_names(content.roots),
        )
    if content.num_segmentations:
        logger.warning(
            "%s: annotations without bbox, whose box is that of their polygons or mask: %d",
            content.source,
            content.num_segmentations,
        )


def _explain_repeated_ids(content: CocoFile) -> str:
    """Say that several annotations have one id; "" where each has its own."""
    if not content.repeated_ids:
        return ""
    return (
        f"{content.source}: annotations with the id of one before: {len(content.repeated_ids)}; "
        f"the first: {content.repeated_ids[0]}. Each counts as an object of its own: look whether "
        "files were joined, or boxes written twice."
    )


def _find_images(
    content: CocoFile, finder: ImageFinder, labeller: Labeller, faults: list[str]
) -> list[str]:
    """Find the images of a file and hand them over -> the ids of all its valid entries."""
    entries, entry_faults = list_images(content)
    groups, group_faults = group_annotations(content)
    faults += [*entry_faults, *group_faults]
    for entry in entries:
        try:
            image_path = finder.find(entry.file_name, f"{entry.place}, file_name")
        except DataError as error:
            faults.append(str(error))
            continue
        image = FoundImage(
            str(entry.key),
            image_path,
            entry.place,
            partial(read_objects_of, content, groups.get(entry.key, ())),
            entry.stated_size,
            content.source,
        )
        labeller.add((content.source, image.image_id), image)
    return [str(entry.key) for entry in entries]
