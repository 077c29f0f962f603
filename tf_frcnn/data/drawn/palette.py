"""The colours of the drawn data set, and the small ways in which they vary."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]  # red, green, blue in 0..255

BLACK = (28, 26, 30)
WHITE = (250, 250, 248)
PINK = (232, 138, 142)
BARK = (118, 85, 57)
LEAF = (72, 138, 70)
STRAW = (148, 124, 58)

EYES = ((120, 190, 70), (230, 190, 50), (90, 170, 215))
BILLS = ((242, 150, 30), (236, 178, 46), (224, 120, 42))
COLLARS = ((205, 40, 50), (40, 90, 200), (35, 150, 90), (150, 60, 170))
SKIES = ((150, 200, 232), (238, 176, 150))
FIELDS = ((126, 186, 104), (226, 206, 158))
BACKDROPS = (
    *SKIES,
    *FIELDS,
    (176, 156, 204),  # lilac
    (108, 168, 174),  # water
    (206, 210, 212),  # wall
    (92, 104, 124),  # dusk
    (172, 122, 88),  # wood
)
TOYS = (
    (222, 64, 62),
    (64, 112, 208),
    (246, 198, 60),
    (112, 72, 168),
    (60, 160, 104),
    (240, 240, 236),
    (238, 130, 60),
    (110, 82, 60),
)


@dataclass(frozen=True)
class Coat:
    """Colours of an animal.

    Attributes:
        main: the body's.
        second: of belly, ears and patches, or of a drake's head.
        drake: a duck with a head of its own colour above a white ring.
    """

    main: Colour
    second: Colour
    drake: bool = False


_FURS = (
    Coat((226, 138, 58), (250, 222, 184)),  # ginger
    Coat((140, 144, 154), (222, 224, 230)),  # grey
    Coat((62, 58, 66), (206, 202, 204)),  # black
    Coat((240, 236, 228), (196, 164, 126)),  # white
    Coat((146, 98, 62), (232, 206, 172)),  # brown
    Coat((222, 188, 134), (250, 238, 214)),  # sandy
)
_FEATHERS = (
    Coat((244, 242, 236), (214, 214, 218)),  # white
    Coat((248, 212, 70), (232, 180, 40)),  # yellow
    Coat((164, 142, 122), (34, 112, 78), drake=True),  # mallard
    Coat((142, 98, 62), (104, 70, 46)),  # brown
    Coat((132, 142, 156), (88, 98, 114)),  # grey
)
COATS = {"cat": _FURS, "dog": _FURS, "duck": _FEATHERS}


def shade(colour: Colour, factor: float) -> Colour:
    """Darken (factor below 1) or lighten (above 1) a colour; channels stay in 0..255."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def jittered(colour: Colour, rng: np.random.Generator) -> Colour:
    """Shift a colour a little, each channel by itself."""
    red, green, blue = (
        min(255, max(0, round(channel + shift)))
        for channel, shift in zip(colour, rng.normal(0, 9, 3).tolist(), strict=True)
    )
    return red, green, blue


def pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """Draw one of the colours, a little shifted."""
    return jittered(colours[int(rng.integers(len(colours)))], rng)


def choose_coat(name: str, backdrop: np.ndarray, rng: np.random.Generator) -> Coat:
    """Draw two coats and take the one that stands out more from the backdrop's [3] colour.

    So most animals contrast with what is behind them, but not all do.
    """
    coats = [COATS[name][int(rng.integers(len(COATS[name])))] for _ in range(2)]
    coat = max(coats, key=lambda coat: float(np.linalg.norm(coat.main - backdrop)))
    return Coat(jittered(coat.main, rng), jittered(coat.second, rng), coat.drake)
