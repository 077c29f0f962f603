"""Pictures that a data set has more than once, within a split or in two of them.

A picture that is trained on and evaluated on makes the figures better than the detector is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_frcnn.doctor.pictures import PictureFacts

LEAST_SIMILARITY = 0.9  # share of the clear steps that two near duplicates have in common
_LEAST_STEPS = 12  # a picture with fewer clear steps is too plain to be recognised
_BLOCK = 1024  # pictures compared with all others at a time


@dataclass(frozen=True)
class Duplicates:
    """Pictures that are the same.

    Attributes:
        pictures: (split, name of the file) of each of them, at least two.
        between_splits: they are in more than one split.
    """

    pictures: tuple[tuple[str, str], ...]

    @property
    def between_splits(self) -> bool:
        """Whether they are in more than one split."""
        return len({split for split, _ in self.pictures}) > 1


def find_exact(
    splits: Mapping[str, Sequence[Path]], facts: Mapping[Path, PictureFacts]
) -> list[Duplicates]:
    """Group the files with the same content; one file in two splits is such a group too.

    Args:
        splits: the pictures of each split.
        facts: of all of them.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for split, paths in splits.items():
        for path in paths:
            if facts[path].digest:
                groups.setdefault(facts[path].digest, []).append((split, path.name))
    return [Duplicates(tuple(group)) for group in groups.values() if len(group) > 1]


def find_near(
    splits: Mapping[str, Sequence[Path]], facts: Mapping[Path, PictureFacts]
) -> list[Duplicates]:
    """Find pairs of files that look the same on a coarse grid, but are not the same file.

    Args:
        splits: the pictures of each split.
        facts: of all of them.

    Returns:
        Pairs, those of one picture in order; exact duplicates are compared once.
    """
    first_of: dict[str, tuple[str, str, np.ndarray]] = {}
    for split, paths in splits.items():
        for path in paths:
            steps = facts[path].steps
            if steps is not None and np.count_nonzero(steps) >= _LEAST_STEPS:
                first_of.setdefault(facts[path].digest, (split, path.name, steps))
    seen = list(first_of.values())
    if len(seen) < 2:
        return []
    return [
        Duplicates((seen[first][:2], seen[second][:2]))
        for first, second in _similar_pairs(np.stack([steps for _, _, steps in seen]))
    ]


def _similar_pairs(steps: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the index pairs of rows with at least `LEAST_SIMILARITY`.

    Similarity is the number of places where both have the same step, over the number of places
    where either has one. Both come from matrix products, a block of rows at a time.

    Args:
        steps: [P, S] int8 of -1, 0 and 1.
    """
    signed = steps.astype(np.float32)
    present = np.abs(signed)
    counts = present.sum(axis=1)
    for start in range(0, len(steps), _BLOCK):
        rows = slice(start, start + _BLOCK)
        both = present[rows] @ present.T  # both have a step: equal ones minus opposite ones ...
        equal = 0.5 * (both + signed[rows] @ signed.T)  # ... is the product of the signed rows
        either = counts[rows, None] + counts - both
        for first, second in np.argwhere(equal >= LEAST_SIMILARITY * either):
            if start + first < second:
                yield int(start + first), int(second)
