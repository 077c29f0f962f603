"""Which images go through a network together: those that enter it at one size."""

from collections.abc import Callable, Iterator, Sequence

Size = tuple[int, int]


def batches_by_size(
    sizes: Sequence[Size], most: Callable[[Size], int]
) -> Iterator[tuple[Size, tuple[int, ...]]]:
    """Divide images into batches of one size each.

    Args:
        sizes: (height, width) at which each image enters the network.
        most: gives the largest number of images in a batch, at least 1, by their size.

    Yields:
        A size, and the positions of the images of a batch, in rising order: size after size in the
        order of their first images; the last batch of a size may be smaller.
    """
    positions_by_size: dict[Size, list[int]] = {}
    for position, size in enumerate(sizes):
        positions_by_size.setdefault(size, []).append(position)
    for size, positions in positions_by_size.items():
        step = most(size)
        for start in range(0, len(positions), step):
            yield size, tuple(positions[start : start + step])
