"""From what a reader found to data sets: checks and arrays that are the same for every format.

A reader turns each of its files into a `LabelledImage` with the boxes already in this project's
form, and hands all of them over at once: classes are only known when everything has been read.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.faults import MAX_LISTED, FaultHandler, counted, enumerate_names, raise_faults
from tf_frcnn.data.orientation import UPRIGHT, ExifChoice, describe_size
from tf_frcnn.data.stated_sizes import find_resized
from tf_frcnn.errors import DataError
from tf_frcnn.names import explain_class_name, is_background, normalise_name, quote

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """One valid object.

    Attributes:
        name: of its class.
        box: [4] float32 yxyx box in pixels of the image as it is used, half-open, inside of it.
        place: where it stands, for messages: file, number and class.
        difficult: as in `Example`.
        crowd: as in `Example`.
        clipped: the box was partly outside of the image.
        area: in pixels, as the annotation states it; None where it does not.
        rotated: the box is the upright one around one that was drawn turned.
    """

    name: str
    box: np.ndarray
    place: str
    difficult: bool = False
    crowd: bool = False
    clipped: bool = False
    area: float | None = None
    rotated: bool = False


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image with those of its objects that are valid.

    Attributes:
        image_id: name of the image, unique in its split.
        image_path: file of the image.
        image_size: (height, width) of the image as it is used: turned by its `orientation`.
        objects: in the order of the annotation.
        source: where its annotation is, for messages.
        stated_size: (height, width) in the annotation; None where it states none.
        num_left_out: objects of the annotation that are not valid.
        orientation: of EXIF, by which stored pixels are turned; 1 where they are taken as stored.
        is_unfit: it has a fault of the whole image, and is left out, but its file can be checked.
        coco_file: the annotation file where it is COCO's; None in other formats.
    """

    image_id: str
    image_path: Path
    image_size: tuple[int, int]
    objects: tuple[LabelledObject, ...]
    source: str
    stated_size: tuple[int, int] | None = None
    num_left_out: int = 0
    orientation: int = UPRIGHT
    is_unfit: bool = False
    coco_file: Path | None = None

    @property
    def size_differs(self) -> bool:
        """Whether the annotation states another size than the image's."""
        return self.stated_size not in (None, self.image_size)


def clip_box(box: Sequence[float], image_size: tuple[int, int]) -> tuple[np.ndarray | None, bool]:
    """Cut a box to its image.

    Args:
        box: finite ymin, xmin, ymax, xmax in pixels, half-open.
        image_size: (height, width) of the image.

    Returns:
        The [4] float32 box, or None where no part of it is inside of the image; and whether
        anything was cut off.
    """
    whole = np.array(box, np.float64)  # a coordinate may be far outside of float32
    inside = np.clip(whole, 0, [*image_size, *image_size])
    clipped = inside.astype(np.float32)
    has_area = bool((clipped[2:] > clipped[:2]).all())
    return clipped if has_area else None, bool((inside != whole).any())


def assemble_datasets(
    root: Path,
    splits: Mapping[str, Sequence[LabelledImage]],
    class_names: tuple[str, ...],
    faults: Sequence[str] = (),
    clipping_hint: str = "",
    on_faults: FaultHandler = raise_faults,
    num_left_out: Mapping[str, int] | None = None,
    division: Mapping[str, Sequence[str]] | None = None,
    exif: ExifChoice = "apply",
) -> dict[str, Dataset]:
    """Check the classes, tell all faults, and build the data sets.

    Args:
        root: folder of the data set, for messages.
        splits: the images of each split; one image may be in several.
        class_names: names of classes 1..N; when empty, those of these objects, sorted.
        faults: what the reader found; those of the classes are added to them.
        clipping_hint: what may be the reason, where boxes had to be clipped.
        on_faults: is told all faults at once.
        num_left_out: images with faults, of each split that has some.
        division: see `Dataset`.
        exif: see `Dataset`.

    Returns:
        One `Dataset` a split, all with the same class names; where `on_faults` does not raise,
        without the objects of classes that can't be used.

    Raises:
        DataError: there is a fault, or neither a class name nor an object to take it from.
    """
    images = list(dict.fromkeys(image for split in splits.values() for image in split))
    objects = [item for image in images for item in image.objects]
    class_faults = _class_faults(root, objects, class_names)
    resized, size_fault = _find_resized([image for image in images if not image.is_unfit])
    unfit = resized | {image for image in images if image.is_unfit}
    faults = [*size_fault, *faults]
    on_faults(str(root), [*faults, *class_faults.values()])
    if not (objects or class_names or faults):
        searched = "the only image" if len(images) == 1 else f"any of the {len(images)} images"
        raise DataError(
            f"{root}: no object on {searched} of {', '.join(splits)}. "
            "Expected at least one, or the classes by `--data.classes`."
        )
    images = [image for image in images if image not in unfit]
    objects = [item for image in images for item in image.objects]
    _log_oddities(images, clipping_hint)
    _log_emptied(images, class_faults)
    class_names = class_names or tuple(sorted({item.name for item in objects}))
    class_names = tuple(name for name in class_names if name not in class_faults)
    missing = num_left_out or {}
    return {
        name: _build_dataset(name, split, unfit, class_names, missing.get(name, 0), division, exif)
        for name, split in splits.items()
    }


