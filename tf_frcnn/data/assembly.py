"""From what a reader found to data sets: checks and arrays that are the same for every format.

A reader turns each of its files into a `LabelledImage` with the boxes already in this project's
form, and hands all of them over at once: classes are only known when everything has been read.
Until then a million boxes are there, which is why an image's objects are kept in columns.
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
from tf_frcnn.data.splits import MADE_SPLITS
from tf_frcnn.data.stated_sizes import find_resized
from tf_frcnn.errors import DataError
from tf_frcnn.names import explain_class_name, is_background, normalise_name, quote

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
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


@dataclass(frozen=True, eq=False, slots=True)
class Objects:
    """The valid objects of an image in columns, with the fields of `LabelledObject`.

    Attributes:
        names: [G] names of their classes.
        boxes: [G, 4] float32.
        places: [G] texts; may make them when asked.
        difficult: [G] bool.
        crowd: [G] bool.
        clipped: [G] bool.
        areas: [G] float64; NaN where none is stated.
        rotated: [G] bool.
    """

    names: tuple[str, ...]
    boxes: np.ndarray
    places: Sequence[str]
    difficult: np.ndarray
    crowd: np.ndarray
    clipped: np.ndarray
    areas: np.ndarray
    rotated: np.ndarray

    @classmethod
    def stack(cls, objects: "Objects | Sequence[LabelledObject]") -> "Objects":
        """Put objects into columns; those that are in columns already stay as they are."""
        if isinstance(objects, Objects):
            return objects
        return cls(
            names=tuple(item.name for item in objects),
            boxes=np.array([item.box for item in objects], np.float32).reshape(-1, 4),
            places=tuple(item.place for item in objects),
            difficult=np.array([item.difficult for item in objects], bool),
            crowd=np.array([item.crowd for item in objects], bool),
            clipped=np.array([item.clipped for item in objects], bool),
            areas=np.array([item.area for item in objects], np.float64),  # NaN of None
            rotated=np.array([item.rotated for item in objects], bool),
        )


@dataclass(frozen=True, eq=False, slots=True)
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
    objects: Objects
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
    boxes, clipped = clip_boxes(np.array([box], np.float64), image_size)
    has_area = bool((boxes[0, 2:] > boxes[0, :2]).all())
    return boxes[0] if has_area else None, bool(clipped[0])


def clip_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes to their image.

    Args:
        boxes: [G, 4] float64: a coordinate may be far outside of float32.
        image_size: (height, width) of the image.

    Returns:
        [G, 4] float32 boxes, some perhaps without area; and [G] bool, whether anything of a box
        was cut off.
    """
    height, width = image_size
    inside = np.minimum(np.maximum(boxes, 0), (height, width, height, width))
    return inside.astype(np.float32), (inside != boxes).any(axis=1)


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
    remarks: Sequence[str] = (),
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
        remarks: likewise, of all splits; they are logged.

    Returns:
        One `Dataset` a split, all with the same class names; where `on_faults` does not raise,
        without the objects of classes that can't be used.

    Raises:
        DataError: there is a fault, or neither a class name nor an object to take it from.
    """
    for remark in remarks:
        logger.warning("%s", remark)
    images = list(dict.fromkeys(image for split in splits.values() for image in split))
    class_faults = _class_faults(root, images, class_names)
    resized, size_fault = _find_resized([image for image in images if not image.is_unfit])
    unfit = resized | {image for image in images if image.is_unfit}
    faults = [*size_fault, *faults]
    on_faults(str(root), [*faults, *class_faults.values()])
    has_objects = any(image.objects.names for image in images)
    if images and not (has_objects or class_names or faults):
        searched = "the only image" if len(images) == 1 else f"any of the {len(images)} images"
        raise DataError(
            f"{root}: no object on {searched} of {', '.join(splits)}. "
            "Expected at least one, or the classes by `--data.classes`."
        )
    images = [image for image in images if image not in unfit]
    _log_oddities(images, clipping_hint)
    _log_emptied(images, class_faults)
    class_names = class_names or tuple(sorted(_names_of(images)))
    class_names = tuple(name for name in class_names if name not in class_faults)
    missing = num_left_out or {}
    return {
        name: _build_dataset(
            *(name, split, unfit, class_names, missing.get(name, 0)),
            *(division, exif, tuple(remarks)),
        )
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
    with_boxes = _names_of(images)
    if not with_boxes:
        return ()
    if empty := [name for name in names if name not in with_boxes]:
        logger.warning(
            "classes without a box, kept: %d: %s; `--data.classes` takes only those that it names",
            len(empty),
            enumerate_names(empty),
        )
    return tuple(names)


def refuse_empty(datasets: Mapping[str, Dataset]) -> None:
    """Refuse a split without images: they were skipped, or there were too few to divide.

    Args:
        datasets: by role, as `read_datasets` gives them; "test" alone is to be evaluated.

    Raises:
        DataError: names the split.
    """
    for dataset in datasets.values():
        number = dataset.num_images_left_out
        if dataset.examples:
            continue
        if dataset.division is not None and not number:
            raise DataError(_explain_too_few(datasets, dataset.division))
        skipped = "the only one was" if number == 1 else f"all {number} were"
        raise DataError(
            f"split {dataset.split}: no image is left, {skipped} skipped for their faults. "
            "Expected at least one; mend the files, or leave the split out."
        )


def _explain_too_few(datasets: Mapping[str, Dataset], division: Mapping[str, Sequence[str]]) -> str:
    """Say that splits came out empty when images were divided, and what to do about it."""
    empty = {role: one.split for role, one in datasets.items() if not one.examples}
    number = sum(map(len, division.values()))
    if number >= len(MADE_SPLITS):  # each got one, when a run was started
        return (
            f"none of the images of {enumerate_names(empty.values())}, as they were divided when "
            "the run was started, is there any more. Expected them at their places: put them back."
        )
    ways_out = [f"--data.{role}-split none" for role in empty]
    if "train" not in datasets:
        ways_out = [f"--data.test-split {max(division, key=lambda split: len(division[split]))}"]
    total = counted(number, "image was", "images were")
    return (
        f"no image came to {enumerate_names(empty.values())}: {total} divided. Expected at least "
        f"{len(MADE_SPLITS)}, or `{' '.join(ways_out)}`."
    )


def _names_of(images: Iterable[LabelledImage]) -> set[str]:
    return {name for image in images for name in image.objects.names}


def _class_faults(
    root: Path, images: Iterable[LabelledImage], class_names: tuple[str, ...]
) -> dict[str, str]:
    """Describe each class that can't be used, by its name: at its first object, if it has one."""
    counts: Counter[str] = Counter()
    first: dict[str, tuple[Objects, int]] = {}
    for image in images:
        names = image.objects.names
        counts.update(names)
        for number, name in enumerate(names):
            if name not in first:
                first[name] = (image.objects, number)
    known = frozenset(class_names)
    faults: dict[str, str] = {}
    for name in dict.fromkeys((*first, *class_names)):
        problem = explain_class_name(name)
        if not problem and known and name not in known:
            # Looking for one alike takes long among many, and no more faults are spelled out.
            alike = _find_alike(name, class_names) if len(faults) < MAX_LISTED else ""
            problem = f"Expected one of the classes {enumerate_names(class_names)}{alike}."
        if problem:
            place = f"{root}: name of a class"
            if name in first:
                objects, number = first[name]
                place = f"{objects.places[number]}, name"
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
    rotated = _flags_of(images, "rotated")
    # One that was drawn turned inside of its image may well need a box that is not.
    clipped = _flags_of(images, "clipped") & ~rotated
    if clipped.any():
        logger.warning(
            "boxes partly outside of their image, clipped: %d%s; the first: %s",
            clipped.sum(),
            f" ({clipping_hint})" if clipping_hint else "",
            _first_place(images, clipped),
        )
    if rotated.any():
        logger.warning(
            "boxes that were drawn turned (attribute rotation), of which the upright boxes around "
            "them are taken: %d; the first: %s",
            rotated.sum(),
            _first_place(images, rotated),
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


def _flags_of(images: Sequence[LabelledImage], column: str) -> np.ndarray:
    """Join a column of bools of all images' objects, one after the other."""
    columns = [getattr(image.objects, column) for image in images]
    return np.concatenate(columns) if columns else np.zeros(0, bool)


def _first_place(images: Iterable[LabelledImage], flags: np.ndarray) -> str:
    """Say where the first object is whose flag is set; there is one."""
    number = int(flags.argmax())
    for image in images:
        if number < len(image.objects.places):
            return image.objects.places[number]
        number -= len(image.objects.places)
    raise IndexError(number)


def _log_emptied(images: Iterable[LabelledImage], unusable: Collection[str]) -> None:
    """Warn of images that have lost all of their objects, and so are taken for background."""
    emptied = [
        image
        for image in images
        if all(name in unusable for name in image.objects.names)
        and (image.num_left_out or image.objects.names)
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
    remarks: tuple[str, ...],
) -> Dataset:
    ids = {name: number for number, name in enumerate(class_names, start=1)}
    left_out = [image for image in images if image in unfit]
    images = [image for image in images if image not in unfit]
    return Dataset(
        split,
        class_names,
        examples=tuple(_build_example(image, ids) for image in images),
        num_clipped=int(_flags_of(images, "clipped").sum()),
        num_rotated=int(_flags_of(images, "rotated").sum()),
        num_sizes_differ=sum(image.size_differs for image in images),
        num_images_left_out=num_images_left_out + len(left_out),
        left_out=tuple(_build_example(image, ids) for image in left_out),
        num_boxes_left_out=sum(image.num_left_out for image in images)
        + sum(name not in ids for image in images for name in image.objects.names),
        division=division,
        exif=exif,
        remarks=remarks,
    )


def _build_example(image: LabelledImage, ids: Mapping[str, int]) -> Example:
    """Take the objects of known classes; the others have been told as faults."""
    objects = image.objects
    classes = np.array([ids.get(name, 0) for name in objects.names], np.int32)
    columns = [objects.boxes, classes, objects.difficult, objects.crowd, objects.areas]
    if not classes.all():
        columns = [column[classes > 0] for column in columns]
    boxes, classes, difficult, crowd, areas = columns
    return Example(
        image_id=image.image_id,
        image_path=image.image_path,
        image_size=image.image_size,
        boxes=boxes,
        classes=classes,
        difficult=difficult,
        crowd=crowd,
        source=image.source,
        areas=None if np.isnan(areas).all() else areas,
        orientation=image.orientation,
        coco_file=image.coco_file,
    )
