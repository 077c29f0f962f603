"""The annotations of a COCO file in columns: a million of them as Python's objects fill a GiB.

What cannot be in columns, because something of it is missing, wrong or unusual, is kept as it
stands there. No check is made here that anyone is told of.
"""

import math
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from tf_frcnn.data.rotated_boxes import ROTATION, read_rotation

Entry = dict[str, Any]
OF_SEGMENTATION = "bbox of segmentation"
"""Marks an annotation whose box is that of its polygons or mask, under a key no tool writes."""

_BATCH = 1024  # entries that are looked at together; those of one that fails, in halves
_NO_ID = object()
_FARTHEST = 1e6  # pixels: what is beyond is left to those who look at single numbers
_REQUIRED = itemgetter("image_id", "category_id", "bbox")


class Annotations(Sequence[Any]):
    """The entries of a list, of which [index] gives what of an entry is read here.

    An entry is ordinary if it has two whole numbers as `image_id` and `category_id`, a `bbox` of
    four finite numbers with width and height that is its own, `iscrowd` 0, 1 or none, an `area`
    that is a number or none, and is not turned.

    Attributes:
        image_ids: [N] int64; here and below, 0 for entries that are not ordinary.
        category_ids: [N] int64.
        boxes: [N, 4] float64 x, y, width, height.
        areas: [N] float64; NaN where there is none above 0.
        crowd: [N] bool.
        is_ordinary: [N] bool.
        others: the entries that are not, by their indices, rising.
    """

    def __init__(self, entries: Iterable[Any]) -> None:
        self._ids: list[Any] = []
        self.others: dict[int, Any] = {}
        columns = _Columns(array("q"), array("q"), array("d"), array("B"), array("d"), array("b"))
        entries = iter(entries)
        while batch := list(islice(entries, _BATCH)):
            self._ids += [_id_of(entry) for entry in batch]
            self._add(batch, columns)
        self.image_ids = np.frombuffer(columns.image_ids, np.int64)
        self.category_ids = np.frombuffer(columns.category_ids, np.int64)
        self.boxes = np.frombuffer(columns.numbers, np.float64).reshape(-1, 4)
        self.areas = np.frombuffer(columns.areas, np.float64)
        self.crowd = np.frombuffer(columns.crowd, np.int8).astype(bool)
        self.is_ordinary = np.ones(len(self._ids), bool)
        self.is_ordinary[list(self.others)] = False
        self._is_whole = np.frombuffer(columns.is_whole, np.uint8).astype(bool).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        (entry,) = self._entries(index, index + 1)
        return entry

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _BATCH):
            yield from self._entries(start, start + _BATCH)

    @property
    def ids(self) -> list[Any]:
        """[N]: what the entries have as `id`; None where they have none."""
        return [None if value is _NO_ID else value for value in self._ids]

    def _entries(self, start: int, stop: int) -> Iterator[Any]:
        """Make entries again of what the columns have of them."""
        columns = (
            *(self.image_ids, self.category_ids, self.boxes, self._is_whole),
            *(self.crowd, self.areas),
        )
        rows = zip(*(column[start:stop].tolist() for column in columns), strict=True)
        for index, (image_id, category_id, box, is_whole, crowd, area) in enumerate(rows, start):
            if index in self.others:
                yield self.others[index]
                continue
            numbers = zip(box, is_whole, strict=True)
            entry = {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": [int(number) if whole else number for number, whole in numbers],
                "iscrowd": int(crowd),
                "area": None if math.isnan(area) else area,
            }
            own_id = self._ids[index]
            yield entry if own_id is _NO_ID else {"id": own_id, **entry}

    def _add(self, entries: list[Any], columns: "_Columns") -> None:
        """Add entries to the columns, or single ones that are not ordinary to the others."""
        if found := _read_columns(entries):
            for column, numbers in zip(columns, found, strict=True):
                column.frombytes(numbers.tobytes())
        elif len(entries) > 1:
            half = len(entries) // 2
            self._add(entries[:half], columns)
            self._add(entries[half:], columns)
        else:
            entry = entries[0]
            if isinstance(entry, dict):  # each would have keys of its own
                entry = {sys.intern(key): value for key, value in entry.items()}
            self.others[len(columns.image_ids)] = entry
            for column, width in zip(columns, (1, 1, 4, 4, 1, 1), strict=True):
                column.extend([0] * width)


class _Columns(NamedTuple):
    """The columns of some entries, as arrays that grow, or as NumPy's of the same types."""

    image_ids: Any
    category_ids: Any
    numbers: Any  # of boxes
    is_whole: Any  # whether these were written without a point
    areas: Any
    crowd: Any


def _read_columns(entries: list[Any]) -> _Columns | None:
    """Put entries into columns; None where not all are ordinary."""
    try:
        image_ids, category_ids, boxes = zip(*map(_REQUIRED, entries), strict=True)
        crowd = [entry.get("iscrowd", 0) for entry in entries]
        areas = [entry.get("area") for entry in entries]
        if {*map(type, chain(image_ids, category_ids, crowd))} != {int}:
            return None
        if {*map(type, boxes)} != {list} or {*map(len, boxes)} != {4}:
            return None
        numbers = list(chain.from_iterable(boxes))
        if not {*map(type, numbers)} <= {int, float}:
            return None
        if not {*map(type, areas)} <= {int, float, type(None)} or not {*crowd} <= {0, 1}:
            return None
        if any(OF_SEGMENTATION in entry or _is_turned(entry) for entry in entries):
            return None
        stated = np.array(areas, np.float64)  # NaN of None
        columns = _Columns(
            np.array(image_ids, np.int64),
            np.array(category_ids, np.int64),
            np.array(numbers, np.float64).reshape(-1, 4),
            np.array([type(number) is int for number in numbers], np.uint8),
            np.where(np.isfinite(stated) & (stated > 0), stated, np.nan),
            np.array(crowd, np.int8),
        )
    except (AttributeError, KeyError, TypeError, OverflowError):  # no object, no key, too large
        return None
    is_near = (np.abs(columns.numbers) <= _FARTHEST).all()  # NaN is not
    return columns if is_near and (columns.numbers[:, 2:] > 0).all() else None


def _is_turned(entry: Entry) -> bool:
    attributes = entry.get("attributes")
    return isinstance(attributes, dict) and bool(read_rotation(attributes.get(ROTATION)))


def _id_of(entry: Any) -> Any:
    return entry.get("id", _NO_ID) if isinstance(entry, dict) else _NO_ID
