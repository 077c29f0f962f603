"""Class names of which one may be a slip of the pen."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import combinations

_LEAST_LIKENESS = 0.85  # of names: "cat" and "cats" have 6 / 7, "cat" and "car" 4 / 6


def similar_names(class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Find pairs of class names of which one may be a slip of the pen.

    Names that differ in case, spaces, hyphens and underscores only, and names that are nearly the
    same; not those that differ in their digits only, which are numbered on purpose.
    """
    return [pair for pair in combinations(class_names, 2) if _may_be_same(*pair)]


def _may_be_same(first: str, second: str) -> bool:
    first, second = (re.sub(r"[\s_-]+", "", name.casefold()) for name in (first, second))
    if first == second:
        return True
    if re.sub(r"\d", "", first) == re.sub(r"\d", "", second):
        return False
    matcher = SequenceMatcher(None, first, second)
    return matcher.quick_ratio() >= _LEAST_LIKENESS and matcher.ratio() >= _LEAST_LIKENESS
