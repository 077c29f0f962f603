"""Images that a data set has more than once, within a split or in two splits.

An image in both the training and the test split makes the figures better than the detector is.
Every file is read once, which also shows whether it can be decoded.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tf_frcnn.data.image import read_image_header, read_whole_image
from tf_frcnn.data.orientation import UPRIGHT
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import read_bytes
from tf_frcnn.progress import track

GRID = 16  # cells of the difference hash in each direction
LEAST_SIMILARITY = 0.9  # share of the clear steps that two near duplicates have in common
_LEAST_STEP = 4.0  # grey levels between neighbouring cells; less is noise of the compression
_LEAST_STEPS = 12  # an image with fewer clear steps is too plain to be recognised
_BLOCK = 1024  # images that are compared with all others at a time


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What is known of one file.

    Attributes:
        fault: why it can't be decoded; "" where it can.
        digest: SHA-256 of the file, "" where it can't be read.
        steps: [2 * GRID * GRID] int8 difference hash, see `difference_hash`; None with a fault.
        orientation: of EXIF, 1 to 8; 1 is upright.
        brightest: of an image of 16 bits a channel, the largest of its high bytes; None of others.
    """

    fault: str = ""
    digest: str = ""
    steps: np.ndarray | None = None
    orientation: int = UPRIGHT
    brightest: int | None = None


def examine_images(paths: Iterable[Path]) -> dict[Path, ImageFacts]:
    """Decode images on all cores, with a progress bar.

    Args:
        paths: of images; each file is read once.

    Returns:
        What is known of each file, in the order of the paths.
    """
    files = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        examined = track(pool.map(_examine, files), "looking at images", len(files))
        return dict(zip(files, examined, strict=True))


def difference_hash(image: np.ndarray) -> np.ndarray:
    """Describe an image by where it gets lighter and darker, on a coarse grid of grey cells.

    Unlike the usual difference hash it has a third value, "about the same". In plain areas the sign
    is noise, which should make two images neither similar nor different.

    Args:
        image: [H, W, 3] uint8 RGB or [H, W, 1] grey, of any size.

    Returns:
        [2 * GRID * GRID] int8: 1 where the right (first half) or lower (second half) neighbour is
        clearly lighter, -1 where it is clearly darker, 0 elsewhere.
    """
    flat = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    small = flat.convert("L").resize((GRID + 1, GRID + 1), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)  # [GRID + 1, GRID + 1]
    to_the_right, down = np.diff(grey[:GRID], axis=1), np.diff(grey[:, :GRID], axis=0)
    steps = np.concatenate([to_the_right.ravel(), down.ravel()])
    return (np.sign(steps) * (np.abs(steps) >= _LEAST_STEP)).astype(np.int8)


def _examine(path: Path) -> ImageFacts:
    try:
        content = read_bytes(path)
    except OSError as error:
        return ImageFacts(f"{path}: cannot be read ({error.strerror}). Expected an image.")
    digest = hashlib.sha256(content).hexdigest()
    try:
        image = read_whole_image(path)
    except DataError as error:
        return ImageFacts(str(error), digest)
    header = read_image_header(path)
    brightest = int(image.max()) if header.is_16_bit else None
    return ImageFacts("", digest, difference_hash(image), header.orientation, brightest)


@dataclass(frozen=True)
class Duplicates:
    """Images that are the same, at least two: (split, name of the file) of each."""

    images: tuple[tuple[str, str], ...]

    @property
    def between_splits(self) -> bool:
        """Whether they are in more than one split."""
        return len({split for split, _ in self.images}) > 1


def find_duplicates(
    splits: Mapping[str, Sequence[Path]], facts: Mapping[Path, ImageFacts]
) -> tuple[list[Duplicates], list[Duplicates]]:
    """Find images that a data set has more than once.

    Args:
        splits: the images of each split.
        facts: of all images.

    Returns:
        Exact duplicates: groups of files with the same content; a file in two splits is a group
        too. And near duplicates: pairs of files that look the same on a coarse grid, but have
        different contents; of a group of exact duplicates only the first file is compared.
    """
    groups: dict[str, list[tuple[str, str]]] = {}  # by the digest
    steps: dict[str, np.ndarray] = {}
    for split, paths in splits.items():
        for path in paths:
            fact = facts[path]
            if fact.digest:
                groups.setdefault(fact.digest, []).append((split, path.name))
            if fact.steps is not None and np.count_nonzero(fact.steps) >= _LEAST_STEPS:
                steps[fact.digest] = fact.steps
    exact = [Duplicates(tuple(group)) for group in groups.values() if len(group) > 1]
    seen = [groups[digest][0] for digest in steps]
    pairs = _similar_pairs(np.array(list(steps.values()))) if len(seen) > 1 else ()
    return exact, [Duplicates((seen[first], seen[second])) for first, second in pairs]


def _similar_pairs(steps: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the index pairs of rows whose similarity is at least `LEAST_SIMILARITY`.

    Similarity is the number of places where both have the same step, over the number of places
    where either has one. Both are computed by matrix products, a block of rows at a time.

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
