"""The animals of the drawn data set: cats, dogs and ducks, the classes of the lecture's examples.

What tells them apart is their shape, since their coats share most colours: a cat has pointed ears,
whiskers and a long thin tail, a dog hanging ears, a long muzzle and a stubby tail, a duck a beak,
an oval body and a wing. Every drawing of one class differs in pose and proportions. The numbers in
this file are figure units, x to the right and y down; all animals face right.
"""

from collections.abc import Callable

import numpy as np

from tf_frcnn.data.drawn.figures import Figure, Layer, Part, blob, ellipse, moved, polygon, ribbon
from tf_frcnn.data.drawn.palette import (
    BILLS,
    BLACK,
    COLLARS,
    EYES,
    PINK,
    WHITE,
    Coat,
    Colour,
    pick,
    shade,
)

CLASS_NAMES = ("cat", "dog", "duck")


def draw_animal(name: str, coat: Coat, rng: np.random.Generator) -> Figure:
    """Make one animal in a random pose.

    Args:
        name: one of `CLASS_NAMES`.
        coat: its colours.
        rng: source of the pose and the proportions.

    Returns:
        The figure, facing right.
    """
    poses = _POSES[name]
    layers = poses[int(rng.integers(len(poses)))](coat, rng)
    return Figure(layers, shade(coat.main, 0.34))


def _cat_head(coat: Coat, rng: np.random.Generator) -> tuple[list[Part], list[Part]]:
    """Draw a cat's head from the front around the origin: its silhouette and its face."""
    main, eyes = coat.main, pick(EYES, rng)
    tip = rng.uniform(32, 38)
    silhouette = [polygon([(s * 22, -2), (s * 20, -tip), (s * 3, -16)], main) for s in (-1, 1)]
    silhouette.append(ellipse(0, 0, 23, 19, main))
    face = []
    for s in (-1, 1):
        face += [
            polygon([(s * 18.5, -9), (s * 18, -tip + 7), (s * 8, -15)], PINK),
            ellipse(s * 9.5, -3, 5, 5.6, eyes),
            ellipse(s * 9.5, -3, 2, 4.8, BLACK),
            ellipse(s * 9.5 + 1.5, -5, 1.4, 1.6, WHITE),
            ellipse(s * 4.5, 9, 6.5, 5, coat.second),
        ]
        whisker = shade(main, 0.3) if sum(main) > 380 else WHITE
        for start, end in ((7, 2), (9, 9), (11, 16)):
            corners = [(s * 8, start - 0.7), (s * 28, end), (s * 8, start + 0.7)]
            face.append(polygon(corners, whisker))
    face.append(polygon([(-3.5, 3), (3.5, 3), (0, 7.5)], PINK))
    return silhouette, face


def _cat_tail(x: float, y: float, colour: Colour, rng: np.random.Generator) -> Part:
    """Draw a long thin tail that rises from (x, y) in an S to the left."""
    lean, height = rng.uniform(-6, 14), rng.uniform(44, 60)
    line = [
        (x, y),
        (x - 16, y - 8),
        (x - 20 - lean / 2, y - 0.55 * height),
        (x - 12 - lean, y - 0.85 * height),
        (x - 20 - lean, y - height),
    ]
    return ribbon(line, (7, 5), colour)


def _sitting_cat(coat: Coat, rng: np.random.Generator) -> list[Layer]:
    """Draw a cat that sits and looks at us."""
    main = coat.main
    tail = ribbon(
        [(62, 90), (82, 90), (92, 76), (86 + rng.uniform(-4, 8), 54), (94, 40)], (7, 5), main
    )
    wide = rng.uniform(0, 5)
    body = blob(
        [(50, 34), (66, 50), (74 + wide, 80), (66, 95), (34, 95), (26 - wide, 80), (34, 50)], main
    )
    chest = ellipse(50, 62, 9, 14, coat.second)
    paws = [ribbon([(50 + s * 8, 68), (50 + s * 9, 93)], (10, 11), main) for s in (-1, 1)]
    at = (50 + rng.uniform(-7, 7), rng.uniform(24, 32))
    angle = rng.uniform(-14, 14)
    silhouette, face = (moved(parts, *at, angle) for parts in _cat_head(coat, rng))
    return [
        Layer([tail], True),
        Layer([body], True),
        Layer([chest]),
        Layer(paws, True),
        Layer(silhouette, True),
        Layer(face),
    ]


