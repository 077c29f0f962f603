"""Reads the weights that torch saved (`.pth`, `.pt`) without torch, and without running any of it.

`torch.save` writes one of two formats. Since torch 1.6 it is a zip archive, nothing compressed:

    NAME/data.pkl      a pickle; each of its tensors names a storage by a key
    NAME/data/KEY      the numbers of one storage
    NAME/byteorder     "little" or "big"; not there in archives of before torch 2.1
    NAME/version, ...  not needed

Before, and still with `_use_new_zipfile_serialization=False`, it was five pickles in a row (a magic
number, the protocol's version, facts about the machine, the content, the keys of the storages) and
then, for each of those keys, the count of its numbers (int64) and the numbers, little-endian.

`torch_pickle.py` reads the pickles. A zip's CRCs are checked of all that is used; the old format
has none, so there a changed byte among the numbers is not seen, only what makes no sense.
"""

import io
import mmap
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from tf_frcnn.errors import WeightsError
from tf_frcnn.given_files import open_file, reason_of
from tf_frcnn.names import quote
from tf_frcnn.pretrained.torch_pickle import (
    Pairs,
    Refused,
    Storage,
    Tensor,
    is_count,
    read_pickle,
)

# Where a checkpoint keeps its state dict, in this order: torchvision's training script, others.
STATE_DICT_KEYS = ("model", "state_dict", "model_state_dict")
_DATA_PARALLEL = "module."

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_MAGIC_BYTES = _MAGIC_NUMBER.to_bytes(10, "little")
_LEGACY_VERSION = 1001
_ZIP_START = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature; lengths of the name and of an extra field
_UTF_8_FLAG = 0x800
# What people hand over instead, by its first bytes.
_OTHER_FILES = {
    b"version https://git-lfs": "it is a pointer of git LFS to a file that was not fetched",
    b"\x89HDF\r\n\x1a\n": "it is an HDF5 file",
    b"\x1f\x8b": "it is compressed with gzip",
    b"PK\x05\x06": "it is an empty zip archive",
    b"\x80": "it is a pickle, but none that torch.save wrote",
}
_WAY_OUT = (
    "Expected the tensors of a network, as torch.save(model.state_dict(), PATH) writes them. Fetch "
    "the file again, or write it so."
)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict, or of the one in a training checkpoint.

    A checkpoint is a dictionary with a state dict under `model`, `state_dict` or
    `model_state_dict` (the first of them that is there); all else in it is skipped. The prefix
    `module.` of DataParallel goes where all keys have it. Nothing else is dropped or renamed.

    Args:
        path: a file that `torch.save` wrote, in its zip or its older format.

    Returns:
        Key -> array, in the order of the file: read-only, of the shape, strides and dtype that the
        tensor had (bfloat16 is that of ml_dtypes). Numbers may be NaN or infinite. Arrays are views
        of the file mapped into memory where that is possible, so don't write into the file (to
        replace it is fine) as long as they are in use.

    Raises:
        WeightsError: it is not there, no such file, cut off, damaged, or holds something else than
            tensors under names. Nothing was run, whatever it holds.
    """
    path = Path(path)
    try:
        with open_file(path) as file:
            return _read_open_file(file)
    except Refused as problem:
        reason = str(problem)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = f"it cannot be read ({reason_of(error)})"
    except MemoryError:
        reason = "there is not enough memory to read it"
    raise WeightsError(f"{path}: {reason}. {_WAY_OUT}")


def _read_open_file(file: BinaryIO) -> dict[str, np.ndarray]:
    """Find out which format it is -> its arrays."""
    if not file.read(1):
        raise Refused("it is empty")
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if content[: len(_ZIP_START)] == _ZIP_START:
        return _read_zip(content, file)
    if content[:1] == b"\x80" and _MAGIC_BYTES in content[:32]:  # whatever the pickle's protocol
        return _read_legacy(content)
    raise Refused(_describe_other(content[:512]))


def _describe_other(start: bytes) -> str:
    """Say what a file is that torch did not write, by its first bytes."""
    for known, what in _OTHER_FILES.items():
        if start.startswith(known):
            return what
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "it is a web page, such as a server sends in the place of a file"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:
        return "it is a safetensors file"
    return f"it is no file of torch: it begins with {start[:16]!r}"


# === Zip format ===


@dataclass(frozen=True)
class _Record:
    """A file in the archive: where its bytes lie, and their CRC."""

    name: str
    start: int
    size: int
    crc: int
    is_compressed: bool

    def read(self, content: mmap.mmap) -> memoryview:
        """Get the bytes, which are not copied."""
        if self.is_compressed:
            raise Refused(
                f"its record {quote(self.name)} is compressed, which torch.save does not do"
            )
        found = memoryview(content)[self.start : self.start + self.size]
        if zlib.crc32(found) != self.crc:
            raise Refused(f"its record {quote(self.name)} is damaged (the CRC differs)")
        return found


def _read_zip(content: mmap.mmap, file: BinaryIO) -> dict[str, np.ndarray]:
    """Read the zip format.

    Args:
        content: of the whole file.
        file: the same file, for `zipfile`.
    """
    records = _list_records(content, file)
    if "constants.pkl" in records:
        raise Refused("it is a TorchScript archive, which is code with its weights")
    if "data.pkl" not in records:
        names = quote(sorted(records))
        raise Refused(f"it is a zip archive, but none of torch.save: it holds {names}")
    storages: dict[str, Storage] = {}

    def storage_of(stated: tuple[Any, ...]) -> Storage:
        _, dtype, key, _, size = stated
        return _note_storage(storages, dtype, key, size)

    pickled = read_pickle(io.BytesIO(records["data.pkl"].read(content)), storage_of)
    tensors = _find_tensors(pickled)
    order: str = sys.byteorder
    if "byteorder" in records:
        order = bytes(records["byteorder"].read(content)).decode("ascii", "replace")
        if order not in ("little", "big"):
            raise Refused(f"its byteorder is {order!r}, not little or big")

    def bytes_of(storage: Storage) -> np.ndarray:
        record = records.get(f"data/{storage.key}")
        if record is None or record.size != storage.size * storage.dtype.itemsize:
            held = "nothing" if record is None else f"{record.size} bytes"
            raise Refused(
                f"it should hold {storage.size} numbers of {storage.dtype} under the key "
                f"{quote(storage.key)}, but there is {held}"
            )
        return np.frombuffer(record.read(content), np.uint8)

    return _make_arrays(tensors, storages, bytes_of, order)


def _list_records(content: mmap.mmap, file: BinaryIO) -> dict[str, _Record]:
    """List the archive's files by their names, without the folder that all of them are in."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise Refused(f"it is a zip archive that is cut off or damaged ({error})") from None
    records = {}
    for info in found:
        folder, _, name = info.filename.partition("/")
        if not name or folder != found[0].filename.partition("/")[0]:
            raise Refused(
                "it is a zip archive, but none of torch.save: it holds "
                f"{quote([each.filename for each in found])}"
            )
        if name in records:
            raise Refused(f"it is a zip archive that holds {quote(name)} twice")
        is_compressed = (
            info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size
        )
        start = _find_start(content, info)
        records[name] = _Record(name, start, info.file_size, info.CRC, is_compressed)
    return records


