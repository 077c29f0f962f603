"""The sizes that annotations state, where they are not those of the images.

Boxes are in pixels of the image that was labelled. Where most images are larger or smaller than
their annotations say, they were resized since, and every box would be in a wrong place. Single
sizes that differ are mostly slips of a tool. No TensorFlow here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Size = tuple[int, int]  # (height, width)

_TOLERANCE = 0.02  # of a side: rounding to whole pixels of small images gives other factors


def read_stated_size(height: Any, width: Any) -> Size | None:
    """Take the size that an annotation states.

    Args:
        height: as it stands there, number or text.
        width: likewise.

    Returns:
        (height, width); None where they are not both whole numbers above 0, as tools write where
        they do not know.
    """
    try:
        sides = (float(height), float(width))
    except (TypeError, ValueError, OverflowError):
        return None
    if not all(side.is_integer() and side > 0 for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def find_resized(sizes: Sequence[tuple[Size | None, Size]]) -> tuple[list[int], str]:
    """Find images that were resized after they were labelled, if that is most of them.

    Args:
        sizes: (height, width) as stated and of the image, one pair an image; those that state none
            say nothing, and those that state height and width the wrong way round were not resized.

    Returns:
        The indices of the images, and what they are: "2 times as large as stated", or several
        factors; none and "" where it is not more than half of those that state a size.
    """
    stated = [index for index, (size, _) in enumerate(sizes) if size is not None]
    resized = [index for index in stated if sizes[index][0] not in _both_ways(sizes[index][1])]
    if not resized or 2 * len(resized) <= len(stated):
        return [], ""
    before = np.array([sizes[index][0] for index in resized], np.float64)  # [N, 2]
    after = np.array([sizes[index][1] for index in resized], np.float64)
    factors = after / before
    common = np.median(factors, axis=0)
    has_common = (np.abs(before * common - after) <= np.maximum(1, _TOLERANCE * after)).all(axis=1)
    if 2 * has_common.sum() > len(stated):
        return resized, _describe(common)
    low, high = factors.min(), factors.max()
    return resized, f"{low:.4g} to {high:.4g} times as large as stated"


def _both_ways(size: Size) -> tuple[Size, Size]:
    return size, size[::-1]


def _describe(factors: np.ndarray) -> str:
    height, width = factors
    if abs(height - width) <= _TOLERANCE * height:
        return f"{np.sqrt(height * width):.4g} times as large as stated"
    return f"{height:.4g} times as high and {width:.4g} times as wide as stated"