def order_declared_classes(
    names: Iterable[str], images: Iterable[LabelledImage]
) -> tuple[str, ...]:
    """Take the classes that a data set declares, with or without boxes, and log those without.

    Args:
        names: in their order; the background is left out.
        images: of all splits that are read.

    Returns:
        The names; none where no image has an object of any class.
    """
    names = dict.fromkeys(normalise_name(name) for name in names if not is_background(name))
    with_boxes = {item.name for image in images for item in image.objects}
    if not with_boxes:
        return ()
    if empty := [name for name in names if name not in with_boxes]:
        logger.warning(
            "classes without a box, kept: %d: %s; `--data.classes` takes only those that it names",
            len(empty),
            enumerate_names(empty),
        )
    return tuple(names)


def refuse_empty(datasets: Iterable[Dataset]) -> None:
    """Refuse a split of which no image is left, now that those with faults were skipped.

    Raises:
        DataError: names the split.
    """
    for dataset in datasets:
        if not dataset.examples:
            number = dataset.num_images_left_out
            skipped = "the only one was" if number == 1 else f"all {number} were"
            raise DataError(
                f"split {dataset.split}: no image is left, {skipped} skipped for their faults. "
                "Expected at least one; mend the files, or leave the split out."
            )


def _class_faults(
    root: Path, objects: Iterable[LabelledObject], class_names: tuple[str, ...]
) -> dict[str, str]:
    """Describe each class that can't be used, by its name: at its first object, if it has one."""
    objects = list(objects)
    counts = Counter(item.name for item in objects)
    known = frozenset(class_names)
    places = {item.name: item.place for item in reversed(objects)}  # the first of each stays
    faults: dict[str, str] = {}
    for name in dict.fromkeys((*(item.name for item in objects), *class_names)):
        problem = explain_class_name(name)
        if not problem and known and name not in known:
            # Looking for one alike takes long among many, and no more faults are spelled out.
            alike = _find_alike(name, class_names) if len(faults) < MAX_LISTED else ""
            problem = f"Expected one of the classes {enumerate_names(class_names)}{alike}."
        if problem:
            place = f"{places[name]}, name" if name in places else f"{root}: name of a class"
            faults[name] = (
                f"{place} = {quote(name)} (objects of that name: {counts[name]}). {problem}"
            )
    return faults


def _find_alike(name: str, class_names: tuple[str, ...]) -> str:
    """Name the class that may be meant, in brackets; "" where none is alike."""
    by_folded_name = {known.casefold(): known for known in class_names}
    close = get_close_matches(name.casefold(), by_folded_name, n=1)
    return f" (closest: {by_folded_name[close[0]]!r})" if close else ""


