"""What check-data found, on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tf_frcnn.data.faults import counted
from tf_frcnn.doctor.check import shown_counts
from tf_frcnn.doctor.remarks import list_remarks
from tf_frcnn.names import shown
from tf_frcnn.reporting.page import format_share

_MAX_CLASSES = 20  # rows that the terminal shows; the page has all


def print_summary(report: Mapping[str, Any]) -> None:
    """Print tables of the counts and the anchors, then what is wrong and what seems so.

    Args:
        report: check_data.json.
    """
    console = Console(markup=False, emoji=False)
    console.print(_splits_table(report))
    console.print(_classes_table(report))
    console.print(_anchors_table(report["anchors"]))
    faults = report["faults"]
    for fault in faults["first"]:
        console.print(Text.assemble(("fault ", "red"), fault))
    if faults["count"] > len(faults["first"]):
        rest = f"... and {faults['count'] - len(faults['first'])} more"
        console.print(Text.assemble(("fault ", "red"), rest))
    for remark in list_remarks(report):
        console.print(Text.assemble(("look  ", "yellow"), shown(remark, 1000)))
    colour = "red" if report["would_stop_training"] else "yellow" if faults["count"] else "green"
    console.print(report["verdict"], style=f"bold {colour}")


def _splits_table(report: Mapping[str, Any]) -> Table:
    table = Table("split", "used as", box=SIMPLE_HEAD)
    columns = shown_counts(report["splits"])
    for label in columns:
        table.add_column(label, justify="right")
    for split, counts in report["splits"].items():
        roles = [role for role, name in report["roles"].items() if name == split]
        numbers = [str(counts[key]) for key in columns.values()]
        table.add_row(shown(split), ", ".join(roles), *numbers)
    return table


def _classes_table(report: Mapping[str, Any]) -> Table:
    names = report["class_names"]
    hidden = len(names) - _MAX_CLASSES
    table = Table("boxes of class", box=SIMPLE_HEAD)
    if hidden > 0:
        table.caption = f"and {counted(hidden, 'more class', 'more classes')}"
    for split in report["splits"]:
        table.add_column(shown(split), justify="right")
    for name in names[:_MAX_CLASSES]:
        counts = [split["per_class"][name]["num_boxes"] for split in report["splits"].values()]
        table.add_row(shown(name), *map(str, counts))
    return table


def _anchors_table(anchors: Mapping[str, Any]) -> Table:
    table = Table("anchors", "sizes", "aspect ratios", box=SIMPLE_HEAD)
    table.add_column("boxes at IoU 0.5", justify="right")
    table.add_column("at 0.7", justify="right")
    for name in ("chosen", "suggested"):
        if shapes := anchors[name]:
            table.add_row(
                name,
                " ".join(f"{size:g}" for size in shapes["sizes"]),
                " ".join(f"{ratio:g}" for ratio in shapes["aspect_ratios"]),
                format_share(shapes["share_at_50"]),
                format_share(shapes["share_at_70"]),
            )
    return table
