"""The figures of `tf-frcnn benchmark`, on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tf_frcnn.names import shown


def print_report(report: Mapping[str, Any]) -> None:
    """Print a table of seconds, whole and by stage; then throughput, loading and memory.

    Args:
        report: as `measure_model` returns it.
    """
    console = Console()
    height, width = report["picture_size"]
    title = f"{report['model']}: {report['batch']} x {height} x {width}, {report['device']}"
    table = Table("seconds a call", box=SIMPLE_HEAD)
    for label in ("median", "10 %", "90 %", "first"):
        table.add_column(label, justify="right")
    rows = {"whole": report["latency"], **(report["stages"] or {})}
    for name, timing in rows.items():
        numbers = (timing["median"], timing["p10"], timing["p90"], timing["first"])
        table.add_row(name, *("-" if number is None else f"{number:.4f}" for number in numbers))
        if name == "whole" and len(rows) > 1:
            table.add_section()
    console.print(shown(title, 1000), highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(
        f"{report['pictures_per_second']:.2f} images/s; loaded in "
        f"{report['seconds_to_load']:.1f} s; peak memory {report['peak_memory_bytes'] / 2**20:.0f} "
        "MiB",
        highlight=False,
    )