def _standing_cat(coat: Coat, rng: np.random.Generator) -> list[Layer]:
    """Draw a cat that stands or walks, seen from the side, its face turned to us."""
    main, dark = coat.main, shade(coat.main, 0.78)
    step, foot = rng.uniform(-9, 9), rng.uniform(88, 96)
    far = [ribbon([(x, 60), (x - d, foot - 2)], (9, 7), dark) for x, d in ((30, step), (76, -step))]
    near = [ribbon([(x, 60), (x + d, foot)], (11, 8), main) for x, d in ((22, step), (68, -step))]
    back = rng.uniform(-4, 4)
    body = blob(
        [(14, 46), (30, 38), (52, 40 + back), (74, 37), (84, 48), (76, 66), (46, 67), (20, 66)],
        main,
    )
    marks = [
        ribbon([(x, 43 + back / 2), (x + 2, rng.uniform(52, 60))], (5, 2.5), shade(main, 0.68))
        for x in (30, 41, 52)
    ]
    at = (86 + rng.uniform(-3, 6), rng.uniform(20, 44))
    angle = rng.uniform(-14, 14)
    silhouette, face = (moved(parts, *at, angle) for parts in _cat_head(coat, rng))
    return [
        Layer([_cat_tail(19, 47, main, rng)], True),
        Layer(far, True),
        Layer([body, *near], True),
        Layer(marks),
        Layer(silhouette, True),
        Layer(face),
    ]


def _dog_head(coat: Coat, rng: np.random.Generator) -> tuple[list[Part], list[Part], list[Part]]:
    """Draw a dog's head in profile around the origin: its silhouette, its face and its ear."""
    main, long = coat.main, rng.uniform(30, 37)
    silhouette = [
        ellipse(0, 0, 17, 15, main),
        blob([(2, -9), (12, -5), (long, -1), (long + 2, 8), (long - 8, 12), (4, 14)], main),
    ]
    face = [
        ribbon([(12, 9), (long - 8, 8)], (1.6, 1.2), shade(main, 0.4)),
        ellipse(long, -0.5, 5, 4.2, BLACK),
        ellipse(7, -5, 3, 3.4, BLACK),
        ellipse(8, -6, 1.1, 1.2, WHITE),
    ]
    if rng.random() < 0.4:  # the tongue is out
        silhouette.insert(0, ribbon([(20, 10), (22, 21)], (7, 7), PINK))
    drop = rng.uniform(22, 30)
    colour = coat.second if rng.random() < 0.35 else shade(main, 0.66)
    ear = blob([(-9, -13), (0, -10), (2, 4), (-2, drop), (-12, drop - 1), (-14, 4)], colour)
    return silhouette, face, [ear]


def _standing_dog(coat: Coat, rng: np.random.Generator) -> list[Layer]:
    """Draw a dog that stands or walks, seen from the side."""
    main, dark = coat.main, shade(coat.main, 0.78)
    step, foot = rng.uniform(-9, 9), rng.uniform(90, 100)
    far = [
        ribbon([(x, 58), (x - d, foot - 2)], (10, 8), dark) for x, d in ((26, step), (70, -step))
    ]
    near = [ribbon([(x, 58), (x + d, foot)], (13, 9), main) for x, d in ((17, step), (62, -step))]
    feet = [
        ribbon([(x + d, foot), (x + d + 5, foot)], (9, 8), main)
        for x, d in ((17, step), (62, -step))
    ]
    body = blob(
        [(8, 44), (22, 36), (50, 38), (72, 34), (79, 50), (68, 66), (38, 62), (12, 64)], main
    )
    tail = ribbon([(12, 44), (2, 36), (-3, rng.uniform(24, 34))], (8, 6), main)
    head_x, head_y = 84 + rng.uniform(-2, 4), rng.uniform(12, 40)
    neck = ribbon([(70, 48), (head_x - 4, head_y + 3)], (25, 21), main)
    patch = ellipse(rng.uniform(26, 48), 49, rng.uniform(8, 13), 8, coat.second)
    return [
        Layer(far, True),
        Layer([tail, body, *near, *feet, neck], True),
        Layer([patch] if rng.random() < 0.6 else []),
        *_head_of_dog(coat, rng, (head_x, head_y), (70, 48)),
    ]


