"""What surrounds the animals of the drawn data set: backgrounds, distracting things, foregrounds.

Distractors share the animals' outlines, colours and round forms, so that a detector can't make do
with "something with a dark line around it", but none has a head or looks like an animal.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from tf_frcnn.data.drawn.figures import Figure, Layer, blob, ellipse, polygon, ribbon
from tf_frcnn.data.drawn.palette import (
    BACKDROPS,
    BARK,
    FIELDS,
    LEAF,
    SKIES,
    STRAW,
    TOYS,
    WHITE,
    Colour,
    jittered,
    pick,
    shade,
)


def draw_background(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Draw a background: a gradient, a meadow, patches or tiles, with some unevenness.

    Args:
        size: (height, width) in pixels.
        rng: source of kind, colours and unevenness.

    Returns:
        RGB image of that size.
    """
    kinds = (_gradient, _meadow, _patches, _tiles)
    image = kinds[int(rng.integers(len(kinds)))](size, rng)
    height, width = size
    # Clouds of brightness: coarse random numbers, enlarged smoothly, and a fine grain on top.
    coarse = Image.fromarray(rng.normal(0, rng.uniform(0, 11), (6, 8)).astype(np.float32))
    clouds = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = rng.integers(-1, 2, (height, width), np.int8) * rng.integers(0, 5, dtype=np.int8)
    pixels = np.asarray(image) + (clouds + grain)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw_distractor(rng: np.random.Generator) -> Figure:
    """Draw one thing that is no animal: a ball, a box, a star, a flower, a tree or a mushroom."""
    kind = _DISTRACTORS[int(rng.integers(len(_DISTRACTORS)))]
    colour = pick(TOYS, rng)
    return Figure(kind(colour, rng), shade(colour, 0.4))


def draw_foreground(rng: np.random.Generator) -> Figure:
    """Draw something slender that stands before an animal: a tuft of grass or a leafy twig."""
    colour = pick((LEAF, LEAF, STRAW), rng)
    if rng.random() < 0.6:
        blades = []
        for x in np.linspace(10, 90, 8):
            lean, height = rng.normal(0, 14), rng.uniform(35, 80)
            line = [(x, 100), (x + 0.3 * lean, 100 - 0.6 * height), (x + lean, 100 - height)]
            blades.append(ribbon(line, (7, 1.5), shade(colour, rng.uniform(0.8, 1.2))))
        return Figure([Layer(blades, True)], shade(colour, 0.55))
    stem = ribbon([(0, 60), (40, 50), (75, 54), (104, 40)], (6, 3), BARK)
    leaves = []
    for x in (22, 46, 70, 92):
        y, side = rng.uniform(46, 54), 1 if rng.random() < 0.5 else -1
        leaves.append(
            blob(
                [(x, y), (x + 4, y + side * 14), (x + 16, y + side * 20), (x + 12, y + side * 6)],
                colour,
            )
        )
    return Figure([Layer([stem], True), Layer(leaves, True)], shade(colour, 0.5))


def _gradient(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Draw a smooth change from one colour to another, in any direction."""
    height, width = size
    angle = rng.uniform(0, 2 * np.pi)
    down = np.sin(angle) * np.linspace(-0.5, 0.5, 24)[:, None, None]
    across = np.cos(angle) * np.linspace(-0.5, 0.5, 32)[:, None]
    share = np.clip(0.5 + across + down, 0, 1)  # [24, 32, 1]: enough for what is smooth
    start, end = np.array([pick(BACKDROPS, rng), pick(BACKDROPS, rng)])
    # Part of the way towards the second colour only: opposite colours would make a loud image.
    colours = (start + 0.6 * share * (end - start)).astype(np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BILINEAR)


def _meadow(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Draw a sky over two rolling hills."""
    height, width = size
    image = Image.new("RGB", (2 * width, 2 * height), pick(SKIES, rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 3))):
        x, y, radius = rng.uniform(0, 2 * width), rng.uniform(0, 0.6 * height), rng.uniform(16, 30)
        for step, part in ((-1.1, 0.75), (0, 1.0), (1.2, 0.65)):  # three puffs on one base line
            middle, reach = x + step * radius, part * radius
            box = (middle - 1.3 * reach, y + radius - 2 * reach, middle + 1.3 * reach, y + radius)
            draw.ellipse(box, fill=WHITE)
    along = np.linspace(0, 2 * width, 40)
    ground = pick(FIELDS, rng)
    horizon = rng.uniform(0.3, 0.6)
    for depth in range(2):
        waves = np.sin(along / rng.uniform(60, 140) + rng.uniform(0, 6)) * rng.uniform(6, 18)
        ridge = 2 * height * (horizon + 0.2 * depth) + waves
        border = [(0.0, 2.0 * height), *zip(along.tolist(), ridge.tolist(), strict=True)]
        draw.polygon([*border, (2.0 * width, 2.0 * height)], fill=shade(ground, 0.9 + 0.12 * depth))
    return image.reduce(2)


