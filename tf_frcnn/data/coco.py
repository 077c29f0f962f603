"""Reader for COCO: one JSON file a split, boxes as [x, y, width, height] from 0.

Which file a split is and where its pictures are is in `coco_layout`, what is in a file in
`coco_json`.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from tf_frcnn.data.assembly import BACKGROUND_NAMES, LabelledPicture, assemble_datasets
from tf_frcnn.data.coco_json import (
    CocoFile,
    group_annotations,
    list_images,
    parse_coco,
    read_objects,
)
from tf_frcnn.data.coco_layout import (
    PictureFinder,
    explain_missing_coco_split,
    find_files,
    picture_folders,
)
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, enumerate_names, raise_faults
from tf_frcnn.data.image import read_image_size
from tf_frcnn.data.splits import make_splits
from tf_frcnn.errors import DataError

logger = logging.getLogger(__name__)


def read_coco(
    root: Path,
    splits: Iterable[str],
    class_names: tuple[str, ...],
    seed: int,
    on_faults: FaultHandler = raise_faults,
) -> dict[str, Dataset]:
    """Read splits of a COCO data set.

    Args:
        root: folder of the data set; no picture outside of it is read.
        splits: names or JSON paths; train, val or test where there is one file without splits.
        class_names: names of classes 1..N; when empty, those of all categories of the splits'
            files, with or without boxes, by rising category id (gaps are closed; a category of
            the background is left out). Categories of the same name are one class, whatever
            their ids in different files.
        seed: decides which picture goes to which split where there is one file without splits.
        on_faults: is told all faults at once.

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
    paths, are_made = find_files(root, splits)
    contents, pictures, faults = _read_files(root, dict.fromkeys(paths.values()))
    pictures_of_splits = {split: pictures.get(path, []) for split, path in paths.items()}
    if are_made:
        pictures_of_splits = _divide(root, pictures_of_splits, seed)
    datasets = assemble_datasets(
        root,
        pictures_of_splits,
        class_names or _order_classes(contents, pictures.values()),
        faults,
        clipping_hint="are the boxes x, y, width, height in pixels?",
        on_faults=on_faults,
    )
    for split, dataset in datasets.items():
        if not dataset.examples and not faults:  # only a made split can be: else it is a fault
            raise DataError(
                f"{paths[split]}: too few pictures, the split {split!r} is empty. Expected at "
                f"least 3 pictures, or `--data.{split}-split none`."
            )
    return datasets


def _divide(
    root: Path, pictures: Mapping[str, list[LabelledPicture]], seed: int
) -> dict[str, list[LabelledPicture]]:
    """Give each split its part of the pictures, which are all those of one file."""
    whole = next(iter(pictures.values()))
    made = make_splits([picture.image_id for picture in whole], seed)
    sizes = ", ".join(f"{split} {len(ids)}" for split, ids in made.items())
    logger.info("%s: one JSON file; pictures divided with seed %d: %s", root, seed, sizes)
    members = {split: set(made[split]) for split in pictures}
    return {
        split: [picture for picture in whole if picture.image_id in ids]
        for split, ids in members.items()
    }


def _order_classes(
    contents: Iterable[CocoFile], pictures: Iterable[list[LabelledPicture]]
) -> tuple[str, ...]:
    """List the classes by rising category id; none where there is no box of any class."""
    lowest: dict[str, int] = {}
    for content in contents:
        for key, name in content.class_names.items():
            lowest[name] = min(key, lowest.get(name, key))
    names = sorted(lowest.keys() - set(BACKGROUND_NAMES), key=lambda name: (lowest[name], name))
    with_boxes = {item.name for file in pictures for picture in file for item in picture.objects}
    if not with_boxes:
        return ()
    if empty := [name for name in names if name not in with_boxes]:
        logger.warning(
            "categories without a box, kept as classes: %d: %s; `--data.classes` takes only "
            "those that it names",
            len(empty),
            enumerate_names(empty),
        )
    return tuple(names)


# === Pictures ===


def _read_files(
    root: Path, paths: Iterable[Path]
) -> tuple[list[CocoFile], dict[Path, list[LabelledPicture]], list[str]]:
    """Read JSON files and the headers of their pictures -> (contents, pictures by file, faults)."""
    contents: list[CocoFile] = []
    pictures: dict[Path, list[LabelledPicture]] = {}
    faults: list[str] = []
    for path in paths:
        try:
            content = parse_coco(path)
        except DataError as error:
            faults.append(str(error))
            continue
        contents.append(content)
        pictures[path] = _read_pictures(content, PictureFinder(picture_folders(root, path)), faults)
    return contents, pictures, faults


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
        annotations = groups.get(image.key, [])
        objects, object_faults = read_objects(annotations, content.class_names, image_size)
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
