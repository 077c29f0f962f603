"""What is in a TFLite file, read by its schema: operators, tensors, and the stage of each."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tf_frcnn.model import STAGES

_OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
_TYPE_NAMES = {
    value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)
}


METADATA = "tf_frcnn"
WEIGHTED_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Operator:
    """One operator of the graph.

    Attributes:
        name: of its kind: CONV_2D, GATHER, ...
        stage: one of `STAGES`.
        inputs: indices of tensors; optional ones that are not there are left out.
        outputs: indices of tensors.
    """

    name: str
    stage: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_model(content: bytes) -> Any:
    """Read a file's content as the schema's objects.

    Args:
        content: of a TFLite file.

    Returns:
        The schema's `ModelT`.
    """
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def pack_model(model: Any) -> bytes:
    """Write the schema's objects as a file's content."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def add_metadata(content: bytes, values: Mapping[str, Any]) -> bytes:
    """Write what is known of the model into a file, as TFLite metadata named `METADATA`.

    Args:
        content: of a TFLite file.
        values: ready for JSON.

    Returns:
        The content of the file with them.
    """
    model = read_model(content)
    buffer, metadata = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(json.dumps(values).encode(), np.uint8)
    metadata.name, metadata.buffer = METADATA, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), metadata]
    return pack_model(model)


def read_metadata(content: bytes) -> dict[str, Any]:
    """Read what `add_metadata` wrote; nothing from a file without it."""
    model = read_model(content)
    for entry in model.metadata or ():
        if entry.name == METADATA.encode():
            return json.loads(bytes(model.buffers[entry.buffer].data))
    return {}


def operator_counts(model: Any) -> dict[str, int]:
    """Count the operators of all graphs of a model by their kinds, most frequent first."""
    counts = Counter(
        _operator_name(model, operator) for graph in model.subgraphs for operator in graph.operators
    )
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def foreign_operators(model: Any) -> set[str]:
    """Name the operators of a model that are no builtins of TFLite: Flex and custom ones."""
    return {
        code.customCode.decode()
        for code in model.operatorCodes
        if _builtin_code(code) == schema.BuiltinOperator.CUSTOM
    }


