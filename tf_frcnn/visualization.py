"""Draw detections on images, and images on a sheet.

Sizes of lines and letters follow the size of the drawing, so that a label reads the same on an
image from a telescope and on a thumbnail. The font is the one that comes with Pillow.
"""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tf_frcnn.names import shown
from tf_frcnn.prediction import Prediction

Color = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax: as Pillow takes them

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
SHEET_BACKGROUND = (236, 238, 241)

_GOLDEN_RATIO = (math.sqrt(5.0) - 1.0) / 2.0
_FIRST_HUE = 0.08
# Saturation and value, in turn: neighbouring hues then still differ in lightness.
_SHADES = ((0.9, 1.0), (0.65, 0.9), (1.0, 0.65))

_FONT_SHARE, _LINE_SHARE = 0.037, 0.007  # of the side of a square as large as the drawing
_MIN_FONT_SIZE, _TINY_FONT_SIZE = 11, 6
# At most, those of the surest detections. Nobody reads more, and each is placed beside all before.
_MOST_LABELS = 300


@dataclass(frozen=True)
class _Label:
    """A label in its place: `place` and `font_size` are in pixels of the drawing."""

    text: str
    color: Color
    place: Rectangle
    font_size: int


def class_color(class_id: int) -> Color:
    """Choose the colour of a class: the same in every image, and far from its neighbours'.

    Hues advance by the golden ratio, which spreads them evenly over any number of classes.

    Args:
        class_id: the class, from 1.

    Returns:
        Red, green and blue from 0 to 255.
    """
    hue = (_FIRST_HUE + (class_id - 1) * _GOLDEN_RATIO) % 1.0
    saturation, value = _SHADES[(class_id - 1) % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def text_color(ground: Color) -> Color:
    """Choose black or white text, whichever has more contrast with the ground (WCAG 2)."""
    share = np.asarray(ground) / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    # Contrast is (lighter + 0.05) / (darker + 0.05), with 0 for black and 1 for white.
    return BLACK if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else WHITE


def draw_detections(
    image: np.ndarray,
    found: Prediction,
    truth_boxes: np.ndarray | None = None,
    fit_size: tuple[int, int] | None = None,
) -> Image.Image:
    """Draw boxes with class and score on an image.

    Args:
        image: [H, W, 3] uint8 RGB.
        found: the detections. Boxes are clipped to the image; a box without area becomes a line,
            one that is not finite is left out. Where labels or boxes meet, the higher score lies
            on top.
        truth_boxes: [G, 4] ground truth, drawn as thin dashed white lines.
        fit_size: (height, width) into which the image is enlarged or shrunk before drawing,
            its aspect ratio kept; None keeps its size. Labels are readable on a small image only
            if it is enlarged.

    Returns:
        The drawing. A label that would not fit into it in the smallest readable letters is left
        out.
    """
    drawing = Image.fromarray(image).convert("RGB")
    height, width = image.shape[:2]
    if fit_size is not None:
        drawing = _fit(drawing, fit_size)
    scale = np.array([drawing.height / height, drawing.width / width] * 2)
    pen = ImageDraw.Draw(drawing)
    line_width = max(1, round(_LINE_SHARE * math.sqrt(drawing.width * drawing.height)))
    truth = np.empty((0, 4)) if truth_boxes is None else truth_boxes
    finite = [box for box in truth if np.isfinite(box).all()]
    for rectangle in dict.fromkeys(_rectangle(box * scale, drawing.size) for box in finite):
        _draw_dashed(pen, rectangle, max(1, line_width // 2))
    labels: list[_Label] = []
    rectangles: list[tuple[Rectangle, Color]] = []
    for index in np.argsort(-np.asarray(found.scores, np.float64), kind="stable"):
        if np.isfinite(found.boxes[index]).all():
            rectangle = _rectangle(found.boxes[index] * scale, drawing.size)
            color = class_color(int(found.class_ids[index]))
            rectangles.append((rectangle, color))
            text = f"{shown(found.class_names[index])} {found.scores[index]:.2f}"
            if len(rectangles) <= _MOST_LABELS:
                labels += _place_label(text, color, rectangle, drawing.size, labels)
    for rectangle, color in reversed(dict.fromkeys(rectangles)):  # of equal ones one shows
        pen.rectangle(rectangle, outline=color, width=line_width)
    for label in reversed(labels):
        _draw_label(pen, label)
    return drawing


def detection_sheet(images: Sequence[Image.Image], columns: int, cell_width: int) -> Image.Image:
    """Lay drawings out in a grid of equal cells.

    Args:
        images: the drawings, row by row. Those drawn with `fit_size=(cell_width, cell_width)`
            are not scaled again.
        columns: cells in a row; a sheet of fewer images has fewer.
        cell_width: pixels; no image is drawn taller than this either.

    Returns:
        The sheet; one empty cell where there are no images.
    """
    fitted = [_fit(image, (cell_width, cell_width)) for image in images]
    cell_height = max((image.height for image in fitted), default=cell_width)
    columns = max(1, min(columns, len(fitted)))
    rows = max(1, math.ceil(len(fitted) / columns))
    gap = max(2, cell_width // 40)
    sheet = Image.new(
        "RGB",
        (columns * (cell_width + gap) + gap, rows * (cell_height + gap) + gap),
        SHEET_BACKGROUND,
    )
    for index, image in enumerate(fitted):
        row, column = divmod(index, columns)
        x = gap + column * (cell_width + gap) + (cell_width - image.width) // 2
        y = gap + row * (cell_height + gap) + (cell_height - image.height) // 2
        sheet.paste(image, (x, y))
    return sheet


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale an image, its aspect ratio kept, to the largest that fits into (height, width)."""
    scale = min(size[0] / image.height, size[1] / image.width)
    fitted = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if fitted == image.size:
        return image
    return image.resize(fitted, Image.Resampling.LANCZOS)


def _rectangle(box: np.ndarray, size: tuple[int, int]) -> Rectangle:
    """Turn a yxyx box into the first and last pixels that it covers inside a drawing.

    Args:
        box: [4] finite, in pixels of the drawing, half-open.
        size: (width, height) of the drawing.
    """
    width, height = size
    ymin, xmin = np.clip(np.round(box[:2]), 0, [height - 1, width - 1])
    ymax, xmax = np.clip(np.round(box[2:]) - 1, [ymin, xmin], [height - 1, width - 1])
    return float(xmin), float(ymin), float(xmax), float(ymax)


def _draw_dashed(pen: ImageDraw.ImageDraw, rectangle: Rectangle, line_width: int) -> None:
    """Draw a rectangle in white dashes on a dark line, which shows on any ground."""
    xmin, ymin, xmax, ymax = rectangle
    pen.rectangle(rectangle, outline=BLACK, width=line_width)
    dash = 5 * line_width
    inset = line_width - 1
    for x in np.arange(xmin, xmax + 1, 2 * dash):
        end = min(x + dash - 1, xmax)
        pen.rectangle((x, ymin, end, min(ymin + inset, ymax)), fill=WHITE)
        pen.rectangle((x, max(ymax - inset, ymin), end, ymax), fill=WHITE)
    for y in np.arange(ymin, ymax + 1, 2 * dash):
        end = min(y + dash - 1, ymax)
        pen.rectangle((xmin, y, min(xmin + inset, xmax), end), fill=WHITE)
        pen.rectangle((max(xmax - inset, xmin), y, xmax, end), fill=WHITE)


def _place_label(
    text: str,
    color: Color,
    rectangle: Rectangle,
    size: tuple[int, int],
    placed: Sequence[_Label],
) -> list[_Label]:
    """Find the place beside its box where a label covers the least of the labels before it.

    Returns:
        The label; nothing where it cannot be made to fit into the drawing (width, height).
    """
    width, height = size
    font_size = max(_MIN_FONT_SIZE, round(_FONT_SHARE * math.sqrt(width * height)))
    label_width, label_height = _label_size(text, font_size)
    shrink = min(1.0, width / label_width, height / label_height)
    if shrink < 1.0:
        font_size = math.floor(shrink * font_size) - 1  # letters do not shrink quite evenly
        label_width, label_height = _label_size(text, font_size) if font_size > 0 else (0, 0)
    if font_size < _TINY_FONT_SIZE or label_width > width or label_height > height:
        return []
    xmin, ymin, xmax, ymax = rectangle
    # Above the box, inside at its top, below, inside at its bottom; to the left, then to the right.
    corners = [
        (min(max(x, 0.0), width - label_width), min(max(y, 0.0), height - label_height))
        for x in (xmin, xmax + 1 - label_width)
        for y in (ymin - label_height, ymin, ymax + 1, ymax + 1 - label_height)
    ]
    places = [(x, y, x + label_width - 1, y + label_height - 1) for x, y in corners]
    taken = np.array([label.place for label in placed]).reshape(-1, 4)
    covered = _covered(np.array(places), taken)
    return [_Label(text, color, places[int(covered.argmin())], font_size)]


def _covered(places: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count the pixels of labels that a label would cover at each place.

    Args:
        places: [P, 4] rectangles, of which each may be taken.
        labels: [L, 4] rectangles that are taken.

    Returns:
        [P] float64.
    """
    low = np.maximum(places[:, None, :2], labels[:, :2])  # [P, L, 2]
    high = np.minimum(places[:, None, 2:], labels[:, 2:])
    return np.maximum(high - low + 1, 0.0).prod(axis=-1).sum(axis=-1)


def _padding(font_size: int) -> int:
    """Space between the letters of a label and its edge, in pixels."""
    return max(1, font_size // 5)


@cache
def _load_font(font_size: int) -> ImageFont.FreeTypeFont:
    """Load the scalable font that comes with Pillow."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=font_size))


def _label_size(text: str, font_size: int) -> tuple[int, int]:
    """Measure a label as (width, height); the height is the same whatever the letters."""
    font = _load_font(font_size)
    ascent, descent = font.getmetrics()
    padding = _padding(font_size)
    return math.ceil(font.getlength(text)) + 2 * padding, ascent + descent + padding // 2


def _draw_label(pen: ImageDraw.ImageDraw, label: _Label) -> None:
    """Draw a label: its ground, then its letters in the middle of it."""
    pen.rectangle(label.place, fill=label.color)
    xmin, ymin, _, ymax = label.place
    pen.text(
        (xmin + _padding(label.font_size), (ymin + ymax + 1) / 2),
        label.text,
        fill=text_color(label.color),
        font=_load_font(label.font_size),
        anchor="lm",
    )
