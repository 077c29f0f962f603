"""Train on BCCD with several seeds and keep the figures, in `results`.

BCCD (blood cells, 364 images, 3 classes, Pascal VOC layout) is at
https://github.com/Shenggan/BCCD_Dataset. Trained on trainval; the last weights are judged on test,
by which nothing was chosen.

`vgg16` (`bccd.json`, `bccd.md`) has the budget that torchvision's Faster R-CNN was trained with for
comparison: 800 steps of one image, short side 400, conv1-2 frozen, from the ImageNet convolutions
of VGG16. A run takes half an hour to an hour on two cores.
`efficientnet_lite0_fpn` (`bccd_lite0.json`, `bccd_lite0.md`) is to take ten minutes, all included.

Each run's figures are written as soon as they are there; a seed that stands in the file with the
same command is not run again, so seeds can be run one by one (`--seeds 2`), and the tables say
which are there.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from provenance import ROOT, commit, processor

FIGURES = ("coco_ap", "coco_ap50", "coco_ap75")
# torchvision 0.26, same weights and budget, seeds 0 and 1: the mean of each figure.
PEER = {"coco_ap": 0.399, "coco_ap50": 0.742, "coco_ap75": 0.406}
PEER_NOTE = (
    "torchvision's figures are those of torchvision 0.26, from before commits were noted, by a "
    "script that is not kept here: VGG16, the same images and number of steps, the rate 0.001, no "
    "clipping. `benchmarks/bccd_peer.py` with `--settings paper` trains it so again."
)


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    data_root: str
    """Folder of BCCD: ImageSets, Annotations, JPEGImages."""
    weights: str
    """File of the ImageNet weights: keras.applications' VGG16 without its top, or
    EfficientNet-Lite0's."""
    architecture: Literal["vgg16", "efficientnet_lite0_fpn"] = "vgg16"
    """What is trained."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the runs."""
    runs: Path = Path("runs")
    """Folder of the runs."""
    results: Path = ROOT / "results"
    """Folder of the figures."""


STEMS = {"vgg16": "bccd", "efficientnet_lite0_fpn": "bccd_lite0"}  # of the files of results
OF_ARCHITECTURE = {
    "vgg16": [
        *("--data.short-side", "400", "--model.anchor-sizes", "32", "64", "128", "256"),
        *("--train.steps", "800", "--train.decay-steps", "600"),
        *("--train.learning-rate", "0.002", "--train.clip-norm", "10"),
        *("--train.checkpoint-every", "200"),
    ],
    "efficientnet_lite0_fpn": [
        *("--model.architecture", "efficientnet_lite0_fpn", "--train.steps", "600"),
    ],
}


def options(architecture: str, data_root: str, weights: str, seed: int | str) -> list[str]:
    """List the arguments of train.py that define the run."""
    return [
        *("finetune", "--data.root", data_root, "--train.start-from", weights),
        *("--data.train-split", "trainval", "--data.val-split", "none"),
        *OF_ARCHITECTURE[architecture],
        *("--train.seed", str(seed)),
    ]


def train(arguments: Arguments, seed: int) -> dict[str, Any]:
    """Run one seed, or go on with it, and return its row of `results/bccd.json`."""
    name = f"{STEMS[arguments.architecture]}-seed{seed}"
    run = arguments.runs / name
    command = [
        *(sys.executable, str(ROOT / "train.py")),
        *options(arguments.architecture, arguments.data_root, arguments.weights, seed),
        *("--output", str(run), "--export-dir", f"saved_models/{name}"),
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {
        "seed": seed,
        **{name: metrics[name] for name in FIGURES},
        "per_class": {
            name: {key: figures[key] for key in ("coco_ap", "coco_ap50")}
            for name, figures in metrics["per_class"].items()
        },
        "seconds_per_step": metrics["seconds_per_step"],
        "seconds_in_all": round(seconds),  # of the last command, where a run was gone on with
    }


def summarise(architecture: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the rows of all runs into the form of `results/bccd.json`."""
    return {
        "command": _command(architecture),
        "commit": ", ".join(dict.fromkeys(row["commit"] for row in rows)),
        "processor": processor(),
        "runs": sorted(rows, key=lambda row: row["seed"]),
    }


def as_markdown(summary: dict[str, Any]) -> str:
    """Write the table of the runs beside the peer's figures."""
    runs = summary["runs"]
    lines = [
        "# BCCD blood cells: test split, last weights",
        "",
        f"`{summary['command']}`",
        "",
        f"Commit {summary['commit']}; {summary['processor']}. Seeds run: "
        f"{', '.join(str(run['seed']) for run in runs)}.",
        "",
        "| seed | AP | AP50 | AP75 | AP50 by class | seconds a step | seconds in all |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        classes = ", ".join(f"{k} {v['coco_ap50']:.3f}" for k, v in run["per_class"].items())
        figures = " | ".join(f"{run[name]:.3f}" for name in FIGURES)
        seconds = f"{run['seconds_per_step']:.2f} | {run.get('seconds_in_all', '')}"
        lines.append(f"| {run['seed']} | {figures} | {classes} | {seconds} |")
    for title, means in (
        ("mean", {name: np.mean([run[name] for run in runs]) for name in FIGURES}),
        ("torchvision's VGG16, mean of seeds 0 and 1", PEER),
    ):
        lines.append(f"| {title} | " + " | ".join(f"{means[n]:.3f}" for n in FIGURES) + " | | | |")
    return "\n".join([*lines, "", PEER_NOTE]) + "\n"


def _command(architecture: str) -> str:
    file = {"vgg16": "VGG16_NOTOP.h5", "efficientnet_lite0_fpn": "LITE0.pth"}[architecture]
    return "python train.py " + " ".join(options(architecture, "BCCD", file, "SEED"))


def _rows_there(architecture: str, path: Path) -> list[dict[str, Any]]:
    """Read the rows of an earlier results file, if they are of the same command."""
    if not path.is_file():
        return []
    summary = json.loads(path.read_text(encoding="utf-8"))
    return summary["runs"] if summary["command"] == _command(architecture) else []


def main() -> None:
    """Run the seeds that are not there yet, and write the results after each."""
    arguments = tyro.cli(Arguments, description=__doc__)
    trained_commit = commit()  # of the code that is run: the tree may move on meanwhile
    architecture, stem = arguments.architecture, STEMS[arguments.architecture]
    file = arguments.results / f"{stem}.json"
    arguments.results.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        rows = _rows_there(architecture, file)
        if any(row["seed"] == seed for row in rows):
            continue
        rows.append({**train(arguments, seed), "commit": trained_commit})
        summary = summarise(architecture, rows)
        file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (arguments.results / f"{stem}.md").write_text(as_markdown(summary), encoding="utf-8")


if __name__ == "__main__":
    main()
