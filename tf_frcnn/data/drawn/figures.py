"""Figures made of smooth polygons, and how they become pixels: the pen of the drawn data set.

A figure is a stack of layers and a layer a list of filled polygons. Coordinates are (x, y) pairs,
x to the right and y down, in units of the figure's own: a figure is about 100 units large, faces
right and gets its size in pixels, its tilt and its direction when it is rendered. Nothing here
knows about animals, data sets or TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tf_frcnn.data.drawn.palette import Colour

SUPERSAMPLING = 3  # polygons have hard edges: they are drawn larger, and averaging smooths them
_CURVE_SAMPLES = 6  # points between two control points of a curve
_POWERS = (np.arange(_CURVE_SAMPLES)[:, None] / _CURVE_SAMPLES) ** np.arange(4)  # 1, t, t^2, t^3
# Weights of the points before, at the start, at the end and after a segment, for each sample.
_CATMULL_ROM = _POWERS @ (
    0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], np.float64)
)
_ANGLES = np.linspace(0.0, 2.0 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)  # [28, 2]
_HALF_CIRCLE = np.exp(1j * np.linspace(-np.pi / 2, np.pi / 2, 7))
_TO_COMPLEX = np.array([1, 1j])


@dataclass(frozen=True, eq=False)
class Part:
    """One filled polygon: [P, 2] float (x, y) points in figure units, and its colour."""

    points: np.ndarray
    fill: Colour


@dataclass(frozen=True, eq=False)
class Layer:
    """Parts that lie in one plane.

    Attributes:
        parts: drawn in order.
        outlined: draw one dark line around all parts together, so that they read as one piece.
    """

    parts: Sequence[Part]
    outlined: bool = False


@dataclass(frozen=True, eq=False)
class Figure:
    """A drawing that has no size yet: layers from back to front, and the colour of its lines."""

    layers: Sequence[Layer]
    line: Colour


@dataclass(frozen=True)
class View:
    """How a figure is seen.

    Attributes:
        size: square root of the area of the figure's box, in pixels.
        angle: tilt, in degrees; positive turns clockwise on the screen.
        stretch: width is multiplied by this before the tilt.
        mirrored: the figure faces left.
    """

    size: float
    angle: float = 0.0
    stretch: float = 1.0
    mirrored: bool = False


def polygon(points: Sequence[tuple[float, float]], fill: Colour) -> Part:
    """Make a part with straight sides from its corners, in figure units."""
    return Part(np.asarray(points, np.float64), fill)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, fill: Colour) -> Part:
    """Make an upright ellipse around (x, y), in figure units."""
    return Part((x, y) + _CIRCLE * (radius_x, radius_y), fill)


def blob(points: Sequence[tuple[float, float]], fill: Colour) -> Part:
    """Make a part whose border runs smoothly through the points (closed Catmull-Rom spline)."""
    control = np.asarray(points, np.float64)
    following = _rolled(control, 1)
    return Part(_catmull_rom(_rolled(control, -1), control, following, _rolled(control, 2)), fill)


def ribbon(
    points: Sequence[tuple[float, float]], widths: tuple[float, float], fill: Colour
) -> Part:
    """Make a band with round ends along a smooth line through the points: limbs, tails, stems.

    Args:
        points: two or more (x, y) points of the centre line, in figure units.
        widths: width at the first and at the last point, in figure units; linear in between.
        fill: colour.

    Returns:
        The band as one polygon.
    """
    control = np.asarray(points, np.float64)
    first, last = 2 * control[:1] - control[1:2], 2 * control[-1:] - control[-2:-1]
    padded = np.concatenate([first, control, last])
    line = _catmull_rom(padded[:-3], padded[1:-2], padded[2:-1], padded[3:])
    # From here on x + iy: complex numbers turn by a multiplication, by a right angle with 1j.
    line, after = np.concatenate([line, control[-1:]]) @ _TO_COMPLEX, last @ _TO_COMPLEX
    along = np.concatenate([line[1:], after]) - line
    radius = np.linspace(widths[0] / 2, widths[1] / 2, len(line))
    ahead = along / np.abs(along) * radius  # [S]
    # Once around: one side forwards, a half circle, the other side backwards, a half circle.
    outline = np.concatenate(
        [
            line - 1j * ahead,
            line[-1] + ahead[-1] * _HALF_CIRCLE,
            (line + 1j * ahead)[::-1],
            line[0] - ahead[0] * _HALF_CIRCLE,
        ]
    )
    return Part(np.stack([outline.real, outline.imag], 1), fill)


def moved(parts: Sequence[Part], x: float, y: float, angle: float = 0.0) -> list[Part]:
    """Turn parts by `angle` degrees (clockwise) about the origin, then move them by (x, y)."""
    matrix = _rotation(angle)
    return [Part(part.points @ matrix.T + (x, y), part.fill) for part in parts]


def render(figure: Figure, view: View, side_limits: tuple[float, float]) -> Image.Image:
    """Draw a figure on a transparent image that is just large enough for it.

    Args:
        figure: what to draw.
        view: its size in pixels and how it is turned.
        side_limits: least shorter side and greatest longer side of the figure, in pixels; they
            win over `view.size`, the second over the first.

    Returns:
        RGBA image with smooth edges.
    """
    matrix = _rotation(view.angle) * (-view.stretch if view.mirrored else view.stretch, 1.0)
    layers = [[part.points @ matrix.T for part in layer.parts] for layer in figure.layers]
    everything = np.concatenate([points for layer in layers for points in layer])
    lowest, extent = everything.min(axis=0), np.ptp(everything, axis=0)
    scale = max(view.size / np.sqrt(extent.prod()), side_limits[0] / extent.min())
    scale = SUPERSAMPLING * min(scale, side_limits[1] / extent.max())
    line_width = SUPERSAMPLING * max(0.8, 0.012 * view.size)
    margin = np.ceil(line_width) + SUPERSAMPLING
    width, height = (
        SUPERSAMPLING * int(np.ceil((side * scale + 2 * margin) / SUPERSAMPLING)) for side in extent
    )
    # Transparent pixels have the line's colour: edges then blend to that and not to black.
    image = Image.new("RGBA", (width, height), (*figure.line, 0))
    draw = ImageDraw.Draw(image)
    for layer, outlines in zip(figure.layers, layers, strict=True):
        pixels = [(points - lowest) * scale + margin for points in outlines]
        if layer.outlined:
            for points in pixels:
                draw.polygon(_grown(points, line_width).ravel().tolist(), fill=figure.line)
        for part, points in zip(layer.parts, pixels, strict=True):
            draw.polygon(points.ravel().tolist(), fill=part.fill)
    return image.reduce(SUPERSAMPLING)


def _rotation(angle: float) -> np.ndarray:
    """Return the [2, 2] matrix that turns (x, y) columns by `angle` degrees, y pointing down."""
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    return np.array([[cosine, -sine], [sine, cosine]])


def _catmull_rom(
    before: np.ndarray, start: np.ndarray, end: np.ndarray, after: np.ndarray
) -> np.ndarray:
    """Sample the Catmull-Rom segments from each `start` [P, 2] up to, without, its `end`."""
    segments = np.stack([before, start, end, after], axis=1)  # [P, 4, 2]
    return (_CATMULL_ROM @ segments).reshape(-1, 2)


def _grown(points: np.ndarray, distance: float) -> np.ndarray:
    """Move the corners [P, 2] of a polygon outwards by `distance`, along the corner's normal."""
    following = _rolled(points, 1)
    along = following - _rolled(points, -1)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    normal = np.stack([along[:, 1], -along[:, 0]], 1) / length[:, None]
    signed_area = np.sum(points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0])
    return points + np.sign(signed_area) * distance * normal


def _rolled(points: np.ndarray, steps: int) -> np.ndarray:
    """Return the points [P, 2] of a closed line, beginning `steps` points further on."""
    return np.concatenate([points[steps:], points[:steps]])
