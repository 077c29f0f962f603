"""A data set of another tool, as its reader gives it: images with boxes, and what was no box."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from tf_frcnn.data.assembly import clip_box
from tf_frcnn.data.image import read_image_header
from tf_frcnn.data.orientation import turned_size
from tf_frcnn.data.splits import MADE_SPLITS, names_a_split, role_of
from tf_frcnn.errors import DataError
from tf_frcnn.names import quote

DEFAULT_SPLIT = "default"  # of images that have to be divided


@dataclass(frozen=True, eq=False)
class ForeignObject:
    """One object.

    Attributes:
        name: of its class; "" where there is none.
        box: ymin, xmin, ymax, xmax in pixels, half-open, not yet checked.
        area: of the object in pixels, which may be less than the box's.
        is_ignored: it is a crowd or difficult, and so takes no part in training.
    """

    name: str
    box: tuple[float, float, float, float]
    area: float
    is_ignored: bool = False


@dataclass(frozen=True, eq=False)
class ForeignImage:
    """One image.

    Attributes:
        name: its path in its split, with `/` and extension.
        split: as the source has it; "" where it has none.
        content: the file, or its content.
        place: where it is annotated, for messages.
        objects: in the order of the source.
        stated_size: (height, width) in the annotation; None where it states none.
    """

    name: str
    split: str
    content: Path | bytes
    place: str
    objects: tuple[ForeignObject, ...] = ()
    stated_size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class ForeignSet:
    """Everything that a reader found.

    Attributes:
        images: of all splits.
        faults: one message each.
        class_names: in the order of the source, with or without boxes.
        boxes_of: kinds of shapes whose boxes were taken -> how many.
        left_out: what was no box, by kind -> how many.
    """

    images: list[ForeignImage] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    boxes_of: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def check_images(found: ForeignSet) -> list[ForeignImage]:
    """Check files, names and boxes of all images; what is wrong is added to the faults.

    Returns:
        The valid images, each with its valid boxes.
    """
    images: list[ForeignImage] = []
    seen: dict[tuple[str, str], str] = {}
    owners: dict[Path, str] = {}
    for image in found.images:
        try:
            _check_name(image, seen)
            _check_owner(image, owners)
            header = read_image_header(image.content)
        except DataError as error:
            found.faults.append(f"{image.place}: {error}")
            continue
        # Whether the image is turned first is decided when all of them are read.
        sizes = (header.size, turned_size(header.size, header.orientation))
        problems = [_explain_object(item, sizes) for item in image.objects]
        found.faults.extend(
            f"{image.place}: object {number}{problem}"
            for number, problem in enumerate(problems, start=1)
            if problem
        )
        valid = (item for item, problem in zip(image.objects, problems, strict=True) if not problem)
        images.append(replace(image, objects=tuple(valid)))
    return images


def name_splits(images: Sequence[ForeignImage]) -> dict[str, list[ForeignImage]]:
    """Sort images by split, train first, and by name.

    Where no name of the source is a split's, such as those of tasks or of the folders of a
    collection, all images are one split, `DEFAULT_SPLIT`, each in a folder of that name.
    """
    images = [replace(image, split=image.split or DEFAULT_SPLIT) for image in images]
    images.sort(key=lambda image: image.name)  # not as a file system lists them
    names = sorted({image.split for image in images}, key=_split_order)
    if any(map(names_a_split, names)):
        return {name: [image for image in images if image.split == name] for name in names}
    if len(names) == 1:
        return {DEFAULT_SPLIT: images}
    return {DEFAULT_SPLIT: [replace(one, name=f"{one.split}/{one.name}") for one in images]}


def _split_order(name: str) -> tuple[int, str]:
    role = role_of(name)
    return MADE_SPLITS.index(role) if role else len(MADE_SPLITS), name


def _check_name(image: ForeignImage, seen: dict[tuple[str, str], str]) -> None:
    path = PurePosixPath(image.name)
    if path.is_absolute() or ".." in path.parts or not path.suffix or not _is_text(image.name):
        raise DataError(
            f"the image's name is {quote(image.name)}. Expected a path inside of the data set, in "
            "UTF-8, with an extension."
        )
    if {"/", "\\"} & set(image.split) or image.split in (".", "..") or not _is_text(image.split):
        raise DataError(f"the split is {quote(image.split)}. Expected a name without folders.")
    key = (image.split, path.with_suffix("").as_posix())
    if key in seen:
        raise DataError(
            f"the image's name without extension is that of {quote(seen[key])}. Expected each only "
            "once."
        )
    seen[key] = image.name


def _is_text(name: str) -> bool:
    """Tell whether files can hold a name and be called so."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:  # of bytes that are no UTF-8
        return False


def _check_owner(image: ForeignImage, owners: dict[Path, str]) -> None:
    if isinstance(image.content, Path):
        if image.content in owners:
            raise DataError(
                f"its image {image.content} is that of {owners[image.content]} already. Expected "
                "an image for each."
            )
        owners[image.content] = image.place


def _explain_object(item: ForeignObject, sizes: Iterable[tuple[int, int]]) -> str:
    """Say what is wrong with an object in an image of one of these sizes; "" where nothing is."""
    if not item.name.strip() or not _is_text(item.name):
        there = f"the class is {quote(item.name)}" if item.name.strip() else "there is no class"
        return f": {there}. Expected the name of one, in UTF-8."
    ymin, xmin, ymax, xmax = item.box
    text = f" ({item.name}), x {xmin:g} to {xmax:g}, y {ymin:g} to {ymax:g}"
    if not all(map(math.isfinite, item.box)):
        return f"{text}: not all are numbers. Expected pixels."
    if ymax <= ymin or xmax <= xmin:
        return f"{text}: the box is empty or inverted. Expected one with an area."
    if all(clip_box(item.box, size)[0] is None for size in sizes):
        return f"{text}: wholly outside of the image. Expected a box in it."
    return ""
