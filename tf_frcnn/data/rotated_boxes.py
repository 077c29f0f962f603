"""Boxes that were drawn turned by an angle, as CVAT has them: the upright box around each.

CVAT's exports give such a box as it was before it was turned about its centre, and the angle as an
attribute `rotation`, in degrees. No TensorFlow here.
"""

import math
from collections.abc import Sequence
from typing import Any

ROTATION = "rotation"


def read_rotation(value: Any) -> float:
    """Read an attribute `rotation`.

    Args:
        value: number or text; None where there is none.

    Returns:
        Degrees; 0 where the value is no angle, but something of the user's own.
    """
    if isinstance(value, bool):
        return 0.0
    try:
        degrees = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return degrees if math.isfinite(degrees) else 0.0


def enclose_rotated(box: Sequence[float], degrees: float) -> tuple[float, ...]:
    """Compute the upright box around a box that is turned about its centre.

    Args:
        box: ymin, xmin, ymax, xmax before it is turned, half-open.
        degrees: in either direction, which makes no difference.
    """
    ymin, xmin, ymax, xmax = box
    height, width = ymax - ymin, xmax - xmin
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    half_height = 0.5 * (height * cosine + width * sine)
    half_width = 0.5 * (width * cosine + height * sine)
    y, x = 0.5 * (ymin + ymax), 0.5 * (xmin + xmax)
    # A quarter turn has a cosine of 1e-16 rather than 0.
    corners = (y - half_height, x - half_width, y + half_height, x + half_width)
    return tuple(round(corner, 9) for corner in corners)