class Graph:
    """The graph of a model, its operators sorted into stages.

    A file of this project has one graph: it has no loops and no branches.

    Args of `__init__`: `model` as `read_model` returns it.

    Attributes:
        operators: in the order in which they are computed.
    """

    operators: list[Operator]

    def __init__(self, model: Any) -> None:
        (self._graph,) = model.subgraphs
        self._buffers = model.buffers
        ends = [
            (
                tuple(int(index) for index in operator.inputs if index >= 0),
                tuple(int(index) for index in operator.outputs),
            )
            for operator in self._graph.operators
        ]
        self.operators = [
            Operator(_operator_name(model, operator), STAGES[stage], *one)
            for operator, one, stage in zip(
                self._graph.operators, ends, self._sort_into_stages(ends), strict=True
            )
        ]
        self._producers = {
            index: operator for operator in self.operators for index in operator.outputs
        }

    def _sort_into_stages(
        self, ends: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> list[int]:
        """Find the stage of each operator, given its inputs and outputs."""
        stages: list[int] = []
        stage_of_tensor: dict[int, int] = {}
        converted: dict[int, int] = {}  # tensor that is made of constants alone -> its operator
        for inputs, outputs in ends:
            if inputs and all(self.constant_bytes(index) for index in inputs):
                # The float32 form of a weight, or of a number that several stages share: it belongs
                # where it is used first, whatever its name.
                converted.update(dict.fromkeys(outputs, len(stages)))
                stages.append(len(STAGES) - 1)
                continue
            # Data flows from stage to stage: an operator is never in an earlier one than its
            # inputs, whatever the name says that the converter gave it.
            stage = max(
                stage_index(self.tensor_name(outputs[0])),
                *(stage_of_tensor.get(index, 0) for index in inputs),
                0,
            )
            stages.append(stage)
            stage_of_tensor.update(dict.fromkeys(outputs, stage))
            for index in inputs:
                if index in converted:
                    number = converted[index]
                    stages[number] = min(stages[number], stage)
        return stages

    def tensor_name(self, index: int) -> str:
        """Return a tensor's name."""
        return self._graph.tensors[index].name.decode()

    def shape(self, index: int) -> tuple[int, ...]:
        """Return a tensor's shape; () for a scalar."""
        shape = self._graph.tensors[index].shape
        return () if shape is None else tuple(int(side) for side in shape)

    def dtype(self, index: int) -> str:
        """Return a tensor's type: float32, int8, ..."""
        return _TYPE_NAMES[self._graph.tensors[index].type]

    def constant_bytes(self, index: int) -> int:
        """Return how many bytes a tensor takes in the file; 0 where it is computed."""
        data = self._buffers[self._graph.tensors[index].buffer].data
        return 0 if data is None else len(data)

    def weight(self, operator: Operator, position: int) -> int | None:
        """Find the constant that is an operator's input, behind its conversion to float32 if any.

        Args:
            operator: of this graph.
            position: of the input.

        Returns:
            Index of the tensor; None where the input is not there or is computed.
        """
        if position >= len(operator.inputs):
            return None
        index = operator.inputs[position]
        producer = self._producers.get(index)
        if producer is not None and producer.name == "DEQUANTIZE":
            index = producer.inputs[0]
        return index if self.constant_bytes(index) else None

    def bytes_by_stage(self) -> dict[str, int]:
        """Add up the constants of each stage, each where it is used first."""
        totals = dict.fromkeys(STAGES, 0)
        seen: set[int] = set()
        for operator in self.operators:
            for index in operator.inputs:
                buffer = self._graph.tensors[index].buffer
                if buffer not in seen:
                    seen.add(buffer)
                    totals[operator.stage] += self.constant_bytes(index)
        return totals

    def multiply_adds(self, operator: Operator) -> int:
        """Count the products that a convolution or a fully connected layer adds up; else 0."""
        if operator.name not in WEIGHTED_OPERATORS:
            return 0
        outputs = int(np.prod(self.shape(operator.outputs[0])))
        kernel = self.shape(operator.inputs[1])  # [C out, height, width, C in] or [C out, C in]
        if operator.name == "DEPTHWISE_CONV_2D":  # [1, height, width, C out]
            kernel = kernel[:3]
        return outputs * int(np.prod(kernel[1:]))

    def parameters(self, operator: Operator) -> int:
        """Count the numbers in the kernel and the bias of such an operator; else 0."""
        if operator.name not in WEIGHTED_OPERATORS:
            return 0
        weights = (self.weight(operator, position) for position in (1, 2))
        return sum(int(np.prod(self.shape(index))) for index in weights if index is not None)


def describe_file(content: bytes) -> dict[str, Any]:
    """Describe a file by what its flatbuffer holds.

    Args:
        content: of a TFLite file of this project.

    Returns:
        `bytes` of the file; `operators`, kind -> count; `inputs` and `outputs`, each with `name`,
        `type` and `shape`; `stages`, stage -> its `operators`, `bytes` of constants, `parameters`
        (numbers in kernels and biases of convolutions and FC layers) and `multiply_adds` of these;
        `bytes_of_graph`, the rest of the file.
    """
    model = read_model(content)
    graph = Graph(model)
    stage_bytes = graph.bytes_by_stage()
    stages = {
        stage: {"operators": 0, "bytes": stage_bytes[stage], "parameters": 0, "multiply_adds": 0}
        for stage in STAGES
    }
    for operator in graph.operators:
        stages[operator.stage]["operators"] += 1
        stages[operator.stage]["parameters"] += graph.parameters(operator)
        stages[operator.stage]["multiply_adds"] += graph.multiply_adds(operator)
    (signature,) = model.signatureDefs
    return {
        "bytes": len(content),
        "operators": operator_counts(model),
        "inputs": [_describe_tensor(graph, tensor) for tensor in signature.inputs],
        "outputs": [_describe_tensor(graph, tensor) for tensor in signature.outputs],
        "stages": stages,
        "bytes_of_graph": len(content) - sum(stage_bytes.values()),
    }


def _describe_tensor(graph: Graph, tensor: Any) -> dict[str, Any]:
    index = tensor.tensorIndex
    return {
        "name": tensor.name.decode(),
        "type": graph.dtype(index),
        "shape": list(graph.shape(index)),
    }


def stage_index(name: str) -> int:
    """Find the stage that a tensor belongs to by its name.

    Args:
        name: of a TFLite tensor: the scopes of the operator that gives it, with a slash after each;
            of operators that were fused several such names, with semicolons between them. The
            outermost scope is the stage.

    Returns:
        Index into `STAGES`; -1 where the name tells nothing.
    """
    scope = name.split(";")[0].split("/")[0]
    return STAGES.index(scope) if scope in STAGES else -1


def _operator_name(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    builtin = _builtin_code(code)
    if builtin == schema.BuiltinOperator.CUSTOM:
        return code.customCode.decode()
    return _OPERATOR_NAMES[builtin]


def _builtin_code(code: Any) -> int:
    """Read an operator's number: small ones also stand in the field that older files have."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)
