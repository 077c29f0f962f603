"""Which way up images are: their EXIF orientation, and what a data set does about it.

Labelling tools and viewers show an image turned as its EXIF orientation says, while decoders give
the pixels as they are stored. Boxes belong to one of the two, so there is one choice for all images
of a data set, and it goes with the model that is trained on them: `apply` turns images first,
`ignore` takes stored pixels. `auto` is `apply`, unless the sizes that annotations state say
otherwise; where nothing is stated, as in a photo to detect in, `auto` is `apply`.

The orientation is that of the EXIF block before the pixels: APP1 of JPEG, eXIf of PNG (third
edition, table 7), EXIF of WebP and AVIF. `export.decoding` reads it by the same rule inside of a
graph. No TensorFlow here.
"""

import logging
import operator
import struct
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from tf_frcnn.data.faults import counted

logger = logging.getLogger(__name__)

ExifPolicy = Literal["auto", "apply", "ignore"]
ExifChoice = Literal["apply", "ignore"]
Size = tuple[int, int]  # (height, width)

UPRIGHT = 1  # the EXIF orientation of an image that is stored as it is to be seen
FIRST_QUARTER_TURN = 5  # 5 to 8 make columns of the rows, 2 to 4 leave the size as it is
EXIF_PREFIX = b"Exif\0\0"
ORIENTATION_TAG = 0x0112
SHORT = 3  # EXIF's type of the orientation
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def parse_orientation(exif: bytes) -> int:
    """Find the orientation in an EXIF block.

    Args:
        exif: the block, with or without its prefix; may be cut or damaged.

    Returns:
        1 to 8, as EXIF numbers them; 1 (`UPRIGHT`) where there is none, or none that makes sense.
    """
    tiff = exif.removeprefix(EXIF_PREFIX)
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, length, value = struct.unpack_from(f"{order}HHIHxx", tiff, place)
            if tag == ORIENTATION_TAG:
                return value if kind == SHORT and length == 1 and 1 <= value <= 8 else UPRIGHT
    except struct.error:  # it ends before what it says is there
        pass
    return UPRIGHT


def is_quarter_turn(orientation: int) -> bool:
    """Tell whether an orientation exchanges height and width."""
    return orientation >= FIRST_QUARTER_TURN


def turned_size(size: Size, orientation: int) -> Size:
    """Compute the (height, width) that an image has when it is turned upright."""
    return size[::-1] if is_quarter_turn(orientation) else size


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels to how a viewer shows them.

    Args:
        image: [H, W, 3].
        orientation: 1 to 8 of EXIF 2.32, table 6: 1 to 4 keep rows as rows, 5 to 8 make columns
            of them.

    Returns:
        [H, W, 3], or [W, H, 3] for orientations 5 to 8.
    """
    if orientation == UPRIGHT:
        return image
    if is_quarter_turn(orientation):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


# === The choice of a data set ===


class SizeOnDisk(NamedTuple):
    """What tells how an image's boxes were drawn.

    Attributes:
        stored: (height, width) of the stored pixels.
        orientation: of EXIF.
        stated: (height, width) in the annotation; None where it states none.
    """

    stored: Size
    orientation: int
    stated: Size | None = None


class Orientations:
    """What is done about the orientations of a data set's images.

    Args of `__init__`: the `policy` of `--data.exif`, and all `images`.

    Attributes:
        choice: for all images.
    """

    choice: ExifChoice

    def __init__(self, policy: ExifPolicy, images: Iterable[SizeOnDisk]) -> None:
        turned = [image for image in images if image.orientation != UPRIGHT]
        sides = [_speaks_for(image) for image in turned]
        self._num_apply, self._num_ignore = sides.count("apply"), sides.count("ignore")
        self._num_quarter = sum(is_quarter_turn(image.orientation) for image in turned)
        self._num_other = len(turned) - self._num_quarter
        self._policy = policy
        if policy == "auto":
            all_are_stored = self._num_ignore > 0 and self._num_apply == 0
            self.choice = "ignore" if all_are_stored else "apply"
        else:
            self.choice = policy

    def orientation_of(self, image: SizeOnDisk) -> int:
        """Get the orientation by which an image is turned; 1 where it is taken as it is stored."""
        return image.orientation if self.choice == "apply" else UPRIGHT

    def size_of(self, image: SizeOnDisk) -> Size:
        """Get the (height, width) of an image as it is used, in whose pixels its boxes are."""
        return turned_size(image.stored, self.orientation_of(image))

    def explain_contradiction(self, image: SizeOnDisk) -> str:
        """Say that an image's stated size speaks against the choice: one message, or ""."""
        side = _speaks_for(image)
        if side is None or side == self.choice or image.stated is None:
            return ""
        size = {"apply": "that of the turned image", "ignore": "that of the stored pixels"}
        done = {"apply": "turns images upright", "ignore": "takes stored pixels"}
        return (
            f"the annotation states {describe_size(image.stated)}, {size[side]} (EXIF orientation "
            f"{image.orientation}, stored {describe_size(image.stored)}), and --data.exif "
            f"{self._policy} {done[self.choice]}. Of {counted(self._num_quarter, 'image')} turned "
            f"by a quarter, {counted(self._num_apply, 'speaks', 'speak')} for `--data.exif apply`, "
            f"{self._num_ignore} for `--data.exif ignore`: give the one that fits, or "
            "`--data.on-error skip` to leave the others out."
        )

    def log(self, subject: str) -> None:
        """Say what is done, where there is an image with an orientation.

        Args:
            subject: what they were found in; begins the line.
        """
        total = self._num_quarter + self._num_other
        if not total:
            return
        silent = total - self._num_apply - self._num_ignore
        unknown = (
            f"; nothing tells how the boxes of {silent} were drawn, of which {self._num_other} "
            "have orientations 2 to 4, which keep the size"
        )
        logger.log(
            logging.WARNING if silent else logging.INFO,
            "%s: images with an EXIF orientation: %d, %s. The size of the turned image is stated "
            "by %d, that of the stored pixels by %d%s",
            *(subject, total, describe_choice(self.choice)),
            *(self._num_apply, self._num_ignore, unknown if silent else ""),
        )


def describe_choice(choice: str) -> str:
    """Say what a choice does to images, and how a configuration has it: it may not be typed."""
    if choice == "apply":
        return "turned upright as viewers show them (data.exif: apply)"
    return "taken as they are stored (data.exif: ignore)"


def is_applied(policy: ExifPolicy) -> bool:
    """Tell whether images that come without annotations are turned upright."""
    return policy != "ignore"


def _speaks_for(image: SizeOnDisk) -> ExifChoice | None:
    """Tell which choice an image's stated size speaks for; None where it tells nothing.

    The stated size may be that of a smaller or larger copy.
    """
    if not is_quarter_turn(image.orientation) or image.stated is None:
        return None
    turned = image.stored[::-1]
    for is_like in (operator.eq, _has_shape):
        is_stored, is_turned = is_like(image.stated, image.stored), is_like(image.stated, turned)
        if is_stored != is_turned:
            return "ignore" if is_stored else "apply"
    return None


def _has_shape(stated: Size, actual: Size) -> bool:
    """Tell whether one size is another one times a factor, but for rounding to whole pixels."""
    return abs(stated[0] * actual[1] - stated[1] * actual[0]) <= max(*stated, *actual)


def describe_size(size: Size) -> str:
    """Write a (height, width) as width x height, the way annotations and viewers have it."""
    return f"{size[1]} x {size[0]}"