def _find_start(content: mmap.mmap, info: zipfile.ZipInfo) -> int:
    """Find where a file's bytes begin: behind a header of its own, which names it again."""
    behind_header = info.header_offset + _LOCAL_HEADER.size
    header = content[info.header_offset : behind_header]
    if info.header_offset >= 0 and len(header) == _LOCAL_HEADER.size:
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF_8_FLAG else "cp437")
        start = behind_header + name_length + extra_length
        fits = start + info.compress_size <= len(content)
        stated = content[behind_header : behind_header + name_length]
        if signature == _ZIP_START and stated == name and fits:
            return start
    raise Refused("it is a zip archive that is cut off or damaged (a file is not where it should)")


# === The older format ===


def _read_legacy(content: mmap.mmap) -> dict[str, np.ndarray]:
    """Read the format of before torch 1.6."""
    storages: dict[str, Storage] = {}

    def storage_of(stated: tuple[Any, ...]) -> Storage:
        _, dtype, key, _, size, *part = stated
        whole = _note_storage(storages, dtype, key, size)
        if part in ([], [None]):
            return whole
        start, part_size = part[0][1:] if type(part[0]) is tuple else (None, None)
        if not (is_count(start) and is_count(part_size) and start + part_size <= size):
            raise Refused("it has a part of a storage that leaves it or makes no sense")
        return Storage(key, dtype, part_size, start)

    stream = cast(BinaryIO, content)  # it has read, readline and tell
    stream.seek(0)
    if read_pickle(stream) != _MAGIC_NUMBER or read_pickle(stream) != _LEGACY_VERSION:
        raise Refused(f"it begins like a file of torch, but not like version {_LEGACY_VERSION}")
    read_pickle(stream)  # facts about the machine: numbers are little-endian on all of them
    tensors = _find_tensors(read_pickle(stream, storage_of))
    keys = read_pickle(stream)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise Refused("the list of its storages is damaged")
    if len(keys) != len(storages) or set(keys) != set(storages):
        raise Refused("the list of its storages is not that of its tensors")
    starts = {}
    position = stream.tell()
    for key in keys:
        storage = storages[key]
        starts[key] = position + 8
        count = int.from_bytes(content[position : position + 8], "little")
        position += 8 + storage.size * storage.dtype.itemsize
        if position > len(content):
            raise Refused(f"it is cut off: {position - len(content)} bytes or more are missing")
        if count != storage.size:
            raise Refused(f"storage {quote(key)} has {count} numbers, expected {storage.size}")
    if position != len(content):
        raise Refused(f"{len(content) - position} bytes follow its last storage")

    def bytes_of(storage: Storage) -> np.ndarray:
        num_bytes = storage.size * storage.dtype.itemsize
        return np.frombuffer(content, np.uint8, num_bytes, starts[storage.key])

    return _make_arrays(tensors, storages, bytes_of, "little")


