"""The picture size of a TFLite file where none is given, and what the network makes of it.

No TensorFlow here: a size is refused before it is loaded.
"""

import math

import numpy as np

from tf_frcnn.config import DataConfig
from tf_frcnn.errors import UserError

DEFAULT_RATIO = (3, 4)  # height : width of most cameras' pictures


def default_size(data: DataConfig) -> tuple[int, int]:
    """Compute the size that a picture of 3:4 has in the network.

    Args:
        data: the run's.

    Returns:
        (height, width) in pixels.
    """
    return resized_size(DEFAULT_RATIO, data.short_side, data.long_side)


def resized_size(picture_size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """Compute the size at which a picture enters the network.

    In whole numbers and rounded as `data.transforms.resized_size` does in the graph.

    Args:
        picture_size: (height, width) in pixels.
        short_side: pixels.
        long_side: pixels, at least `short_side`.

    Returns:
        (height, width) in pixels, each at least 1.
    """
    sides = np.asarray(picture_size, np.float32)
    scale = min(np.float32(short_side) / sides.min(), np.float32(long_side) / sides.max())
    height, width = (max(int(side), 1) for side in np.round(sides * scale))
    return height, width


def check_size(picture_size: tuple[int, int], data: DataConfig, min_side: float) -> None:
    """Check that something can be found in pictures of a size.

    Args:
        picture_size: (height, width) in pixels.
        data: the run's short and long side.
        min_side: shortest side of a proposal, in pixels of the network's input.

    Raises:
        UserError: the pictures are too narrow for that.
    """
    height, width = resized_size(picture_size, data.short_side, data.long_side)
    if min(height, width) >= min_side:
        return
    least = math.ceil(math.ceil(min_side) * max(picture_size) / data.long_side)
    sides = (least, picture_size[1]) if height < width else (picture_size[0], least)
    raise UserError(
        f"--size {picture_size[0]}x{picture_size[1]}: the network would see {height} x {width} "
        f"pixels, and its proposals are at least {min_side:g} px high and wide: nothing could be "
        f"found. Expected --size {sides[0]}x{sides[1]} at least."
    )
