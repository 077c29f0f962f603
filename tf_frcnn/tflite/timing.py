"""How long a TFLite file takes by stage: it is cut after each of them, and run up to there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_frcnn.model import STAGES
from tf_frcnn.tflite.file import Graph, Operator, pack_model, read_model
from tf_frcnn.tflite.interpreter import FileRunner
from tf_frcnn.timing import measure

NUM_RUNS = 5


def milliseconds_by_stage(content: bytes, image: np.ndarray) -> Mapping[str, float]:
    """Measure each stage: what a file of the stages up to it takes longer than the one before.

    Args:
        content: of the file.
        image: [H, W, 3] uint8 RGB of the file's size.

    Returns:
        Stage -> milliseconds; a difference of two medians of `NUM_RUNS`, so that a short stage can
        come out below 0.
    """
    totals = []
    for stage in STAGES:
        runner = FileRunner(content if stage == STAGES[-1] else cut_after(content, stage))
        runner.set_input(image)
        totals.append(1e3 * measure(runner.run_once, num_warm_up=1, num_runs=NUM_RUNS).median)
    return dict(zip(STAGES, np.diff(totals, prepend=0.0).tolist(), strict=True))


def cut_after(content: bytes, stage: str) -> bytes:
    """Make a model of the stages up to one, as measuring needs it.

    Args:
        content: of a TFLite file.
        stage: the last one to keep.

    Returns:
        The content of a file without a signature, whose outputs are what the later stages take.
    """
    model = read_model(content)
    operators = Graph(model).operators
    early = [STAGES.index(operator.stage) <= STAGES.index(stage) for operator in operators]
    graph = model.subgraphs[0]
    made = {
        index
        for operator, is_early in zip(operators, early, strict=True)
        if is_early and not _is_conversion(model, operator)
        for index in operator.outputs
    }
    needed = {
        index
        for operator, is_early in zip(operators, early, strict=True)
        if not is_early
        for index in operator.inputs
    } | set(graph.outputs)
    graph.outputs = [index for index in sorted(made) if index in needed]
    kept = _leading_to(set(graph.outputs), operators, early)
    graph.operators = [
        operator for operator, is_kept in zip(graph.operators, kept, strict=True) if is_kept
    ]
    _drop_constants(model, operators, kept)
    model.signatureDefs = None
    return pack_model(model)


def _is_conversion(model: Any, operator: Operator) -> bool:
    """Tell whether an operator only turns a constant of 16 bits into float32, at any place."""
    graph = model.subgraphs[0]
    return operator.name == "DEQUANTIZE" and all(
        model.buffers[graph.tensors[index].buffer].data is not None for index in operator.inputs
    )


def _leading_to(
    outputs: set[int], operators: Sequence[Operator], allowed: Sequence[bool]
) -> list[bool]:
    """Tell which operators have a part in some tensors: XNNPACK fails on one that has none.

    Args:
        outputs: indices of the tensors.
        operators: in the order in which they are computed.
        allowed: which of them may be taken at all.
    """
    wanted = set(outputs)
    kept = []
    for operator, is_allowed in zip(reversed(operators), reversed(allowed), strict=True):
        has_part = is_allowed and not wanted.isdisjoint(operator.outputs)
        kept.append(has_part)
        if has_part:
            wanted.update(operator.inputs)
    return kept[::-1]


def _drop_constants(model: Any, operators: list[Operator], kept: list[bool]) -> None:
    """Empty the buffers that only operators use which are not kept."""
    tensors = model.subgraphs[0].tensors
    used = {
        tensors[index].buffer
        for operator, is_kept in zip(operators, kept, strict=True)
        if is_kept
        for index in operator.inputs
    }
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None
