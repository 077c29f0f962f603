"""The report on a TFLite file, on the terminal. No TensorFlow here."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_report(report: Mapping[str, Any]) -> None:
    """Print a report: tensors, operators, stages, deviation.

    Args:
        report: as `tf-frcnn tflite` writes it.
    """
    console = Console()
    for name in ("inputs", "outputs"):
        for tensor in report[name]:
            shape = " x ".join(map(str, tensor["shape"]))
            console.print(escape(f"{name[:-1]:<7} {tensor['name']}: {tensor['type']} {shape}"))
    counts = ", ".join(f"{name} {count}" for name, count in report["operators"].items())
    console.print(f"operators: {escape(counts)}", highlight=False)
    console.print(_stages_table(report))
    console.print(escape(_deviation_text(report)), highlight=False)


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
        f"on {deviation['picture']}: {deviation['num_found']} detections, the Keras network "
        f"{deviation['num_expected']}, {deviation['num_unmatched']} without a partner"
    )
    if deviation["max_box_difference"] is None:
        return f"{text}."
    return (
        f"{text}; largest difference {deviation['max_box_difference']:.3f} px, "
        f"{deviation['max_score_difference']:.5f} in a score."
    )
