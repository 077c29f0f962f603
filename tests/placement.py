"""Where a graph would run on a machine with a GPU, read from the kernels that TensorFlow has.

TensorFlow's ordinary wheel for Linux registers its GPU kernels, so this works without a GPU. A
kernel says for which types it is made, and which of its arguments it keeps in host memory: sizes,
axes, and most of int32 arithmetic, whose "GPU" kernels compute on the processor.

An edge of a graph goes *from device to host* when the kernel at its one end leaves the tensor in
device memory, and that at the other end takes it from host memory. There the processor waits until
the GPU has come so far. Not counted are:

- edges from constants, which TensorFlow makes where they are read;
- what is shape alone: operators that look at a shape keep their input on the device, and give the
  shape in host memory, as their kernels say;
- what the outermost graph answers: it is read when somebody asks for it.

Each function is gone through once, however often it is called or repeated. TensorFlow hands int32
tensors to functions and loops, and takes them back, in host memory; whether a loop goes on is
decided there too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.framework import kernels, op_def_registry

# Types of the arguments and answers of functions that are in host memory.
_ON_HOST = {one.as_datatype_enum for one in (tf.int32, tf.string, tf.resource)}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"} | {
    f"{prefix}{name}" for prefix in ("", "Stateless") for name in ("While", "If", "Case")
}


class Edge(NamedTuple):
    """A tensor that is copied from device to host: `operator name` of the nodes at both ends."""

    producer: str
    consumer: str


class Placement(NamedTuple):
    """What `read_placement` finds.

    Attributes:
        without_kernel: operators that have no GPU kernel for their types -> how many there are.
        edges: from device to host.
    """

    without_kernel: Counter[str]
    edges: list[Edge]


def read_placement(function: Any) -> Placement:
    """Find how a concrete function, and those that it calls, would run on a GPU."""
    graph = function.graph.as_graph_def()
    library = {one.signature.name: one for one in graph.library.function}
    without_kernel: Counter[str] = Counter()
    edges: list[Edge] = []
    pending, seen = [("", False)], {""}
    while pending:
        name, is_condition = pending.pop()
        nodes = {one.name: _Node(one) for one in (library[name].node_def if name else graph.node)}
        without_kernel.update(one.label for one in nodes.values() if not one.has_kernel)
        on_device = {
            source
            for node in nodes.values()
            for source in node.outputs_on_device(is_outermost=not name)
        }
        if name:
            signature = library[name].signature
            on_device |= {one.name for one in signature.input_arg if one.type not in _ON_HOST}
        for node in nodes.values():
            for source in node.inputs_from_host():
                producer = nodes.get(source.split(":")[0])
                if source in on_device and not (producer and producer.op == "Const"):
                    edges.append(Edge(producer.title if producer else source, node.title))
            for called, decides in node.called():
                if called in library and called not in seen:
                    seen.add(called)
                    pending.append((called, decides))
        for source in library[name].ret.values() if is_condition else ():
            if source in on_device:
                edges.append(Edge(source, "the loop's condition"))
    return Placement(without_kernel, edges)


class _Node:
    """A node of a graph, with its kernel for GPUs if it has one."""

    def __init__(self, node: Any) -> None:
        self.op, self.name, self._node = node.op, node.name, node
        self._definition = op_def_registry.get(node.op)
        self._kernel = None if self._definition is None else self._find_kernel()

    @property
    def title(self) -> str:
        return f"{self.op} {self.name}"

    @property
    def has_kernel(self) -> bool:
        return self._kernel is not None

    @property
    def label(self) -> str:
        """Name the operator with its types."""
        types = [
            tf.dtypes.as_dtype(one).name
            for attribute in self._definition.attr
            if attribute.type == "type"
            for one in self._types(attribute.name)
        ]
        return f"{self.op}({', '.join(types)})"

    def inputs_from_host(self) -> Iterator[str]:
        """List what it reads from host memory; of a node without a kernel that is all."""
        inputs = [one for one in self._node.input if not one.startswith("^")]
        for source, (argument, dtype) in zip(
            inputs, self._flat(self._definition.input_arg), strict=True
        ):
            if self._is_on_host(argument, dtype):
                yield source

    def outputs_on_device(self, is_outermost: bool) -> Iterator[str]:
        """List what it leaves in device memory, as others write it that read it."""
        place_of_argument: Counter[str] = Counter()
        for place, (argument, dtype) in enumerate(self._flat(self._definition.output_arg)):
            if not self._is_on_host(argument, dtype):
                if is_outermost:
                    yield f"{self.name}:{place}" if place else self.name
                else:
                    yield f"{self.name}:{argument}:{place_of_argument[argument]}"
            place_of_argument[argument] += 1

    def called(self) -> Iterator[tuple[str, bool]]:
        """List the functions that it calls, and whether they decide if a loop goes on."""
        for name, attribute in self._node.attr.items():
            for one in (attribute.func, *attribute.list.func):
                if one.name:
                    yield one.name, name == "cond"

    def _is_on_host(self, argument: str, dtype: int) -> bool:
        if self._kernel is None or argument in self._kernel.host_memory_arg:
            return True
        takes_arguments = self.op in _CALLS or self.op == "Placeholder"
        return takes_arguments and dtype in _ON_HOST

    def _find_kernel(self) -> Any:
        """Find the kernel that a GPU would take: its own, else one for any device."""
        known = kernels.get_registered_kernels_for_op(self.op).kernel
        for device in ("GPU", "DEFAULT"):
            fitting = [
                one
                for one in known
                if one.device_type == device
                and not one.label
                and all(
                    set(self._types(constraint.name)) <= set(constraint.allowed_values.list.type)
                    for constraint in one.constraint
                )
            ]
            if fitting:
                return max(fitting, key=lambda one: one.priority)
        return None

    def _attribute(self, name: str) -> Any:
        if name in self._node.attr:
            return self._node.attr[name]
        return next(one.default_value for one in self._definition.attr if one.name == name)

    def _types(self, name: str) -> list[int]:
        """Give the type, or the list of types, of an attribute."""
        value = self._attribute(name)
        return [value.type] if value.type else list(value.list.type)

    def _flat(self, arguments: Iterable[Any]) -> Iterator[tuple[str, int]]:
        """Give name and type of each tensor of some arguments, which may be lists of them."""
        for one in arguments:
            if one.type_list_attr:
                types = self._types(one.type_list_attr)
            else:
                types = [one.type or self._types(one.type_attr)[0]]
            count = self._attribute(one.number_attr).i if one.number_attr else 1
            yield from ((one.name, dtype) for _ in range(count) for dtype in types)
