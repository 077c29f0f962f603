"""The pickle inside a torch file, read as data: nothing is imported, called or run.

A pickle is a program for a small stack machine, and its names may call anything. The opcodes are
parsed here by `pickletools.genops` and obeyed by a machine of our own, not by `pickle.Unpickler`
with a `find_class`: there a file can still set attributes on whatever its names stand for (BUILD),
ask for a memo of gigabytes (LONG_BINPUT), or have keys hashed for years. Here a name is looked up
in a table and stays a name; what it would build becomes one of the few plain records below; a
dictionary is a list of pairs, so that nothing is hashed and no key is lost. An opcode or a name
that no state dict needs is refused.

Sources: the docstrings of Python's pickletools (the opcodes), and pickles that torch wrote.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

# Names of torch's storages, and the dtypes of their numbers. NumPy has no bfloat16 of its own.
STORAGE_DTYPES = {
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
    "torch.ComplexFloatStorage": np.dtype(np.complex64),
    "torch.ComplexDoubleStorage": np.dtype(np.complex128),
}
_ORDERED_DICT = "collections.OrderedDict"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
# What else a checkpoint of torchvision's own training script holds: its options and the milestones
# of its schedule. They become `Inert`.
_INERT = {"argparse.Namespace", "collections.Counter"}
_DTYPES = {
    f"torch.{name}"
    for name in (
        *("float32", "float", "float64", "double", "float16", "half", "bfloat16", "complex64"),
        *("complex128", "uint8", "int8", "int16", "short", "int32", "int", "int64", "long", "bool"),
    )
}
KNOWN_NAMES = {_ORDERED_DICT, _TENSOR, _PARAMETER, *STORAGE_DTYPES, *_INERT, *_DTYPES}

# A detector's checkpoint with its optimizer has some 30,000; this many take seconds to read.
_MAX_STEPS = 2_000_000
_MAX_DIMENSIONS = 32  # of NumPy 1's arrays


class Refused(ValueError):
    """What was found in a file, and why it can't be used: the middle of a message to the user."""


@dataclass(frozen=True, eq=False)
class Storage:
    """A run of numbers in the file, which tensors are views of.

    Attributes:
        key: the name in the file of the bytes that it lies in.
        dtype: of its numbers.
        size: how many numbers there are.
        start: how many numbers lie before it under that key.
    """

    key: str
    dtype: np.dtype
    size: int
    start: int = 0


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides count numbers, not bytes. Nothing is read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Pairs(list):
    """A dictionary's (key, value) pairs, in the order of the file, duplicates included."""


class Inert:
    """Something whose content plays no part: options of a training, a dtype."""


@dataclass(frozen=True)
class _Name:
    """A known name, such as `torch.FloatStorage`. Never what the name stands for."""

    text: str


_MARK = object()


def read_pickle(stream: BinaryIO, storage_of: Callable[[Any], Storage] | None = None) -> Any:
    """Read one pickle of protocol 2 to 5, and leave the stream behind it.

    Args:
        stream: at the pickle's first byte.
        storage_of: makes a storage of a persistent id (a tuple whose second item was a storage's
            name and is its dtype now); None where there may be none.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, and of this module `Pairs`, `Tensor`,
        `Storage` and `Inert`, in each other. It may hold itself: don't walk it without a limit.

    Raises:
        Refused: no whole pickle, or one with something that no state dict needs.
    """
    machine = _Machine(storage_of)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
        return machine.result()
    except Refused:
        raise
    except (ValueError, LookupError, OverflowError) as error:  # of genops, or of an empty stack
        raise Refused(f"its pickle is cut off or damaged ({error})") from None


