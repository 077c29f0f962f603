"""Writes torch's two file formats from their description, without torch and without `pickle`.

Every opcode is written by hand, so that a test can write what torch never would.
"""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

STORAGE_NAMES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.int16): "ShortStorage",
    np.dtype(np.int8): "CharStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(np.bool_): "BoolStorage",
    np.dtype(np.complex64): "ComplexFloatStorage",
    np.dtype(np.complex128): "ComplexDoubleStorage",
}
Storages = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Raw:
    """Opcodes as they are."""

    opcodes: bytes


@dataclass(frozen=True)
class View:
    """A tensor: a view of a storage, offset and strides counted in numbers.

    Attributes:
        storage: its key.
        part: (key, offset, size) of a part of the storage, in the older format.
        stated_size: of the storage; its true size when None.
    """

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    part: tuple[str, int, int] | None = None
    stated_size: int | None = None


# === Pickles ===


def name(module: str, attribute: str) -> Raw:
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(called: Raw, *arguments) -> Raw:
    return Raw(called.opcodes + opcodes(tuple(arguments)) + b"R")


def instance(made: Raw, state) -> Raw:
    """An object made without arguments, and its attributes: a Namespace."""
    return Raw(made.opcodes + b")\x81" + opcodes(state) + b"b")


def ordered_dict(items: Mapping | Sequence[tuple], metadata=None) -> Raw:
    pairs = list(items.items()) if isinstance(items, Mapping) else items
    written = b"".join(opcodes(key) + opcodes(value) for key, value in pairs)
    built = b"" if metadata is None else opcodes({"_metadata": metadata}) + b"b"
    return Raw(call(name("collections", "OrderedDict")).opcodes + b"(" + written + b"u" + built)


def opcodes(value) -> bytes:
    """Write a value with opcodes of protocol 2."""
    if isinstance(value, Raw):
        return value.opcodes
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        number = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(number)]) + number
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    assert isinstance(value, dict)
    items = b"".join(opcodes(key) + opcodes(item) for key, item in value.items())
    return b"}(" + items + b"u"


def pickled(value) -> bytes:
    return b"\x80\x02" + opcodes(value) + b"."


def tensor(view: View, storages: Storages, legacy: bool) -> Raw:
    array = storages[view.storage]
    size = array.size if view.stated_size is None else view.stated_size
    kind = name("torch", STORAGE_NAMES[array.dtype])
    identity = ("storage", kind, view.storage, "cpu", size, *([view.part] if legacy else []))
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        Raw(opcodes(identity) + b"Q"),
        *(view.offset, view.shape, view.strides, False, ordered_dict([])),
    )


def parameter(view: View, storages: Storages, legacy: bool) -> Raw:
    made = tensor(view, storages, legacy)
    return call(name("torch._utils", "_rebuild_parameter"), made, True, ordered_dict([]))


# === Files ===


def zip_records(content, storages: Storages, order: str | None = "little") -> dict[str, bytes]:
    """Give the records of the zip format by their names.

    Args:
        content: what is pickled.
        storages: arrays of one dimension by key.
        order: of bytes; None leaves the record out, as torch did before 2.1.
    """
    records = {"data.pkl": pickled(content)}
    if order is not None:
        records["byteorder"] = order.encode()
    records |= {f"data/{key}": raw_bytes(array, order == "big") for key, array in storages.items()}
    return {**records, "version": b"3\n"}


def raw_bytes(array: np.ndarray, swapped: bool) -> bytes:
    """Give the bytes of an array, each number's own (each part's of a complex one) reversed."""
    if not swapped:
        return array.tobytes()
    part = array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1)
    raw = array.tobytes()
    return b"".join(raw[start : start + part][::-1] for start in range(0, len(raw), part))


def write_zip(
    path: Path, records: Mapping[str, bytes], folder: str = "archive", compression: int = 0
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for record, content in records.items():
            archive.writestr(f"{folder}/{record}" if folder else record, content)
    return path


def write_legacy(
    path: Path, content, storages: Storages, keys: Sequence[str] | None = None
) -> Path:
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    keys = sorted(storages) if keys is None else keys
    head = [0x1950A86A20F9469CFC6C, 1001, facts, content, keys]
    parts = [pickled(value) for value in head]
    for key in keys:
        parts += [struct.pack("<q", storages[key].size), storages[key].tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def write(path: Path, views: Mapping[str, View], storages: Storages, legacy: bool) -> Path:
    """Write a state dict of tensors in one of the formats."""
    content = ordered_dict({key: tensor(view, storages, legacy) for key, view in views.items()})
    if legacy:
        return write_legacy(path, content, storages)
    return write_zip(path, zip_records(content, storages))


def contiguous(storage: str, shape: Sequence[int], offset: int = 0) -> View:
    """View numbers in their order, the last axis fastest."""
    strides = [int(np.prod(shape[axis + 1 :], dtype=int)) for axis in range(len(shape))]
    return View(storage, offset, tuple(shape), tuple(strides))
