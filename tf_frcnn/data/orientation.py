"""Which way up an image is to be seen: EXIF orientations, which this project ignores unless asked.

See `tf_frcnn.data.image` for the policy. No TensorFlow here.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from tf_frcnn.data.image import IMAGE_FORMATS

UPRIGHT = 1  # the EXIF orientation of an image that is stored as it is to be seen


def read_orientation(path: Path) -> int:
    """Read the EXIF orientation of an image.

    Args:
        path: an image that can be decoded.

    Returns:
        1 to 8, as EXIF numbers them; 1 (`UPRIGHT`) where there is none, or none that makes sense.
    """
    orientation: object = None
    with suppress(Exception):  # broken metadata make Pillow raise nearly anything
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.format != "TIFF":  # Pillow turns these when it decodes them
                orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else UPRIGHT


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels to how a viewer shows them.

    Args:
        image: [H, W, 3].
        orientation: 1 to 8 of EXIF 2.32, table 6: 1 to 4 keep rows as rows, 5 to 8 make columns
            of them.

    Returns:
        [H, W, 3], or [W, H, 3] for orientations 5 to 8.
    """
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
