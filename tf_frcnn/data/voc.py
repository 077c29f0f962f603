"""Reader for Pascal VOC: one XML file an image, boxes as 1-based inclusive pixels.

Which files a split has is in `voc_layout`, what is in an XML file in `voc_xml`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tf_frcnn.data.assembly import LabelledImage, assemble_datasets
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, enumerate_names, raise_faults
from tf_frcnn.data.image import read_image_size
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc_layout import (
    VocFolders,
    VocSplit,
    explain_missing_voc_split,
    find_image,
    find_splits,
)
from tf_frcnn.data.voc_xml import (
    parse_annotation,
    read_filename,
    read_objects,
    states_another_size,
)
from tf_frcnn.errors import DataError


def read_voc(
    root: Path,
    splits: Iterable[str],
    class_names: tuple[str, ...],
    divider: Divider,
    on_faults: FaultHandler = raise_faults,
    image_folder: Path | None = None,
) -> dict[str, Dataset]:
    """Read splits of a VOC data set.

    Args:
        root: folder of the data set.
        splits: names of lists in ImageSets/Main, or of folders; train, val or test where the
            images have to be divided.
        class_names: names of classes 1..N; when empty, those found in these splits, sorted.
        divider: decides which image goes to which split where there are none.
        on_faults: is told all faults at once.
        image_folder: where the images are, if not in the data set's folder.

    Returns:
        One `Dataset` a split, under its real name, all with the same class names. Boxes that were
        partly outside of their image are clipped; an image without objects has boxes of shape
        [0, 4].

    Raises:
        DataError: a folder, list, annotation, image or class is missing or wrong. All faults of
            the splits are collected; the message lists the first 20 and says how many there are.
    """
    splits = tuple(dict.fromkeys(splits))
    for split in splits:
        if problem := explain_missing_voc_split(root, split):
            raise DataError(problem)
    found, division = find_splits(root, splits, divider, image_folder)
    by_name = {split.name: split for split in found.values()}
    images, faults = _read_images(by_name)
    datasets = assemble_datasets(
        root,
        images,
        class_names,
        faults,
        clipping_hint="do the coordinates start at 0 instead of 1?",
        on_faults=on_faults,
        num_left_out={
            name: len(split.names) - len(images[name]) for name, split in by_name.items()
        },
        division=division,
    )
    return {split: datasets[found[split].name] for split in splits}


# === Annotations and images ===


def _read_images(
    splits: Mapping[str, VocSplit],
) -> tuple[dict[str, list[LabelledImage]], list[str]]:
    """Read the annotations of all splits, each once -> (images of each split, faults)."""
    images: dict[tuple[Path, str], LabelledImage] = {}
    found: dict[str, list[LabelledImage]] = {}
    faults: list[str] = []
    for split, files in splits.items():
        keys = [(files.folders.annotation_folder, name) for name in files.names]
        for key in keys:
            if key in images:
                continue
            try:
                images[key] = _read_image(key[1], files.origin, files.folders, faults)
            except DataError as error:
                faults.append(str(error))
        found[split] = [images[key] for key in keys if key in images]
    return found, list(dict.fromkeys(faults))  # a broken file may stand in two lists


def _read_image(name: str, origin: Path, folders: VocFolders, faults: list[str]) -> LabelledImage:
    """Read one XML file and its image's header.

    Args:
        name: the annotation's name.
        origin: the list or folder that the name comes from, for messages.
        folders: the files that there are.
        faults: messages about single objects are added here, and the objects left out.

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
    image_path = find_image(name, source, read_filename(annotation), folders)
    image_size = read_image_size(image_path)
    objects, object_faults = read_objects(annotation, source, image_size)
    faults += object_faults
    return LabelledImage(
        name,
        image_path,
        image_size,
        objects,
        str(source),
        size_differs=states_another_size(annotation, image_size),
        num_left_out=len(object_faults),
    )