def _find_resized(images: Sequence[LabelledImage]) -> tuple[set[LabelledImage], list[str]]:
    """Find images that were resized since they were labelled -> (the images, a fault or none)."""
    indices, what = find_resized([(image.stated_size, image.image_size) for image in images])
    if not indices:
        return set(), []
    first = images[indices[0]]
    count = counted(len(images), "image")
    fault = (
        f"{counted(len(indices), f'of {count} is', f'of {count} are')} {what} by their "
        "annotations; the first: "
        f"{first.source} states {describe_size(first.stated_size or (0, 0))}, the image has "
        f"{describe_size(first.image_size)}. Boxes that were drawn at the stated size would all be "
        "in wrong places. Expected boxes in pixels of these very images: scale boxes and stated "
        "sizes by that factor, or give the images that were labelled. Where the boxes do fit, "
        "correct the stated sizes or take them out."
    )
    return {images[index] for index in indices}, [fault]


def _log_oddities(images: Iterable[LabelledImage], clipping_hint: str) -> None:
    """Warn once of clipped boxes, of turned boxes and of sizes that differ, with the first."""
    images = list(images)
    objects = [item for image in images for item in image.objects]
    # One that was drawn turned inside of its image may well need a box that is not.
    if clipped := [item for item in objects if item.clipped and not item.rotated]:
        logger.warning(
            "boxes partly outside of their image, clipped: %d%s; the first: %s",
            len(clipped),
            f" ({clipping_hint})" if clipping_hint else "",
            clipped[0].place,
        )
    if rotated := [item for item in objects if item.rotated]:
        logger.warning(
            "boxes that were drawn turned (attribute rotation), of which the upright boxes around "
            "them are taken: %d; the first: %s",
            len(rotated),
            rotated[0].place,
        )
    if differing := [image for image in images if image.size_differs]:
        first = differing[0]
        logger.warning(
            "annotations that state another size than the image has, which is used: %d; the "
            "first: %s, image %d x %d",
            len(differing),
            first.source,
            first.image_size[1],
            first.image_size[0],
        )


def _log_emptied(images: Iterable[LabelledImage], unusable: Collection[str]) -> None:
    """Warn of images that have lost all of their objects, and so are taken for background."""
    emptied = [
        image
        for image in images
        if all(item.name in unusable for item in image.objects)
        and (image.num_left_out or image.objects)
    ]
    if emptied:
        logger.warning(
            "images all of whose boxes were left out, kept as images without objects: %d: %s. "
            "What is on them counts as background: mend them or take them out.",
            len(emptied),
            enumerate_names(image.source for image in emptied),
        )


def _build_dataset(
    split: str,
    images: Sequence[LabelledImage],
    unfit: Collection[LabelledImage],
    class_names: tuple[str, ...],
    num_images_left_out: int,
    division: Mapping[str, Sequence[str]] | None,
    exif: ExifChoice,
) -> Dataset:
    ids = {name: number for number, name in enumerate(class_names, start=1)}
    left_out = [image for image in images if image in unfit]
    images = [image for image in images if image not in unfit]
    objects = [item for image in images for item in image.objects]
    return Dataset(
        split,
        class_names,
        examples=tuple(_build_example(image, ids) for image in images),
        num_clipped=sum(item.clipped for item in objects),
        num_rotated=sum(item.rotated for item in objects),
        num_sizes_differ=sum(image.size_differs for image in images),
        num_images_left_out=num_images_left_out + len(left_out),
        left_out=tuple(_build_example(image, ids) for image in left_out),
        num_boxes_left_out=sum(image.num_left_out for image in images)
        + sum(item.name not in ids for item in objects),
        division=division,
        exif=exif,
    )


def _build_example(image: LabelledImage, ids: Mapping[str, int]) -> Example:
    """Stack the objects of known classes; the others have been told as faults."""
    objects = [item for item in image.objects if item.name in ids]
    areas = np.array([item.area for item in objects], np.float64)  # NaN of None
    return Example(
        image_id=image.image_id,
        image_path=image.image_path,
        image_size=image.image_size,
        boxes=np.array([item.box for item in objects], np.float32).reshape(-1, 4),
        classes=np.array([ids[item.name] for item in objects], np.int32),
        difficult=np.array([item.difficult for item in objects], bool),
        crowd=np.array([item.crowd for item in objects], bool),
        source=image.source,
        areas=None if np.isnan(areas).all() else areas,
        orientation=image.orientation,
        coco_file=image.coco_file,
    )
