"""`tf-frcnn check-data --data.root DIR`: look at a data set as training would, and report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tf_frcnn.config import DataConfig, ModelConfig
from tf_frcnn.data import find_format, log_format
from tf_frcnn.doctor.check import check_data, shown_counts
from tf_frcnn.doctor.page import write_check_page
from tf_frcnn.doctor.remarks import list_remarks
from tf_frcnn.errors import EXIT_FINDINGS, EXIT_OK
from tf_frcnn.presets import finetune
from tf_frcnn.reporting.page import format_share
from tf_frcnn.runs import prepare_output, write_json

logger = logging.getLogger(__name__)

JSON_FILE = "check_data.json"
PAGE_FILE = "check_data.html"
_MAX_CLASSES = 20  # rows that the terminal shows; the page has all


@dataclass(frozen=True)
class CheckedModel:
    """The anchors; the defaults are those of the preset `finetune`."""

    anchor_sizes: tuple[float, ...] = field(default_factory=lambda: finetune().model.anchor_sizes)
    """Square roots of the anchors' areas, in pixels of the network's input."""
    aspect_ratios: tuple[float, ...] = ModelConfig.aspect_ratios
    """Height / width of the anchors."""


@dataclass(frozen=True)
class CheckedTraining:
    """What of the training decides over the data."""

    seed: int = 0
    """Divides the pictures where the data set has no splits of its own."""


@dataclass(frozen=True)
class CheckArguments:
    """Everything `tf-frcnn check-data` takes."""

    data: DataConfig = field(default_factory=DataConfig)
    model: CheckedModel = field(default_factory=CheckedModel)
    train: CheckedTraining = field(default_factory=CheckedTraining)
    output: Path | None = None
    """Folder for check_data.json and check_data.html; check-data/NAME of the root's NAME when not
    given."""
    overwrite: bool = False
    """Move what is in the output folder to NAME.bak-TIME first."""


def main(argv: Sequence[str] | None = None) -> int:
    """Check a data set; a usage error exits with status 2.

    Args:
        argv: arguments without the command's name; the process's own when None.

    Returns:
        0, or 1 where something would stop training.

    Raises:
        UserError: there is no data set to read, or the output cannot be written.
    """
    arguments = tyro.cli(
        CheckArguments,
        prog="tf-frcnn check-data",
        description="Look at a data set as training would, and report what seems wrong. The exit "
        "status is 1 when something would stop training.",
        args=argv,
    )
    model = ModelConfig(**vars(arguments.model))
    root, data_format = find_format(arguments.data)  # before a folder is made for what is none
    log_format(arguments.data, data_format)
    data = DataConfig(**{**vars(arguments.data), "format": data_format})
    output = arguments.output or Path("check-data") / root.resolve().name
    prepare_output(output, arguments.overwrite)
    check = check_data(data, model, arguments.train.seed)
    write_json(output / JSON_FILE, check.report)
    write_check_page(output / PAGE_FILE, check)
    _print_summary(Console(), check.report)
    logger.info("written: %s and %s", output / JSON_FILE, output / PAGE_FILE)
    return EXIT_FINDINGS if check.report["would_stop_training"] else EXIT_OK


def _print_summary(console: Console, report: Mapping[str, Any]) -> None:
    """Print tables of the counts and the anchors, then what is wrong and what seems so."""
    console.print(_splits_table(report))
    console.print(_classes_table(report))
    console.print(_anchors_table(report["anchors"]))
    faults = report["faults"]
    for fault in faults["first"]:
        console.print(f"[red]fault[/] {escape(fault)}")
    if faults["count"] > len(faults["first"]):
        console.print(f"[red]fault[/] ... and {faults['count'] - len(faults['first'])} more")
    for remark in list_remarks(report):
        console.print(f"[yellow]look[/]  {escape(remark)}")
    colour = "red" if report["would_stop_training"] else "yellow" if faults["count"] else "green"
    console.print(f"[bold {colour}]{escape(report['verdict'])}[/]")


def _splits_table(report: Mapping[str, Any]) -> Table:
    table = Table("split", "used as", box=SIMPLE_HEAD)
    columns = shown_counts(report["splits"])
    for label in columns:
        table.add_column(label, justify="right")
    for split, counts in report["splits"].items():
        roles = [role for role, name in report["roles"].items() if name == split]
        numbers = [str(counts[key]) for key in columns.values()]
        table.add_row(escape(split), ", ".join(roles), *numbers)
    return table


def _classes_table(report: Mapping[str, Any]) -> Table:
    names = report["class_names"]
    hidden = len(names) - _MAX_CLASSES
    table = Table("boxes of class", box=SIMPLE_HEAD)
    if hidden > 0:
        table.caption = f"and {hidden} more classes"
    for split in report["splits"]:
        table.add_column(escape(split), justify="right")
    for name in names[:_MAX_CLASSES]:
        counts = [split["per_class"][name]["num_boxes"] for split in report["splits"].values()]
        table.add_row(escape(name), *map(str, counts))
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
