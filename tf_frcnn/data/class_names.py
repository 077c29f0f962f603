"""Class names of which one may be a slip of the pen."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice

import numpy as np

_LEAST_LIKENESS = 0.85  # of names: "cat" and "cats" have 6 / 7, "cat" and "car" 4 / 6
_MOST_PAIRS = 100_000  # that are compared letter by letter, some seconds
_NUM_BINS = 64  # of letters; those in one bin are counted together


def similar_names(class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Find pairs of class names of which one may be a slip of the pen.

    Names that differ in case, spaces, hyphens, underscores and what cannot be seen only, and names
    that are nearly the same; not those that differ in their digits only, which are numbered on
    purpose.
    """
    folded = [_fold(name) for name in class_names]
    return [
        (class_names[first], class_names[second])
        for first, second in islice(_candidates(folded), _MOST_PAIRS)
        if _may_be_same(folded[first], folded[second])
    ]


def _fold(name: str) -> str:
    """Leave out what a reader overlooks: case, spaces, and letters without a form of their own."""
    seen = (letter for letter in name if unicodedata.category(letter) != "Cf")
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", "".join(seen)).casefold())


def _candidates(folded: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the pairs that are equal, or share enough letters, in whatever order those are.

    Twice the letters that both have over the letters of both is never below what `SequenceMatcher`
    computes. Letters are counted in bins, which may only make it larger.
    """
    lengths = np.array([len(name) for name in folded])
    bins = [np.fromiter(map(ord, name), int) % _NUM_BINS for name in folded]
    letters = np.array([np.bincount(one, minlength=_NUM_BINS) for one in bins], np.int16)
    names = _number(folded)
    numbered = _number([re.sub(r"\d", "", name) for name in folded])
    for first in range(len(folded) - 1):
        others = slice(first + 1, None)
        shared = np.minimum(letters[first], letters[others]).sum(axis=1)
        is_alike = 2 * shared >= _LEAST_LIKENESS * (lengths[first] + lengths[others])
        is_alike &= numbered[others] != numbered[first]
        for second in np.flatnonzero(is_alike | (names[others] == names[first])):
            yield first, first + 1 + int(second)


def _number(names: Sequence[str]) -> np.ndarray:
    """Give equal names the same number, [N] int."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names])


def _may_be_same(first: str, second: str) -> bool:
    """Tell it of two folded names that do not differ in their digits only."""
    if first == second:
        return True
    matcher = SequenceMatcher(None, first, second)
    return matcher.quick_ratio() >= _LEAST_LIKENESS and matcher.ratio() >= _LEAST_LIKENESS