# === What both have ===


def _note_storage(storages: dict[str, Storage], dtype: np.dtype, key: Any, size: Any) -> Storage:
    """Remember a storage by its key; tensors that share it must agree on what it is."""
    if type(key) is not str or not is_count(size):
        raise Refused("it has a storage whose key or size makes no sense")
    storage = storages.setdefault(key, Storage(key, dtype, size))
    if (storage.dtype, storage.size) != (dtype, size):
        raise Refused(f"its tensors disagree on what storage {quote(key)} is")
    return storage


def _find_tensors(pickled: Any) -> dict[str, Tensor]:
    """Find the state dict in what was pickled."""
    entries = _read_names(pickled)
    inner = next((key for key in STATE_DICT_KEYS if type(entries.get(key)) is Pairs), None)
    if inner is not None:
        entries = _read_names(entries[inner])
    for key, value in entries.items():
        if type(value) is not Tensor:
            raise Refused(
                f"it is a dictionary in which {quote(key)} is no tensor, and none of "
                f"{', '.join(STATE_DICT_KEYS)} is a dictionary of tensors"
                if inner is None
                else f"in its {inner}, {quote(key)} is no tensor"
            )
    if not entries:
        raise Refused("it holds no tensors")
    if all(key.startswith(_DATA_PARALLEL) for key in entries):
        return {key[len(_DATA_PARALLEL) :]: tensor for key, tensor in entries.items()}
    return entries


def _read_names(pickled: Any) -> dict[str, Any]:
    """Turn a pickled dictionary into one whose keys are known to be names, each of one value."""
    if type(pickled) is not Pairs:
        raise Refused(f"it holds a {type(pickled).__name__.lower()}, not a dictionary of tensors")
    entries: dict[str, Any] = {}
    for key, value in pickled:
        if type(key) is not str:
            raise Refused(f"it has a key that is a {type(key).__name__.lower()}, not a name")
        if key in entries:
            raise Refused(f"it has the key {quote(key)} twice")
        entries[key] = value
    return entries


def _make_arrays(
    tensors: Mapping[str, Tensor],
    storages: Mapping[str, Storage],
    bytes_of: Callable[[Storage], np.ndarray],
    order: str,
) -> dict[str, np.ndarray]:
    """Make an array of each tensor.

    Args:
        tensors: by key.
        storages: all that the file has, whole, by key.
        bytes_of: reads a whole storage -> uint8 [size * itemsize], read-only.
        order: of the bytes of a number, `little` or `big`.
    """
    read: dict[str, np.ndarray] = {}
    arrays = {}
    for key, tensor in tensors.items():
        storage = tensor.storage
        if storage.key not in read:
            whole = storages[storage.key]
            read[storage.key] = _as_native(bytes_of(whole), whole.dtype, order)
        arrays[key] = _view(read[storage.key], tensor)
    return arrays


def _as_native(raw: np.ndarray, dtype: np.dtype, order: str) -> np.ndarray:
    """Give bytes the order and the place in memory that this machine's numbers have."""
    if dtype.kind == "b" and raw.max(initial=0) > 1:
        raise Refused("it has truth values that are neither 0 nor 1")
    if order != sys.byteorder:
        part = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
        raw = np.ascontiguousarray(raw.reshape(-1, part)[:, ::-1]).reshape(-1)
    elif raw.ctypes.data % dtype.itemsize:  # the older format puts storages anywhere
        raw = raw.copy()
    raw.flags.writeable = False
    return raw


def _view(raw: np.ndarray, tensor: Tensor) -> np.ndarray:
    """View a tensor's numbers in the bytes of the storage that its own lies in."""
    dtype = tensor.storage.dtype
    if 0 in tensor.shape:
        empty = np.empty(tensor.shape, dtype)
        empty.flags.writeable = False
        return empty
    sized = zip(tensor.shape, tensor.strides, strict=True)
    # The stride of a side of 1 means nothing and may be any number.
    strides = [dtype.itemsize * (stride if size > 1 else 1) for size, stride in sized]
    offset = (tensor.storage.start + tensor.offset) * dtype.itemsize
    return np.ndarray(tensor.shape, dtype, raw.data, offset, strides)