def _patches(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Draw large overlapping ovals in shades of one colour."""
    height, width = size
    colour = pick(BACKDROPS, rng)
    image = Image.new("RGB", (2 * width, 2 * height), colour)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(8, 18))):
        x, y = rng.uniform(0, 2 * width), rng.uniform(0, 2 * height)
        radius_x, radius_y = rng.uniform(30, 120, 2)
        fill = shade(jittered(colour, rng), rng.uniform(0.85, 1.12))
        draw.ellipse((x - radius_x, y - radius_y, x + radius_x, y + radius_y), fill=fill)
    return image.reduce(2)


def _tiles(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Draw a wallpaper of stripes or checks in two shades of one colour."""
    y, x = (grid.astype(np.float32) for grid in np.ogrid[: size[0], : size[1]])
    period, slant = rng.uniform(14, 40), rng.uniform(-0.5, 0.5)
    bands = np.floor((x + slant * y) / period)
    if rng.random() < 0.5:
        bands = bands + np.floor((y - slant * x) / period)
    colour = pick(BACKDROPS, rng)
    colours = np.array([colour, shade(colour, rng.uniform(0.84, 0.94))], np.uint8)
    return Image.fromarray(colours[bands.astype(np.int8) & 1])


def _ball(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    band = ribbon([(6, 50), (50, 50 + rng.uniform(-22, 22)), (94, 50)], (12, 12), pick(TOYS, rng))
    return [
        Layer([ellipse(50, 50, 46, 46, colour)], True),
        Layer([band, ellipse(34, 28, 9, 7, shade(colour, 1.35))]),
    ]


def _box(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    high = rng.uniform(50, 90)
    ribbon_colour = pick(TOYS, rng)
    return [
        Layer([polygon([(5, 10), (95, 10), (95, 10 + high), (5, 10 + high)], colour)], True),
        Layer([polygon([(42, 10), (56, 10), (56, 10 + high), (42, 10 + high)], ribbon_colour)]),
    ]


def _star(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    radius = np.where(np.arange(10) % 2, rng.uniform(20, 27), 50)
    corners = zip((radius * np.cos(turn)).tolist(), (radius * np.sin(turn)).tolist(), strict=True)
    return [Layer([polygon(list(corners), colour)], True)]


def _flower(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    turn = np.linspace(0, 2 * np.pi, int(rng.integers(5, 8)), endpoint=False)
    petals = [ellipse(50 + 20 * np.cos(t), 30 + 20 * np.sin(t), 13, 13, colour) for t in turn]
    leaf = blob([(50, 90), (58, 76), (74, 70), (66, 84)], LEAF)
    return [
        Layer([ribbon([(50, 36), (50, 100)], (5, 5), LEAF), leaf], True),
        Layer(petals, True),
        Layer([ellipse(50, 30, 11, 11, (250, 214, 80))]),
    ]


def _tree(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    trunk = ribbon([(50, 60), (50, 104)], (12, 15), BARK)
    green = jittered(LEAF, rng)
    if rng.random() < 0.5:
        crown = [polygon([(14, 76 - k), (86, 76 - k), (50, 34 - k)], green) for k in (0, 22, 44)]
    else:
        crown = [ellipse(x, y, 26, 24, green) for x, y in ((30, 46), (70, 46), (50, 22))]
    return [Layer([trunk], True), Layer(crown, True)]


def _mushroom(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    cap = blob([(6, 56), (14, 28), (50, 10), (86, 28), (94, 56), (50, 62)], colour)
    spots = [ellipse(x, y, 7, 6, WHITE) for x, y in ((30, 38), (54, 26), (74, 42))]
    return [
        Layer([ribbon([(50, 55), (50, 92)], (22, 28), (240, 228, 206))], True),
        Layer([cap], True),
        Layer(spots),
    ]


_DISTRACTORS: tuple[Callable[[Colour, np.random.Generator], list[Layer]], ...] = (
    _ball,
    _box,
    _star,
    _flower,
    _tree,
    _mushroom,
)
