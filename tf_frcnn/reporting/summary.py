"""The figures of a run: how they are put together, and what the terminal says at the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tf_frcnn.config import Config
from tf_frcnn.metrics_log import count_skipped, read_metrics
from tf_frcnn.model_files import newest_version
from tf_frcnn.run_folder import RunFolder

FIGURES = {
    "voc_ap50_area": "VOC mAP@0.5 (area)",
    "voc_ap50_11pt": "VOC mAP@0.5 (11 points)",
    "coco_ap": "COCO AP",
    "coco_ap50": "COCO AP50",
    "coco_ap75": "COCO AP75",
}


# How a training ended, as `training.run.train_detector` tells.
OUTCOME = ("steps", "planned_steps", "exported_step", "best_step", "best_val_loss")


def training_figures(
    config: Config, metrics_log: Path, outcome: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect what `metrics.json` says of the training itself.

    Args:
        config: of the run.
        metrics_log: its metrics.jsonl.
        outcome: holds how the training ended, or some of it, under the names of `OUTCOME`.

    Returns:
        steps and the rest of `OUTCOME`, skipped_steps (those of them whose update was left out),
        seconds_per_step (median over the log's lines, so that the first step's tracing does not
        count) and seed.
    """
    lines = read_metrics(metrics_log).values()
    seconds = [line["seconds_per_step"] for line in lines if "seconds_per_step" in line]
    return {
        "steps": config.train.steps,
        **{name: outcome[name] for name in OUTCOME if name in outcome},
        "skipped_steps": count_skipped(metrics_log, config.train.steps),
        "seconds_per_step": float(np.median(seconds)) if seconds else None,
        "seed": config.train.seed,
    }


def print_figures(metrics: dict[str, Any], title: str) -> None:
    """Print the figures of an evaluation, all classes and each."""
    console = _console()
    if metrics.get("skipped_steps"):
        console.print(
            f"{metrics['skipped_steps']} of {metrics['steps']} steps were left out: their loss or "
            "gradient was not finite",
            highlight=False,
        )
    if metrics.get("split") is None:
        console.print(f"{title}: not evaluated (no test split)", highlight=False)
        return
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for name in ("voc_ap50_area", "voc_ap50_11pt", "coco_ap", "coco_ap50"):
        table.add_column(FIGURES[name], justify="right")
    rows = {**metrics["per_class"], "mean": metrics}
    for name, figures in rows.items():
        columns = ("voc_ap50_area", "voc_ap50_11pt", "coco_ap", "coco_ap50")
        table.add_row(name, *(_format(figures[column]) for column in columns))
    console.print(table)


def print_finished_run(folder: RunFolder, prog: str) -> None:
    """Print the figures of a finished run, and what to do next.

    Args:
        folder: of the run; nothing is printed where another process writes.
        prog: as in `print_next_steps`.

    Raises:
        UserError: metrics.json or config.json cannot be read.
    """
    if not folder.is_writer:
        return
    print_figures(folder.load_metrics(), f"{folder.path} is finished")
    saved_model = newest_version(Path(folder.load_config().export_dir))
    print_next_steps(folder.path, saved_model, prog)


def print_next_steps(run: Path, saved_model: Path | None, prog: str) -> None:
    """Print where things are and which command to type next.

    Args:
        run: its folder.
        saved_model: the version that was exported, if there is one.
        prog: what was typed to train, `train.py` or `tf-frcnn train`; the next is called likewise.
    """
    console = _console()
    train = f"python {prog}" if prog.endswith(".py") else prog
    evaluate = train.replace("train", "evaluate")
    lines = [f"figures and pictures   {run}/metrics.json, report.html, curves.png"]
    if saved_model is not None:
        lines.append(f"SavedModel             {saved_model}")
    lines += [
        f"evaluate again         {evaluate} {run}",
        f"your own folder        {train} finetune --data.root DIR",
        f"losses over time       tensorboard --logdir {run}/events",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _console() -> Console:
    """Make a console that prints names as they are, whatever brackets and colons are in them."""
    return Console(markup=False, emoji=False)


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
