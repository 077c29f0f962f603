"""One record of TensorFlow Datasets (TFDS): an image and its objects, boxes as fractions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.data.assembly import LabelledObject, clip_box
from tf_frcnn.errors import DataError
from tf_frcnn.names import normalise_name, shown

# A fraction up to 1 is stored with an error of at most 2^-25, half of float32's spacing there. Four
# times that leaves room for a sum of two, and is a thousandth of a pixel in 8000.
_FRACTION_ERROR = 2.0**-23


@dataclass(frozen=True, eq=False)
class Record:
    """One image as TFDS stores it.

    Attributes:
        key: TFDS's own name for it, unique in the set.
        content: the image's file, not decoded.
        file_name: of the image; "" where the set has none.
        image_id: of the image; "" where the set has none.
        boxes: [G, 4] float32 ymin, xmin, ymax, xmax as fractions of the image's sides, unchecked.
        labels: G numbers of classes from 0, or names.
        difficult: [G] bool.
        crowd: [G] bool.
        areas: [G] float64 areas in pixels, as COCO's figures by size use them; None where the set
            has none.
    """

    key: str
    content: bytes
    file_name: str
    image_id: str
    boxes: np.ndarray
    labels: Sequence[int | str]
    difficult: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray | None = None


def read_objects(
    record: Record,
    place: str,
    class_names: tuple[str, ...],
    image_size: tuple[int, int],
    counts_from_one: bool = False,
) -> tuple[tuple[LabelledObject, ...], list[str]]:
    """Read and check all objects of a record.

    Args:
        record: of TFDS.
        place: where it stands, for messages.
        class_names: names of the labels' numbers; empty where the labels are names.
        image_size: (height, width) of the image; boxes are clipped to it.
        counts_from_one: the boxes are 1-based inclusive pixels, divided by the sides.

    Returns:
        The valid objects, and one message for each of the others.
    """
    corners = to_pixels(record.boxes, image_size)  # [G, 4]
    if counts_from_one:
        corners[:, :2] -= 1  # the first pixel begins at 0, the last one ends at its number
    objects: list[LabelledObject] = []
    faults: list[str] = []
    for index, label in enumerate(record.labels):
        object_place = f"{place}: object {index + 1}"
        try:
            name = _read_name(label, class_names, object_place)
            object_place = f"{object_place} ({shown(name)})"
            box, clipped = _read_box(record.boxes[index], corners[index], image_size, object_place)
        except DataError as error:
            faults.append(str(error))
            continue
        objects.append(
            LabelledObject(
                name,
                box,
                object_place,
                difficult=bool(record.difficult[index]),
                crowd=bool(record.crowd[index]),
                clipped=clipped,
                area=_read_area(record, index),
            )
        )
    return tuple(objects), faults


def to_pixels(fractions: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Turn fractions of an image's sides into pixels.

    What is a whole number of pixels but for the rounding of the fraction is that number, so that
    boxes that were annotated in whole pixels are the same as when read from elsewhere.

    Args:
        fractions: [G, 4] float32 ymin, xmin, ymax, xmax.
        image_size: (height, width).

    Returns:
        [G, 4] float64 pixels; what is not finite stays so.
    """
    sides = np.array([*image_size, *image_size], np.float64)
    pixels = fractions.astype(np.float64) * sides
    whole = np.rint(pixels)
    with np.errstate(invalid="ignore"):  # infinity has no distance from itself
        return np.where(np.abs(pixels - whole) <= sides * _FRACTION_ERROR, whole, pixels)


def _read_name(label: int | str, class_names: tuple[str, ...], place: str) -> str:
    if isinstance(label, str):
        if not label:
            raise DataError(f"{place}, label: there is none. Expected the name of a class.")
        return normalise_name(label)
    if not 0 <= label < len(class_names):
        raise DataError(
            f"{place}, label = {label}. Expected the number of a class, 0 to "
            f"{len(class_names) - 1}."
        )
    return normalise_name(class_names[label])


def _read_area(record: Record, index: int) -> float | None:
    area = math.nan if record.areas is None else float(record.areas[index])
    return area if 0 < area < math.inf else None


def _read_box(
    stated: np.ndarray, corners: np.ndarray, image_size: tuple[int, int], place: str
) -> tuple[np.ndarray, bool]:
    """Check a box and cut it to its image -> (box, whether anything was cut off).

    Args:
        stated: [4] fractions, for messages.
        corners: [4] pixels.
        image_size: (height, width).
        place: where it stands, for messages.
    """
    text = f"{place}, bbox = [{', '.join(f'{number:g}' for number in stated)}]"
    expected = "Expected [ymin, xmin, ymax, xmax] as fractions of the image's sides, 0 to 1"
    if not np.isfinite(corners).all():
        raise DataError(f"{text}: not all are numbers. {expected}.")
    if not (corners[2:] > corners[:2]).all():
        raise DataError(
            f"{text}: the box is empty or inverted. {expected}, with ymin < ymax and xmin < xmax."
        )
    box, clipped = clip_box(corners.tolist(), image_size)
    if box is None:
        raise DataError(f"{text}: no area inside of the image. {expected}.")
    return box, clipped
