"""Splits of a data set that comes without any: 80/10/10, by a seed."""

import hashlib
from collections.abc import Iterable

MADE_SPLITS = ("train", "val", "test")


def make_splits(names: Iterable[str], seed: int) -> dict[str, list[str]]:
    """Divide names 80/10/10; val and test get at least one each of three or more names.

    The order is that of a hash of seed and name: the same on every machine and Python, whatever
    the order of the files on disk.

    Args:
        names: of the pictures, each once.
        seed: another seed divides them differently.

    Returns:
        The names of each of `MADE_SPLITS`, sorted; of fewer than three names all are in train.
    """

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()

    ordered = sorted(names, key=key)
    num_held_out = max((len(ordered) + 5) // 10, int(len(ordered) >= 3))
    val, test = ordered[:num_held_out], ordered[num_held_out : 2 * num_held_out]
    return {"train": sorted(ordered[2 * num_held_out :]), "val": sorted(val), "test": sorted(test)}
