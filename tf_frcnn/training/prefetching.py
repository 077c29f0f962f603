"""Batches that are on their device before the step that reads them begins."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import tensorflow as tf

T = TypeVar("T")


def fetch_ahead(items: Iterator[T], prepare: Callable[[T], T]) -> Iterator[T]:
    """Fetch and prepare the next item in a thread while the one before it is in use.

    Args:
        items: gone through in order, from one thread at a time.
        prepare: called in the thread.

    Yields:
        What `prepare` gives, in the order of the items. An error comes in the place of its item.
    """

    def fetch() -> list[T]:
        for item in items:
            return [prepare(item)]
        return []

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as pool:
        pending = pool.submit(fetch)
        while fetched := pending.result():
            pending = pool.submit(fetch)
            yield from fetched


def put(batches: Sequence[Any], devices: Sequence[str]) -> tuple[Any, ...]:
    """Copy what is floating-point of each batch to a device; TensorFlow takes int32 from the host.

    Args:
        batches: of tensors, in any structure.
        devices: one for each batch.
    """
    placed = []
    for batch, device in zip(batches, devices, strict=True):
        with tf.device(device):
            placed.append(
                tf.nest.map_structure(lambda x: tf.identity(x) if x.dtype.is_floating else x, batch)
            )
    return tuple(placed)
