"""The size of images where a command fixes it: --size, its default, and what cannot be used.

No TensorFlow here: a size is refused before it is loaded.
"""

import math
import re

from tf_frcnn.config import DataConfig
from tf_frcnn.data.image import MAX_PIXELS
from tf_frcnn.errors import UserError
from tf_frcnn.ops.resized_size import resized_size

DEFAULT_RATIO = (3, 4)  # height : width of most cameras' images


def parse_size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH.

    Args:
        text: as given with --size.

    Returns:
        (height, width) in pixels.

    Raises:
        UserError: it is no size, or one that no image has.
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


def default_size(data: DataConfig) -> tuple[int, int]:
    """Compute the size that an image of 3:4 has in the network.

    Args:
        data: the run's.

    Returns:
        (height, width) in pixels.
    """
    return resized_size(DEFAULT_RATIO, data.short_side, data.long_side, data.resize_rounding)


def check_size(image_size: tuple[int, int], data: DataConfig, min_side: float) -> None:
    """Check that something can be found in images of a size.

    Args:
        image_size: (height, width) in pixels.
        data: the run's short and long side.
        min_side: shortest side of a proposal, in pixels of the network's input.

    Raises:
        UserError: the images are too narrow for that.
    """
    height, width = resized_size(image_size, data.short_side, data.long_side, data.resize_rounding)
    if min(height, width) >= min_side:
        return
    least = math.ceil(math.ceil(min_side) * max(image_size) / data.long_side)
    sides = (least, image_size[1]) if height < width else (image_size[0], least)
    raise UserError(
        f"--size {image_size[0]}x{image_size[1]}: the network would see {height} x {width} "
        f"pixels, and its proposals are at least {min_side:g} px high and wide: nothing could be "
        f"found. Expected --size {sides[0]}x{sides[1]} at least."
    )


def is_shrunk(image_size: tuple[int, int], network_size: tuple[int, int]) -> bool:
    """Tell whether an image gets lower or narrower on its way into the network.

    Args:
        image_size: (height, width) in pixels.
        network_size: (height, width) in the network.
    """
    return any(to < own for own, to in zip(image_size, network_size, strict=True))


def check_antialias(image_size: tuple[int, int], data: DataConfig) -> None:
    """Check that a TFLite file need not make its images smaller with antialiasing.

    TFLite's builtin operators have none.

    Args:
        image_size: (height, width) of the images that the file takes, in pixels.
        data: the run's.

    Raises:
        UserError: it would have to.
    """
    height, width = resized_size(image_size, data.short_side, data.long_side, data.resize_rounding)
    if data.antialias and is_shrunk(image_size, (height, width)):
        raise UserError(
            f"--size {image_size[0]}x{image_size[1]}: the model was trained with --data.antialias "
            f"and sees such images at {height} x {width} pixels; TFLite has no builtin operator "
            f"that makes images smaller so. Expected --size {height}x{width}: resize images to "
            "that before the file gets them, with antialiasing (docs/tflite.md)."
        )
