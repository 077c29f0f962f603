"""Names of splits, and splits of a data set without any: 80/10/10, by a seed, kept from then on."""

import hashlib
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tf_frcnn.data.faults import enumerate_names

logger = logging.getLogger(__name__)

MADE_SPLITS = ("train", "val", "test")

Division = Mapping[str, Sequence[str]]
"""The image ids of each split, as `Dataset.division` has them."""

_SPELLINGS = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation"},
    "test": {"test", "testing"},
}
# What tools write beside the split's name: train_annotations, test_labels, oidv6-train-...-bbox.
_FILLERS = {"instances", "annotation", "annotations", "labels", "coco", "bbox", "boxable", "oidv6"}
_SPLIT_WORD = re.compile(
    r"(?<![a-z])(train|trainval|training|val|valid|validation|minival|dev|test|testing)(?![a-z])"
)


def role_of(name: str) -> str | None:
    """Tell which of `MADE_SPLITS` a name stands for: `Validation`, `val_annotations` for val.

    A name with more in it, such as `train2017` or `cat_train`, stands for none.
    """
    words = set(re.split(r"[^a-z0-9]+", name.casefold())) - _FILLERS - {""}
    return next(
        (role for role, spellings in _SPELLINGS.items() if words and words <= spellings), None
    )


def match_split(split: str, names: Collection[str]) -> str:
    """Find the name under which a split is there.

    Args:
        split: the name that is asked for; one of `MADE_SPLITS` is found in its other spellings too,
            where one name has such a spelling and no more.
        names: of the splits that are there.

    Returns:
        One of the names; "" where there is none.
    """
    if split in names:
        return split
    same = [name for name in names if split in MADE_SPLITS and role_of(name) == split]
    return same[0] if len(same) == 1 else ""


def names_a_split(name: str) -> bool:
    """Tell whether a name has a split's name in it: what is called so is not divided."""
    return _SPLIT_WORD.search(name.lower()) is not None


def order_by_seed(names: Iterable[str], seed: int) -> list[str]:
    """Put names into the order of a hash of seed and name.

    It is the same on every machine and Python, whatever the order of the files on disk; a name that
    comes or goes leaves the order of the others.

    Args:
        names: each once.
        seed: another seed gives another order.
    """

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()

    return sorted(names, key=key)


def make_splits(names: Iterable[str], seed: int) -> dict[str, list[str]]:
    """Divide names 80/10/10; val and test get at least one each of three or more names.

    Args:
        names: of the images, each once.
        seed: another seed divides them differently.

    Returns:
        The names of each of `MADE_SPLITS`, sorted; of fewer than three names all are in train.
    """
    ordered = order_by_seed(names, seed)
    num_held_out = max((len(ordered) + 5) // 10, int(len(ordered) >= 3))
    val, test = ordered[:num_held_out], ordered[num_held_out : 2 * num_held_out]
    return {"train": sorted(ordered[2 * num_held_out :]), "val": sorted(val), "test": sorted(test)}


@dataclass(frozen=True)
class Divider:
    """Divides the images of a data set that has no splits of its own.

    Attributes:
        seed: of `make_splits`.
        kept: the division that a run was started with; None to make one. What came to the data
            set later is then in no split: a new division might train on images that were held
            out, or the reverse.
    """

    seed: int
    kept: Division | None = None

    def divide(self, names: Collection[str], place: str) -> dict[str, list[str]]:
        """Divide images, and log how.

        Args:
            names: of all images, each once.
            place: where the data set is and why it has to be divided, for the log.

        Returns:
            The names of each of `MADE_SPLITS`, sorted.
        """
        if self.kept is None:
            made, how = make_splits(names, self.seed), f"with seed {self.seed}"
        else:
            made = {
                split: sorted(set(self.kept.get(split, ())) & set(names)) for split in MADE_SPLITS
            }
            how = "as when the run was started"
            known = {name for split in self.kept.values() for name in split}
            if added := sorted(set(names) - known):
                logger.warning(
                    "images that were added since, in no split: %d: %s; a new run divides anew",
                    len(added),
                    enumerate_names(added),
                )
        sizes = ", ".join(f"{split} {len(split_names)}" for split, split_names in made.items())
        logger.info("%s; images divided %s: %s", place, how, sizes)
        return made
