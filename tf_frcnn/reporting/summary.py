"""The figures of a run: those of its training, and what the terminal shows at the end."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tf_frcnn.config import Config
from tf_frcnn.data.faults import counted
from tf_frcnn.evaluation.coco import LIMIT as COCO_LIMIT
from tf_frcnn.metrics_log import NUM_IN_SPLIT, NUM_VALIDATED, count_skipped, read_metrics
from tf_frcnn.model_files import newest_version
from tf_frcnn.names import shown
from tf_frcnn.run_folder import RunFolder

# Columns of the table, by their keys in metrics.json.
FIGURES = {
    "voc_ap50_area": "VOC mAP@0.5 (area)",
    "voc_ap50_11pt": "VOC mAP@0.5 (11 points)",
    "coco_ap": "COCO AP",
    "coco_ap50": "COCO AP50",
}
_MAX_CLASSES = 100  # rows that the terminal shows; the page has all
# How a training ended, as `training.run.train_detector` returns it.
OUTCOME = ("steps", "planned_steps", "exported_step", "best_step", "best_val_loss")
_SAMPLE = (NUM_VALIDATED, NUM_IN_SPLIT)  # where it validated on a part of the split


def training_figures(
    config: Config, metrics_log: Path, outcome: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect what `metrics.json` says of the training itself.

    Args:
        config: of the run.
        metrics_log: its metrics.jsonl.
        outcome: how the training ended, under some or all of the names of `OUTCOME` and
            `_SAMPLE`.

    Returns:
        What `outcome` holds under these names, steps in any case; epochs (passes over the training
        images); skipped_steps (steps whose update was left out); seconds_per_step (the median over
        the log's lines, which disregards the tracing of the first step); seed.
    """
    lines = read_metrics(metrics_log).values()
    seconds = [line["seconds_per_step"] for line in lines if "seconds_per_step" in line]
    epochs = [line["epoch"] for line in lines if "epoch" in line]
    return {
        "steps": config.train.steps,
        **{name: outcome[name] for name in (*OUTCOME, *_SAMPLE) if name in outcome},
        "epochs": epochs[-1] if epochs else None,
        "skipped_steps": count_skipped(metrics_log, config.train.steps),
        "seconds_per_step": float(np.median(seconds)) if seconds else None,
        "seed": config.train.seed,
    }


def print_figures(metrics: dict[str, Any], title: str) -> None:
    """Print the figures of an evaluation, all classes and each."""
    console = _console()
    if metrics.get("skipped_steps"):
        console.print(
            f"{metrics['skipped_steps']} of {counted(metrics['steps'], 'step was', 'steps were')} "
            "left out: their loss or gradient was not finite",
            highlight=False,
        )
    if NUM_VALIDATED in metrics:
        console.print(
            f"validation losses are of {metrics[NUM_VALIDATED]:,} of "
            f"{metrics[NUM_IN_SPLIT]:,} images of their split",
            highlight=False,
        )
    if metrics.get("split") is None:
        console.print(f"{title}: not evaluated (no test split)", highlight=False)
        return
    table = Table("class", title=shown(title), title_justify="left")
    for heading in FIGURES.values():
        table.add_column(heading, justify="right")
    per_class = metrics["per_class"]
    hidden = len(per_class) - _MAX_CLASSES
    if hidden > 0:
        table.caption = f"and {counted(hidden, 'more class', 'more classes')} in metrics.json"
    rows = [*itertools.islice(per_class.items(), _MAX_CLASSES), ("mean", metrics)]
    for name, figures in rows:
        table.add_row(shown(name), *(_format(figures[key]) for key in FIGURES))
    console.print(table)
    for remark in remarks(metrics):
        console.print(remark, highlight=False, soft_wrap=True)


def remarks(metrics: Mapping[str, Any]) -> list[str]:
    """Say in words what figures of an evaluation cannot be read without.

    Args:
        metrics: of metrics.json.
    """
    found = []
    if by_limit := metrics.get("coco_ap_by_limit"):
        shown = ", ".join(f"{_format(ap)} with {limit}" for limit, ap in by_limit.items())
        found.append(
            f"COCO's figures look at {COCO_LIMIT} detections of a class in an image, and one holds "
            f"{metrics['most_boxes']} boxes of a class. COCO AP: {shown}."
        )
    if metrics.get("look_like_corners"):
        found.append(
            "Most detections end outside of their images: these look like corners. Expected "
            "COCO's boxes, [x, y, width, height]."
        )
    return found


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
    lines = [f"figures and images     {run}/metrics.json, report.html, curves.png"]
    if saved_model is not None:
        lines.append(f"SavedModel             {saved_model}")
    lines += [
        f"evaluate again         {evaluate} {run}",
        f"your own folder        {train} finetune --data.root DIR",
        f"losses over time       tensorboard --logdir {run}/events",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _console() -> Console:
    """Make a console that takes brackets and colons in names for what they are."""
    return Console(markup=False, emoji=False)


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
