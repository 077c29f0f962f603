"""The report on a TFLite file: how far its answers are off, and all of it on the terminal.

No TensorFlow here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tf_frcnn.data.faults import counted
from tf_frcnn.iou import pairwise_iou
from tf_frcnn.names import shown

MIN_IOU = 0.5

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Boxes [D, 4] float32 yxyx in pixels, scores [D] float32, classes [D] int32; best first."""


def compare_detections(expected: Found, found: Found) -> dict[str, Any]:
    """Compare two lists of detections in one image.

    By falling score, each expected one claims the free one of its class whose box it overlaps most,
    at an IoU of `MIN_IOU` or more.

    Args:
        expected: of the Keras network.
        found: of the TFLite file.

    Returns:
        `num_expected` and `num_found`; `num_unmatched`, those of either list without a partner;
        `max_box_difference`, of any coordinate in pixels, and `max_score_difference`, over the
        pairs; None where there is no pair.
    """
    (boxes_a, scores_a, classes_a), (boxes_b, scores_b, classes_b) = expected, found
    overlaps = pairwise_iou(boxes_a, boxes_b)  # [expected, found]
    overlaps = np.where(classes_a[:, None] == classes_b[None], overlaps, 0.0)
    pairs = []
    for index in range(len(scores_a)):
        partner = int(np.argmax(overlaps[index])) if len(scores_b) else -1
        if partner >= 0 and overlaps[index, partner] >= MIN_IOU:
            pairs.append((index, partner))
            overlaps[:, partner] = 0.0
    rows, cols = np.array(pairs, np.int64).reshape(-1, 2).T
    return {
        "num_expected": len(scores_a),
        "num_found": len(scores_b),
        "num_unmatched": len(scores_a) + len(scores_b) - 2 * len(pairs),
        "max_box_difference": _largest(boxes_a[rows] - boxes_b[cols]),
        "max_score_difference": _largest(scores_a[rows] - scores_b[cols]),
    }


def _largest(differences: np.ndarray) -> float | None:
    return float(np.abs(differences).max()) if differences.size else None


def print_report(report: Mapping[str, Any]) -> None:
    """Print a report: tensors, operators, stages, deviation.

    Args:
        report: as `tf-frcnn tflite` writes it.
    """
    console = Console(markup=False, emoji=False)
    for name in ("inputs", "outputs"):
        for tensor in report[name]:
            shape = " x ".join(map(str, tensor["shape"]))
            console.print(f"{name[:-1]:<7} {shown(tensor['name'])}: {tensor['type']} {shape}")
    counts = ", ".join(f"{name} {count}" for name, count in report["operators"].items())
    console.print(f"operators: {shown(counts, 10_000)}", highlight=False)
    console.print(_stages_table(report))
    console.print(shown(_deviation_text(report), 1000), highlight=False)


def _stages_table(report: Mapping[str, Any]) -> Table:
    table = Table("stage", box=SIMPLE_HEAD)
    for column in ("operators", "MB", "parameters", "multiply-adds", "ms"):
        table.add_column(column, justify="right")
    for stage, figures in report["stages"].items():
        table.add_row(stage, *_cells(figures))
    graph_bytes = {"bytes": report["bytes_of_graph"]}
    table.add_row("the graph itself", "", _cells(graph_bytes)[1])
    totals = {
        key: sum(figures[key] for figures in report["stages"].values())
        for key in ("operators", "parameters", "multiply_adds")
    }
    table.add_row(
        "all", *_cells({**totals, "bytes": report["bytes"], "milliseconds": report["milliseconds"]})
    )
    table.caption = (
        f"{report['interpreter']}, {report['threads']} threads; it offers no times by operator"
    )
    return table


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [
        str(figures.get("operators", "")),
        f"{figures['bytes'] / 1e6:.2f}",
        f"{figures.get('parameters', 0):,}",
        f"{figures.get('multiply_adds', 0):,}",
        f"{figures.get('milliseconds', 0.0):.1f}",
    ]


def _deviation_text(report: Mapping[str, Any]) -> str:
    deviation = report["deviation"]
    text = (
        f"on {deviation['picture']}: {counted(deviation['num_found'], 'detection')}, the Keras "
        f"network {deviation['num_expected']}, {deviation['num_unmatched']} without a partner"
    )
    if deviation["max_box_difference"] is None:
        return f"{text}."
    return (
        f"{text}; largest difference {deviation['max_box_difference']:.3f} px, "
        f"{deviation['max_score_difference']:.5f} in a score."
    )
