"""Kernels turned into constants, around which TensorFlow's CPU kernels can be arranged."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants


def freeze(
    detect: tf.types.experimental.ConcreteFunction, kept: Sequence[tf.Variable] = ()
) -> Callable[..., Mapping[str, tf.Tensor]]:
    """Make a function of one that reads variables, with their values inside.

    TensorFlow may then fold normalisation into kernels, fuse convolution, bias and ReLU, and keep
    kernels in the layout that its CPU library wants. It copies constants many times on the way:
    where it has nothing to arrange, in matrix products, a variable is as fast and costs nothing.

    Args:
        detect: answers a dict of tensors.
        kept: variables of `detect` that the new function reads as well.

    Returns:
        A function that takes and answers the same and holds no other variables. Called in several
        graphs of one SavedModel, its constants are in the file once.
    """
    inputs = {
        placeholder.op.name: captured
        for captured, placeholder in detect.graph.captures
        if any(captured is variable.handle for variable in kept)
    }
    # What `convert_variables_to_constants_v2` does, which cannot be told to leave something out.
    # Loops stay whole: in the form of TensorFlow 1 they cannot be called from other functions.
    data = convert_to_constants._FunctionConverterDataInEager(
        func=detect,
        lower_control_flow=False,
        aggressive_inlining=False,
        variable_names_denylist=set(inputs),
    )
    graph_def, converted = convert_to_constants._replace_variables_by_constants(data)
    _prune(graph_def, [tensor.op.name for tensor in detect.outputs])
    frozen = convert_to_constants._construct_concrete_function(detect, graph_def, converted)
    # Inputs are the images, then what was captured, in the order of the captures.
    handles = list(inputs.values())
    names = sorted(detect.structured_outputs)  # a dict is flattened so; freezing forgets the names

    def detect_frozen(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return dict(zip(names, frozen(images, *handles), strict=True))

    return detect_frozen


def _prune(graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> None:
    """Drop the nodes that have no part in the outputs: kernels that were folded are large."""
    constants = {node.name for node in graph_def.node if node.op == "Const"}
    # What was the read of a variable; a function waits for all of these.
    reads = {
        f"^{node.name}"
        for node in graph_def.node
        if node.op == "Identity" and constants.issuperset(node.input)
    }
    inputs = {}
    for node in graph_def.node:
        awaited = [one for one in node.input if one not in reads]
        del node.input[:]
        node.input.extend(awaited)
        inputs[node.name] = [one.removeprefix("^").split(":")[0] for one in awaited]
    needed: set[str] = set()
    left = list(outputs)
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left.extend(inputs[name])
    kept = [node for node in graph_def.node if node.name in needed]
    del graph_def.node[:]
    graph_def.node.extend(kept)
