"""Try what is known to help on BCCD's validation split, at equal budget, and keep a line a run.

    python benchmarks/screening.py --data-root BCCD --weights VGG16_NOTOP.h5

Trained on `train`, judged on `val`; `test` is not touched. First every setting at 400 steps and one
seed, then the best three, and what they are compared with, at 800 steps and two seeds. What only
changes how a trained network detects is exported from the run of the tuned rate and judged, without
training again. Each run is a line of `results/screening.csv`, written when the run is done. A line
that is there is not run again, a run that was stopped goes on, and none begins once the lines add
up to `--hours` of machine time, which is processor time by the number of cores. The table in
`results/screening.md` is made anew after each.

Ignoring background inside of crowds and difficult boxes is not among them: BCCD has neither.
"""

import csv
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from provenance import ROOT, commit, processor

FIGURES = ("coco_ap", "coco_ap50", "coco_ap75")
COLUMNS = ("setting", "steps", "seed", *FIGURES, "hours", "commit", "processor", "options")
BASE = "tuned"
SCREENING, FINAL = (400, (0,)), (800, (0, 1))  # steps, seeds
NUM_BEST = 3
ANCHORS = ("--model.anchor-sizes", "32", "64", "128", "256")
# What these lines led to, soft-NMS, is the default now.
NMS = ("--model.soft-nms-sigma", "0")
RATE = ("--train.learning-rate", "0.002", "--train.clip-norm", "10", *ANCHORS, *NMS)
GIOU = ("--train.box-loss", "giou")
SCALES = ("--data.scale-jitter", "0.75", "1.25")
RARE = ("--data.repeat-rare", "1.0")
COSINE = ("--train.schedule", "cosine")
SOFT_NMS = ("--soft-nms-sigma", "0.5", "--score-threshold", "0.01")
TRAINED: dict[str, tuple[str, ...]] = {
    BASE: RATE,
    "default": (),
    "rate 0.001": (*ANCHORS, *NMS),
    "cosine, average of weights": (*RATE, *COSINE, "--train.ema-momentum", "0.99"),
    "several scales": (*RATE, *SCALES),
    "GIoU": (*RATE, *GIOU),
    "rare classes": (*RATE, *RARE),
    "antialiased": (*RATE, "--data.antialias"),
    "rate 0.004": ("--train.learning-rate", "0.004", "--train.clip-norm", "10", *ANCHORS, *NMS),
    "colours": (*RATE, "--data.photometric-jitter", "0.5"),
    "RoIAlign": (*RATE, "--model.roi-op", "roi_align"),
}
"""What the options of a training are beside those that all have."""
TOGETHER: dict[str, tuple[str, ...]] = {
    "GIoU, several scales": (*RATE, *GIOU, *SCALES),
    "GIoU, several scales, rare classes": (*RATE, *GIOU, *SCALES, *RARE),
}
"""The same, of what was found best alone: for the finals."""
EXPORTED: dict[str, tuple[str, ...]] = {
    "1000 proposals": ("--num-rois", "1000"),
    "detections from 0.01": ("--score-threshold", "0.01"),
    "soft-NMS": SOFT_NMS[:2],
    "soft-NMS from 0.01": SOFT_NMS,
    "flip at test": ("--flip-at-test", "True"),
    "soft-NMS from 0.01, flip": (*SOFT_NMS, "--flip-at-test", "True"),
}
"""Options with which the run of `BASE` is exported."""
OPTIONS = TRAINED | TOGETHER | EXPORTED
SETTINGS = (BASE, *EXPORTED, *(name for name in TRAINED if name != BASE))


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    data_root: str
    """Folder of BCCD: ImageSets, Annotations, JPEGImages."""
    weights: str
    """keras.applications' VGG16 without its top."""
    settings: tuple[str, ...] = SETTINGS
    """Which of the settings to try."""
    finals: tuple[str, ...] = ()
    """Which to train longer; without any, the best three and what they are compared with."""
    precision: str = "float32"
    """What the runs of these lines compute in: `--train.precision`."""
    hours: float = 10.0
    """Machine time of all lines together, after which no run begins."""
    runs: Path = Path("runs")
    """Folder of the runs."""
    results: Path = ROOT / "results" / "screening.csv"
    """File of the lines; the table goes beside it."""


