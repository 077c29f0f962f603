"""The order of the training images, a function of seed and step, so that it can resume."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


class BatchSampler:
    """Gives the images of any step's batch, without having seen the steps before it.

    Every epoch is a new permutation. Batches hold images of one orientation (landscape or
    portrait), so that little of them is padding; where an orientation does not fill its last batch,
    it is filled with images of the same orientation once more.

    An image may come several times an epoch. Of a factor of 1.3 it comes once in seven epochs of
    ten, twice in the others, and epochs are equally long all the same.

    Args of `__init__`: `image_sizes` (height, width) of all images; `batch_size`; `seed`; `factors`
    [N] float64, how often each image comes in an epoch on average, 1 or more; when not given, once.
    """

    def __init__(
        self,
        image_sizes: Sequence[tuple[int, int]],
        batch_size: int,
        seed: int,
        factors: np.ndarray | None = None,
    ) -> None:
        landscape = np.array([width >= height for height, width in image_sizes])
        groups = [np.flatnonzero(landscape), np.flatnonzero(~landscape)]
        self._groups = [group for group in groups if len(group)]
        self._batch_size = batch_size
        self._seed = seed
        self._ends = None if factors is None else [_ends(factors, group) for group in self._groups]
        lengths = [len(group) for group in self._groups]
        if self._ends is not None:
            lengths = [int(ends[-1]) for ends in self._ends]
        self.steps_per_epoch = sum(-(-length // batch_size) for length in lengths)
        # The pipeline asks for neighbouring steps; two epochs may be under way at once.
        self._epoch_batches = lru_cache(maxsize=4)(self._make_epoch_batches)

    def batch(self, step: int) -> np.ndarray:
        """Return the [batch_size] int64 indices of the images of a step, steps from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._epoch_batches(epoch)[position]

    def _make_epoch_batches(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self._seed, epoch])
        batches = []
        for number, group in enumerate(self._groups):
            if self._ends is not None:
                group = np.repeat(group, _counts(self._ends[number], random.random()))
            order = random.permutation(group)
            num_batches = -(-len(order) // self._batch_size)
            batches.append(np.resize(order, (num_batches, self._batch_size)))
        return random.permutation(np.concatenate(batches))


def _ends(factors: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Put the factors of a group end to end -> where each ends, [N] float64; the last is whole."""
    ends = np.cumsum(factors[group])
    length = np.ceil(ends[-1] - 1e-9 * len(ends))  # but for what adding up has rounded
    return np.append(ends[:-1] * (length / ends[-1]), length)


def _counts(ends: np.ndarray, offset: float) -> np.ndarray:
    """Count the whole numbers in each stretch of a line that is moved by an offset in [0, 1).

    A stretch of 1.3 has one or two, 1.3 on average, and all together have as many as the line is
    long: systematic resampling.
    """
    return np.diff(np.floor(ends + offset), prepend=0.0).astype(np.int64)


def repeat_factors(classes: Sequence[np.ndarray], num_classes: int, threshold: float) -> np.ndarray:
    """Compute how often images with rare classes come in an epoch.

    A class that a share f of the images has asks for max(1, sqrt(threshold / f)); an image comes as
    often as the rarest of its classes asks for (Gupta et al., 2019, *LVIS*, section 5.1).

    Args:
        classes: of each image its boxes' classes, from 1.
        num_classes: N, without the background.
        threshold: share of the images below which a class is rare.

    Returns:
        [N] float64, 1 or more; 1 for images without boxes.
    """
    counts = np.zeros(num_classes + 1)
    for of_image in classes:
        counts[np.unique(of_image)] += 1
    shares = np.maximum(counts, 1) / len(classes)
    of_class = np.maximum(1.0, np.sqrt(threshold / shares))
    return np.array([of_class[of_image].max(initial=1.0) for of_image in classes])