class _Machine:
    """The stack, the memo and what each opcode does to them."""

    def __init__(self, storage_of: Callable[[Any], Storage] | None) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}  # not a list: a file may name any place in it
        self.storage_of = storage_of
        self.steps = 0

    def step(self, opcode: str, argument: Any) -> None:
        self.spend(1)
        if opcode in _PUSHES_ARGUMENT:
            self.stack.append(argument)
        elif opcode in _PUSHES_NEW:
            self.stack.append(_PUSHES_NEW[opcode]())
        elif opcode in _PUSHES_TUPLE:
            self.stack.append(tuple(reversed([self.pop() for _ in range(_PUSHES_TUPLE[opcode])])))
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.top()
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode in _METHODS:
            _METHODS[opcode](self)
        elif opcode == "GLOBAL":  # pickletools joins module and name with a space
            self.stack.append(_known_name(argument.replace(" ", ".", 1)))
        elif opcode not in _IGNORED:
            raise Refused(f"its pickle uses {opcode}, which no state dict needs")

    def spend(self, count: int) -> None:
        """Count steps, so that a small file can't keep the machine busy for hours."""
        self.steps += count
        if self.steps > _MAX_STEPS:
            raise Refused(f"its pickle takes more than {_MAX_STEPS:,} steps")

    def result(self) -> Any:
        (result,) = self.stack  # else ValueError
        return result

    def pop(self) -> Any:
        if self.top() is _MARK:
            raise IndexError("a mark in the place of a value")
        return self.stack.pop()

    def top(self) -> Any:
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    # === Opcodes ===

    def mark(self) -> None:
        self.stack.append(_MARK)

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.top()

    def tuple(self) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def append(self) -> None:
        self.extend_list([self.pop()])

    def appends(self) -> None:
        self.extend_list(self.pop_to_mark())

    def extend_list(self, items: list[Any]) -> None:
        if type(self.top()) is not list:
            raise Refused("its pickle appends to something that is no list")
        self.top().extend(items)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.extend_pairs([key, value])

    def set_items(self) -> None:
        self.extend_pairs(self.pop_to_mark())

    def extend_pairs(self, items: list[Any]) -> None:
        if type(self.top()) is not Pairs:
            raise Refused("its pickle sets items of something that is no dictionary")
        self.top().extend(zip(items[::2], items[1::2], strict=True))  # else ValueError

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        texts = type(module) is str and type(name) is str
        self.stack.append(_known_name(f"{module}.{name}" if texts else ""))

    def persistent_id(self) -> None:
        stated = self.pop()
        if self.storage_of is None:
            raise Refused("its pickle refers to numbers in a place where there are none")
        if type(stated) is not tuple or len(stated) < 2 or stated[0] != "storage":
            kind = stated[0] if type(stated) is tuple and stated else stated
            raise Refused(
                "it holds a whole model, which is code"
                if kind == "module"
                else "its pickle refers to something that is no storage of numbers"
            )
        name = stated[1].text if type(stated[1]) is _Name else ""
        if name not in STORAGE_DTYPES:
            raise Refused(f"it has numbers of a kind that is not read: {name or 'no storage'}")
        self.stack.append(self.storage_of((stated[0], STORAGE_DTYPES[name], *stated[2:])))

    def reduce(self) -> None:
        """Make what a known name would, of a tuple of arguments."""
        arguments, called = self.pop(), self.pop()
        name = called.text if type(called) is _Name else ""
        if type(arguments) is not tuple:
            raise Refused("its pickle calls something without a tuple of arguments")
        if name == _ORDERED_DICT:
            self.stack.append(self.pairs(*arguments[:1]))
        elif name == _TENSOR:
            if any(arguments[6:]):  # a complex number's conjugate that is yet to be taken
                raise Refused("it has a tensor whose numbers are yet to be changed")
            self.stack.append(_make_tensor(*arguments[:4]))
        elif name == _PARAMETER:
            if not arguments or type(arguments[0]) is not Tensor:
                raise Refused("it has a parameter that is no tensor")
            self.stack.append(arguments[0])
        elif name in _INERT:
            self.stack.append(Inert())
        else:
            raise Refused(f"its pickle calls {name or 'a value'}")

    def pairs(self, items: Any = ()) -> Pairs:
        """Make a dictionary; files that Python 2 wrote give its items as a list of lists."""
        if type(items) not in (list, tuple):
            raise Refused("it has an OrderedDict of something else than pairs")
        self.spend(len(items))
        if not all(type(item) in (list, tuple) and len(item) == 2 for item in items):
            raise Refused("it has an OrderedDict of something else than pairs")
        return Pairs((key, value) for key, value in items)

    def new_object(self) -> None:
        self.pop()
        called = self.pop()
        if type(called) is not _Name or called.text not in _INERT:
            raise Refused("its pickle makes an object that is not inert")
        self.stack.append(Inert())

    def build(self) -> None:
        """Drop an object's attributes: a state dict's `_metadata`, the fields of a Namespace."""
        self.pop()
        if type(self.top()) not in (Pairs, Inert):
            raise Refused("its pickle sets attributes of something else than a dictionary")


_PUSHES_ARGUMENT = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_PUSHES_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": Pairs,
}
_PUSHES_TUPLE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME", "STOP"}
_METHODS: dict[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "MEMOIZE": _Machine.memoize,
    "TUPLE": _Machine.tuple,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "STACK_GLOBAL": _Machine.stack_global,
    "BINPERSID": _Machine.persistent_id,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
}


def _known_name(text: str) -> Any:
    """Look a name up in the table -> the name itself, or something inert for a dtype."""
    if text not in KNOWN_NAMES:
        printable = 0 < len(text) <= 100 and text.isprintable()
        shown = text if printable else "something unprintable"
        raise Refused(f"it names {shown}, and loading that could run code: only tensors are read")
    return Inert() if text in _DTYPES else _Name(text)


def _make_tensor(
    storage: Any = None, offset: Any = None, shape: Any = None, strides: Any = None
) -> Tensor:
    """Check what a tensor is said to be against the size of its storage."""
    well_formed = (
        type(storage) is Storage
        and is_count(offset)
        and all(type(sizes) is tuple and all(map(is_count, sizes)) for sizes in (shape, strides))
        and len(shape) == len(strides) <= _MAX_DIMENSIONS
    )
    if not well_formed:
        raise Refused("it has a tensor whose storage, shape or strides make no sense")
    count = math.prod(n for n in shape if n)
    if 0 in shape:
        fits = offset <= storage.size and count < 2**40
    else:
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        # No more numbers than there are, as in an expanded tensor: it could fill the memory.
        fits = last < storage.size and count <= storage.size
    if not fits:
        raise Refused(
            f"it has a tensor of shape {shape}, strides {strides} from number {offset} on, but its "
            f"storage has {storage.size} numbers"
        )
    return Tensor(storage, offset, shape, strides)


def is_count(value: Any) -> bool:
    """Tell whether something is a whole number from 0 to 2^62, and no bool."""
    return type(value) is int and 0 <= value < 2**62
