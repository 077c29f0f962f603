"""What is in a TFLite file, by its flatbuffer."""

from typing import Any

from tf_frcnn.tflite.flatbuffer import Graph, operator_counts, read_model
from tf_frcnn.tflite.stages import STAGES


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