def machine_hours() -> float:
    """Sum up the processor time of all commands so far, as hours of all cores together."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) / (os.cpu_count() or 1) / 3600


def train(arguments: Arguments, setting: str, steps: int, seed: int) -> Path:
    """Train, or go on with it -> the folder of the run."""
    folder = arguments.runs / _name(setting, steps, seed)
    options = [
        *("finetune", "--data.root", arguments.data_root, "--train.start-from", arguments.weights),
        *("--data.train-split", "train", "--data.val-split", "none", "--data.test-split", "val"),
        *("--train.steps", str(steps), "--train.decay-steps", str(steps * 3 // 4)),
        *("--data.short-side", "400", "--train.seed", str(seed), "--train.checkpoint-every", "100"),
        *options_of(arguments, setting),
    ]
    _type("train.py", *options, "--output", folder, "--export-dir", f"saved_models/{folder.name}")
    return folder


def run(arguments: Arguments, setting: str, steps: int, seed: int) -> dict[str, Any]:
    """Train, or export what was trained, and judge -> a line."""
    began = machine_hours()  # where a run was stopped and goes on, what was before is not counted
    if setting not in EXPORTED:
        folder = train(arguments, setting, steps, seed)
    else:
        trained = train(arguments, BASE, steps, seed)  # a finished run says so and costs nothing
        folder = arguments.runs / _name(setting, steps, seed)
        model = Path("saved_models", folder.name)
        export = ("-m", "tf_frcnn", "export", trained, "--output", model, *EXPORTED[setting])
        subprocess.run([sys.executable, *map(str, export)], check=True)
        _type("evaluate.py", model, "--output", folder, "--overwrite")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {
        "setting": setting,
        "steps": steps,
        "seed": seed,
        **{figure: round(metrics[figure], 5) for figure in FIGURES},
        "hours": round(machine_hours() - began, 3),
        "commit": commit(),
        "processor": processor(),
        "options": " ".join(options_of(arguments, setting)),
    }


def options_of(arguments: Arguments, setting: str) -> tuple[str, ...]:
    """Say what the setting's runs are trained or exported with, beside what all have."""
    if setting in EXPORTED or arguments.precision == "float32":
        return OPTIONS[setting]
    return (*OPTIONS[setting], "--train.precision", arguments.precision)


def _name(setting: str, steps: int, seed: int) -> str:
    return f"screening-{setting.replace(',', '').replace(' ', '-')}-{steps}-{seed}"


def _type(program: str, *arguments: str | Path) -> None:
    subprocess.run([sys.executable, str(ROOT / program), *map(str, arguments)], check=True)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of earlier runs."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        row |= {name: int(row[name]) for name in ("steps", "seed")}
        row |= {name: float(row[name]) for name in (*FIGURES, "hours")}
    return rows


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write all lines, and the table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    path.with_suffix(".md").write_text(as_markdown(rows), encoding="utf-8")


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Write means by setting and number of steps, the best first."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["steps"], row["setting"]), []).append(row)
    order = sorted(groups, key=lambda key: (-key[0], -np.mean([r["coco_ap"] for r in groups[key]])))
    lines = [
        "# BCCD: what helps, on the validation split",
        "",
        "VGG16 at a short side of 400, one image a step, trained on `train`, judged on `val`: "
        "`python benchmarks/screening.py`. A line a run, with commit and machine, is in "
        f"[screening.csv](screening.csv); {sum(row['hours'] for row in rows):.1f} machine hours, "
        "processor time by cores (up to commit 14522dc by the clock, beside other work). Settings "
        "without `--train` and `--data` are exported from the run `tuned` of their steps and seed.",
        "",
        "| setting | steps | seeds | AP | AP50 | AP75 | seeds apart | options |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for steps, setting in order:
        group = groups[steps, setting]
        means = " | ".join(f"{np.mean([row[name] for row in group]):.3f}" for name in FIGURES)
        values = [row["coco_ap"] for row in group]
        seeds = ", ".join(str(row["seed"]) for row in group)
        apart = f"{max(values) - min(values):.3f}" if len(values) > 1 else ""
        options_of = f"`{group[0]['options']}`" if group[0]["options"] else ""
        lines.append(f"| {setting} | {steps} | {seeds} | {means} | {apart} | {options_of} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what is not there yet, and write the results after each run."""
    arguments = tyro.cli(Arguments, description=__doc__)
    if unknown := {*arguments.settings, *arguments.finals} - set(OPTIONS):
        sys.exit(f"error: {', '.join(unknown)}: expected some of {', '.join(OPTIONS)}.")

    def run_all(settings: tuple[str, ...], steps: int, seeds: tuple[int, ...]) -> bool:
        for seed in seeds:
            for setting in settings:
                rows = read_lines(arguments.results)
                wanted = (setting, steps, seed)
                if any((row["setting"], row["steps"], row["seed"]) == wanted for row in rows):
                    continue
                if sum(row["hours"] for row in rows) >= arguments.hours:
                    print(f"--hours {arguments.hours:g} are used up.")
                    return False
                rows.append(run(arguments, *wanted))
                write_lines(arguments.results, rows)
        return True

    if run_all(arguments.settings, *SCREENING):
        screened = [row for row in read_lines(arguments.results) if row["steps"] == SCREENING[0]]
        screened.sort(key=lambda row: -row["coco_ap"])
        names = [row["setting"] for row in screened if row["setting"] != BASE]
        run_all(arguments.finals or (BASE, *names[:NUM_BEST]), *FINAL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
