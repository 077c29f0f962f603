"""Reader for Pascal VOC: one XML file an image, boxes as 1-based inclusive pixels.

Which files a split has is in `voc_layout`, what is in an XML file in `voc_xml`.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from tf_frcnn.data.assembly import LabelledImage, assemble_datasets
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, enumerate_names, raise_faults
from tf_frcnn.data.labelling import FoundImage, Labeller
from tf_frcnn.data.orientation import ExifChoice, ExifPolicy
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.voc_layout import (
    VocFolders,
    VocSplit,
    explain_missing_voc_split,
    find_image,
    find_splits,
)
from tf_frcnn.data.voc_xml import parse_annotation, read_filename, read_objects, read_size
from tf_frcnn.errors import DataError
from tf_frcnn.names import quote


def read_voc(
    root: Path,
    splits: Iterable[str],
    class_names: tuple[str, ...],
    divider: Divider,
    on_faults: FaultHandler = raise_faults,
    image_folder: Path | None = None,
    exif: ExifPolicy = "auto",
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
        exif: what is done about EXIF orientations.

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
    faults: list[str] = []
    images, choice = _read_images(root, by_name, exif, faults)
    datasets = assemble_datasets(
        root,
        images,
        class_names,
        list(dict.fromkeys(faults)),  # a broken file may stand in two lists
        clipping_hint="do the coordinates start at 0 instead of 1?",
        on_faults=on_faults,
        num_left_out={
            name: len(split.names) - len(images[name]) for name, split in by_name.items()
        },
        division=division,
        exif=choice,
    )
    return {split: datasets[found[split].name] for split in splits}


# === Annotations and images ===


def _read_images(
    root: Path, splits: Mapping[str, VocSplit], exif: ExifPolicy, faults: list[str]
) -> tuple[dict[str, list[LabelledImage]], ExifChoice]:
    """Read the annotations of all splits, each once -> (images of each split, choice)."""
    keys = {
        split: [(files.folders.annotation_folder, name) for name in files.names]
        for split, files in splits.items()
    }
    with Labeller(exif, faults) as labeller:
        for split, files in splits.items():
            for key in keys[split]:
                if key in labeller:
                    continue
                try:
                    labeller.add(key, _find_image(key[1], files.origin, files.folders))
                except DataError as error:
                    faults.append(str(error))
        choice = labeller.finish(str(root))
    return {split: labeller.select(keys[split]) for split in splits}, choice


def _find_image(name: str, origin: Path, folders: VocFolders) -> FoundImage:
    """Parse one XML file and find its image.

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
            f"{origin}: {quote(name)}: XML files of that name in {folders.annotation_folder}: "
            f"{there}. Expected one; lists hold names without folder and extension."
        )
    source = sources[0]
    annotation = parse_annotation(source)
    return FoundImage(
        name,
        find_image(name, source, read_filename(annotation), folders),
        str(source),
        partial(read_objects, annotation, source),
        read_size(annotation),
    )