def _sitting_dog(coat: Coat, rng: np.random.Generator) -> list[Layer]:
    """Draw a dog that sits, seen from the side."""
    main = coat.main
    head_x, head_y = 66 + rng.uniform(-4, 5), rng.uniform(8, 22)
    tail = ribbon([(18, 86), (6, 84), (0, rng.uniform(70, 80))], (8, 6), main)
    body = blob([(44, 34), (62, 36), (68, 56), (60, 92), (26, 95), (12, 84), (22, 56)], main)
    neck = ribbon([(54, 46), (head_x - 3, head_y + 3)], (26, 21), main)
    front = [
        ribbon([(59, 56), (61, 94)], (13, 9), main),
        ribbon([(61, 95), (67, 95)], (8, 7), main),
    ]
    haunch = [ellipse(31, 79, 17, 15, main), ribbon([(32, 94), (46, 95)], (8, 8), main)]
    chest = ellipse(60, 54, 6, 12, coat.second)
    return [
        Layer([tail, body, neck], True),
        Layer([chest]),
        Layer(front, True),
        Layer(haunch, True),
        *_head_of_dog(coat, rng, (head_x, head_y), (54, 46)),
    ]


def _head_of_dog(
    coat: Coat,
    rng: np.random.Generator,
    head: tuple[float, float],
    chest: tuple[float, float],
) -> list[Layer]:
    """Put collar and head on a dog whose neck runs from `chest` to `head`."""
    neck = np.subtract(head, chest)
    across = 11.0 * np.array([neck[1], -neck[0]]) / np.hypot(*neck)
    middle = np.asarray(chest) + 0.42 * neck
    colour = pick(COLLARS, rng)
    collar = ribbon([tuple(middle - across), tuple(middle + across)], (5, 5), colour)
    angle = rng.uniform(-20, 24)
    silhouette, face, ear = (moved(parts, *head, angle) for parts in _dog_head(coat, rng))
    return [
        Layer([collar] if rng.random() < 0.6 else []),
        Layer(silhouette, True),
        Layer(face),
        Layer(ear, True),
    ]


def _duck_body(coat: Coat, rng: np.random.Generator) -> tuple[Part, list[Part]]:
    """Draw a duck's oval body with its upturned tail, and the wing on it."""
    deep = rng.uniform(76, 83)
    body = blob(
        [(-4, 36), (14, 46), (34, 41), (58, 42), (74, 52), (70, 70), (44, deep), (14, 68), (2, 52)],
        coat.main,
    )
    feathers = [(-4, -4), (2, 6), (-18, 16), (-46, 10), (-32, 6), (-44, 0), (-26, -3)]
    raised = rng.uniform(15, 45) if rng.random() < 0.3 else rng.uniform(-4, 4)
    return body, moved([blob(feathers, shade(coat.main, 0.8))], 54, 54, raised)


def _duck(coat: Coat, rng: np.random.Generator) -> list[Layer]:
    """Draw a duck from the side: standing or swimming, head up or stretched forward."""
    head_colour = coat.second if coat.drake else coat.main
    bill = pick(BILLS, rng)
    body, wing = _duck_body(coat, rng)
    head_x, head_y = rng.uniform(70, 86), rng.uniform(10, 32)
    neck = ribbon([(60, 56), (68, 44), (head_x - 3, head_y + 5)], (26, 15), head_colour)
    open_bill = rng.uniform(0, 3)
    angle = rng.uniform(-14, 20)
    head = moved(
        [
            blob([(10, 0), (18, -1), (31, 3), (30, 7), (10, 6)], bill),
            blob([(10, 5), (28, 8 + open_bill), (26, 11 + open_bill), (9, 9)], shade(bill, 0.85)),
            ellipse(0, 0, 15, 14, head_colour),
        ],
        head_x,
        head_y,
        angle,
    )
    face = moved(
        [ellipse(5, -4, 3, 3.3, BLACK), ellipse(6, -5, 1.1, 1.2, WHITE)], head_x, head_y, angle
    )
    swims = rng.random() < 0.35
    ring = ribbon([(62, 43), (76, 47)], (4, 4), WHITE)
    return [
        Layer([] if swims else _duck_legs(bill, rng), True),
        Layer([neck, body], True),
        Layer([ring] if coat.drake else []),
        Layer(head, True),
        Layer(face),
        Layer(wing, True),
    ]


def _duck_legs(bill: Colour, rng: np.random.Generator) -> list[Part]:
    """Draw two short legs with webbed feet."""
    parts = []
    for x, step in ((34, rng.uniform(-6, 3)), (46, rng.uniform(-3, 6))):
        parts.append(ribbon([(x, 74), (x + step, 92)], (5, 4), bill))
        toes = [(x + step - 2, 89), (x + step + 14, 95), (x + step - 3, 97)]
        parts.append(polygon(toes, bill))
    return parts


_POSES: dict[str, tuple[Callable[[Coat, np.random.Generator], list[Layer]], ...]] = {
    "cat": (_sitting_cat, _standing_cat),
    "dog": (_standing_dog, _sitting_dog),
    "duck": (_duck,),
}
