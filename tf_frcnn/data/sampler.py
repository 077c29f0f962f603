"""The order of the training images, a function of seed and step, so that it can resume."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


class BatchSampler:
    """Gives the images of any step's batch, without having seen the steps before it.

    Every epoch is a new permutation. Batches hold images of one orientation (landscape or
    portrait), so that little of them is padding; where an orientation does not fill its last batch,
    it is filled with images of the same orientation once more.

    Args of `__init__`: `image_sizes` (height, width) of all images; `batch_size`; `seed`.
    """

    def __init__(self, image_sizes: Sequence[tuple[int, int]], batch_size: int, seed: int) -> None:
        landscape = np.array([width >= height for height, width in image_sizes])
        groups = [np.flatnonzero(landscape), np.flatnonzero(~landscape)]
        self._groups = [group for group in groups if len(group)]
        self._batch_size = batch_size
        self._seed = seed
        self.steps_per_epoch = sum(-(-len(group) // batch_size) for group in self._groups)
        # The pipeline asks for neighbouring steps; two epochs may be under way at once.
        self._epoch_batches = lru_cache(maxsize=4)(self._make_epoch_batches)

    def batch(self, step: int) -> np.ndarray:
        """Return the [batch_size] int64 indices of the images of a step, steps from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._epoch_batches(epoch)[position]

    def _make_epoch_batches(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self._seed, epoch])
        batches = []
        for group in self._groups:
            order = random.permutation(group)
            num_batches = -(-len(order) // self._batch_size)
            batches.append(np.resize(order, (num_batches, self._batch_size)))
        return random.permutation(np.concatenate(batches))
