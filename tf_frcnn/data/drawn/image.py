"""One image of the drawn data set: a background, things that distract, animals with their boxes.

Every animal is rendered on a transparent layer of its own, and its box is the tight box of that
layer's mask, so boxes are right to the pixel whatever hides the animal afterwards.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from tf_frcnn.data.drawn.animals import CLASS_NAMES, draw_animal
from tf_frcnn.data.drawn.figures import View, render
from tf_frcnn.data.drawn.palette import choose_coat
from tf_frcnn.data.drawn.scenery import draw_background, draw_distractor, draw_foreground
from tf_frcnn.iou import box_area, intersection_area

IMAGE_SIZE = (192, 256)  # (height, width)
SIDE_LIMITS = (32, 140)  # least shorter and greatest longer side of a box, in pixels
MAX_HIDDEN = 0.4  # share of an animal that may be covered or outside of the image
MAX_OUTSIDE = 0.3  # share that may be outside
# Share of the smaller of two boxes that the other may cover. It keeps their IoU at most at
# 0.4 / (2 - 0.4) = 0.25: above 0.3 the detector's NMS would drop one of two cats.
MAX_OVERLAP = 0.4

_COUNT_SHARES = (0.03, 0.30, 0.33, 0.22, 0.12)  # of images with 0, 1, .. 4 animals
_OUTSIDE_SHARE = 0.07  # of animals that may cross the image's border
_TRIES = 12  # positions tried for one animal; then the image does without it
_OPAQUE = 127  # alpha above which a pixel belongs to an animal


@dataclass(frozen=True, eq=False)
class Drawing:
    """A drawn image and what is on it.

    Attributes:
        image: RGB image of `IMAGE_SIZE`.
        boxes: [G, 4] float32 yxyx boxes in pixels, half-open; of the whole animal where it is
            partly hidden, of the part inside of the image where it crosses the border.
        classes: G class names.
        truncated: G flags, true where an animal crosses the image's border.
        visible: G shares of the animal's pixels that can be seen, in 0..1.
    """

    image: Image.Image
    boxes: np.ndarray
    classes: tuple[str, ...]
    truncated: tuple[bool, ...]
    visible: tuple[float, ...]


@dataclass(eq=False)
class _Animal:
    """A placed animal: class, box, number of its pixels, mask [H, W] of those to be seen."""

    name: str
    box: np.ndarray
    area: int
    truncated: bool
    seen: np.ndarray

    def share_without(self, cover: np.ndarray) -> float:
        """Return the share of the animal that can be seen once `cover` [H, W] is before it."""
        return float(np.count_nonzero(self.seen & ~cover)) / self.area


@dataclass(eq=False)
class _Scene:
    """An image in the making."""

    image: Image.Image
    animals: list[_Animal] = field(default_factory=list)

    def put(self, layer: Image.Image, left: int, top: int, cover: np.ndarray) -> None:
        """Lay a layer over the image; `cover` [H, W] is its mask there."""
        self.image.paste(layer, (left, top), layer)
        for animal in self.animals:
            animal.seen &= ~cover


def draw_scene(rng: np.random.Generator) -> Drawing:
    """Draw one image.

    Args:
        rng: source of everything on it.

    Returns:
        The image with 0 to 4 animals; fewer than were drawn by lot where there is no place.
    """
    scene = _Scene(draw_background(IMAGE_SIZE, rng))
    for _ in range(int(rng.integers(0, 5))):
        thing = draw_distractor(rng)
        layer = render(thing, View(rng.uniform(18, 52), rng.normal(0, 12)), (12, 70))
        left, top = _position(layer, 0.3, rng)
        scene.put(layer, left, top, _mask(layer, left, top))
    wanted = int(rng.choice(len(_COUNT_SHARES), p=_COUNT_SHARES))
    backdrop = np.asarray(scene.image.resize((1, 1), Image.Resampling.BOX), np.float64)[0, 0]
    for _ in range(wanted):
        _place_animal(scene, wanted, backdrop, rng)
    if rng.random() < 0.6:
        _place_foreground(scene, rng)
    animals = scene.animals
    return Drawing(
        image=scene.image,
        boxes=np.array([animal.box for animal in animals], np.float32).reshape(-1, 4),
        classes=tuple(animal.name for animal in animals),
        truncated=tuple(animal.truncated for animal in animals),
        visible=tuple(np.count_nonzero(animal.seen) / animal.area for animal in animals),
    )


def _place_animal(
    scene: _Scene, wanted: int, backdrop: np.ndarray, rng: np.random.Generator
) -> None:
    """Add an animal where it hides no other too much; leave it out when no such place is found."""
    name = CLASS_NAMES[int(rng.integers(len(CLASS_NAMES)))]
    figure = draw_animal(name, choose_coat(name, backdrop, rng), rng)
    largest = 118 if wanted <= 2 else 88  # three or four large ones would find no place
    view = View(
        size=float(np.exp(rng.uniform(np.log(44), np.log(largest)))),
        angle=rng.normal(0, 9) if rng.random() < 0.8 else rng.uniform(-35, 35),
        stretch=rng.uniform(0.88, 1.14),
        mirrored=bool(rng.random() < 0.5),
    )
    layer = render(figure, view, (SIDE_LIMITS[0] + 2, SIDE_LIMITS[1] - 4))
    area = int(np.count_nonzero(np.asarray(layer.getchannel("A")) > _OPAQUE))
    outside = MAX_OUTSIDE if rng.random() < _OUTSIDE_SHARE else 0.0
    for _ in range(_TRIES):
        left, top = _position(layer, outside, rng)
        mask = _mask(layer, left, top)
        inside = int(np.count_nonzero(mask))
        if inside < (1 - MAX_OUTSIDE) * area:
            continue
        animal = _Animal(name, _tight_box(mask), area, inside < area, mask)
        if _fits(scene, animal):
            scene.put(layer, left, top, mask)
            scene.animals.append(animal)
            return


def _fits(scene: _Scene, animal: _Animal) -> bool:
    """Tell whether an animal may be put on top: box neither too small nor over others too much."""
    if min(animal.box[2:] - animal.box[:2]) < SIDE_LIMITS[0]:
        return False
    return all(
        other.share_without(animal.seen) >= 1 - MAX_HIDDEN
        and _overlap(other.box, animal.box) <= MAX_OVERLAP
        for other in scene.animals
    )


def _place_foreground(scene: _Scene, rng: np.random.Generator) -> None:
    """Put grass or twigs before the image, at an animal's feet if there is one."""
    for _ in range(int(rng.integers(1, 3))):
        layer = render(draw_foreground(rng), View(rng.uniform(24, 48), rng.normal(0, 8)), (14, 80))
        left, top = _position(layer, 0.3, rng)
        if scene.animals:
            box = scene.animals[int(rng.integers(len(scene.animals)))].box
            left = int(rng.uniform(box[1], box[3]) - layer.width / 2)
            top = int(box[2] - layer.height * rng.uniform(0.5, 1.0))
        cover = _mask(layer, left, top)
        if all(animal.share_without(cover) >= 1 - MAX_HIDDEN for animal in scene.animals):
            scene.put(layer, left, top, cover)


def _position(layer: Image.Image, outside: float, rng: np.random.Generator) -> tuple[int, int]:
    """Draw (left, top) for a layer, at most a share `outside` of its sides beyond the border."""
    height, width = IMAGE_SIZE
    over_x, over_y = outside * layer.width, outside * layer.height
    left = rng.uniform(-over_x, width - layer.width + over_x)
    top = rng.uniform(-over_y, height - layer.height + over_y)
    return round(left), round(top)


def _mask(layer: Image.Image, left: int, top: int) -> np.ndarray:
    """Return the [H, W] bool mask of a layer's opaque pixels, in the image's frame."""
    alpha = Image.new("L", IMAGE_SIZE[::-1])
    alpha.paste(layer.getchannel("A"), (left, top))
    return np.asarray(alpha) > _OPAQUE


def _tight_box(mask: np.ndarray) -> np.ndarray:
    """Return the half-open yxyx box [4] float32 of a mask [H, W] that has at least one pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float32)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of the smaller of two yxyx boxes [4] that the other one covers."""
    return float(intersection_area(a, b) / min(box_area(a), box_area(b)))
