"""The size of pictures as it is given to commands: HEIGHTxWIDTH."""

import re

from tf_frcnn.data.image import MAX_PIXELS
from tf_frcnn.errors import UserError


def parse_size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH.

    Args:
        text: as given with --size.

    Returns:
        (height, width) in pixels.

    Raises:
        UserError: it is no size, or one that no picture has.
    """
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if match is None:
        raise UserError(
            f"--size {text}: expected height and width in pixels as HxW, for example 600x800."
        )
    height, width = int(match[1]), int(match[2])
    if not 1 <= height * width <= MAX_PIXELS:
        raise UserError(
            f"--size {text}: expected at least 1 pixel on each side and at most {MAX_PIXELS:,} "
            "in all."
        )
    return height, width
