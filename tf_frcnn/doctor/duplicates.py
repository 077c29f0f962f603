"""Images that a data set has more than once, within a split or in two splits.

An image in both the training and the test split makes the figures better than the detector is.
Every file is read once, which also shows whether it can be decoded.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
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
_BANDS, _HASHES_A_BAND = 40, 12  # see `_similar_groups`
_FIRST_ELEMENTS = 48  # of a shuffled order: nearly every image has one of them
_TRIES_A_BUCKET = 50
_BITS = np.array([number.bit_count() for number in range(256)], np.uint8)


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
        too. And near duplicates: groups of files with different contents, each of which looks the
        same, on a coarse grid, as some other of the group; of exact duplicates only the first file
        is compared.
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
    near = _similar_groups(np.array(list(steps.values()))) if len(seen) > 1 else ()
    return exact, [Duplicates(tuple(seen[number] for number in group)) for group in near]


def _similar_groups(steps: np.ndarray) -> list[list[int]]:
    """Group rows that are similar, directly or through others of the group.

    Similarity is the number of places where both have the same step, over the number of places
    where either has one. Not all pairs are compared, so that time and memory grow with the rows
    alone: rows that agree in some band of min-hashes (Broder, 1997; Leskovec, Rajaraman, Ullman,
    *Mining of massive datasets*, section 3.4) are compared with the first of them, those that are
    not similar to it with the next. Two rows with a similarity of 0.9 and no opposite steps agree
    in a band with a probability of 0.9^12 = 0.28, so all 40 miss them twice in a million times.

    Args:
        steps: [P, S] int8 of -1, 0 and 1; every row has a step.

    Returns:
        Groups of at least two row numbers, each and all in rising order.
    """
    signs = np.stack([steps > 0, steps < 0], axis=1)  # [P, 2, S]
    packed = np.packbits(signs, axis=2)
    columns = np.ascontiguousarray(signs.reshape(len(steps), -1).T)  # [2 S, P]
    del signs
    random = np.random.default_rng(0)
    groups = np.arange(len(steps))  # the first row of each row's group
    for _ in range(_BANDS):
        band = np.stack([_min_hashes(columns, random) for _ in range(_HASHES_A_BAND)], axis=1)
        first, second = _similar_in_buckets(band, packed, groups)
        groups = _join(groups, first, second)
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    return [group.tolist() for group in np.split(order, starts[1:]) if len(group) > 1]


def _min_hashes(columns: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Shuffle the elements of sets, and say which is the first that each has.

    Args:
        columns: [E, P] bool, whether set P has element E; every set has one.
        random: shuffles.

    Returns:
        [P] int16, a place in the shuffled order. Two sets have the same with a probability of the
        share of elements that both have, of those that either has.
    """
    shuffled = random.permutation(len(columns))
    few = columns[shuffled[:_FIRST_ELEMENTS]]
    places = few.argmax(axis=0)
    (missing,) = np.nonzero(~few[places, np.arange(few.shape[1])])
    places[missing] = columns[shuffled[:, None], missing].argmax(axis=0)
    return places.astype(np.int16)


def _similar_in_buckets(
    band: np.ndarray, packed: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find similar rows among those with the same band -> the rows of each pair, `[N]` twice.

    Rows that are in one group already are not compared. Rows that are similar to none of the first
    50 in their bucket are given up here, which bounds the time; other bands may find them.
    """
    _, buckets = np.unique(band, axis=0, return_inverse=True)
    buckets = buckets.reshape(-1)  # NumPy 2.0 has it [P, 1]
    rows = np.argsort(buckets, kind="stable")
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(_TRIES_A_BUCKET):
        _, starts, inverse = np.unique(buckets[rows], return_index=True, return_inverse=True)
        first = rows[starts[inverse]]
        others = first != rows
        rows, first = rows[others], first[others]
        apart = groups[rows] != groups[first]
        rows, first = rows[apart], first[apart]
        if not len(rows):
            break
        similar = _are_similar(packed[first], packed[rows])
        pairs.append((first[similar], rows[similar]))
        rows = rows[~similar]
    ends = list(zip(*pairs, strict=True)) or [[np.empty(0, int)]] * 2
    return np.concatenate(ends[0]), np.concatenate(ends[1])


def _are_similar(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether rows are similar: [N] bool of two [N, 2, S / 8] uint8 of bits."""
    equal = _count_bits(first & second).sum(axis=1)
    either = _count_bits((first | second)[:, 0] | (first | second)[:, 1])
    return equal >= LEAST_SIMILARITY * either


def _count_bits(packed: np.ndarray) -> np.ndarray:
    """Count the bits that are 1 along the last axis, of uint8."""
    return _BITS[packed].sum(axis=-1, dtype=np.int32)


def _join(groups: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Join the groups of rows of pairs -> the first row of each row's group, as before."""
    while True:
        ends = np.stack([groups[first], groups[second]])
        lower, higher = ends.min(axis=0), ends.max(axis=0)
        if not np.any(lower < higher):
            return groups
        joined = np.arange(len(groups))
        np.minimum.at(joined, higher, lower)
        while np.any(joined != joined[joined]):
            joined = joined[joined]
        groups = joined[groups]
