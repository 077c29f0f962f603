"""Train torchvision's VGG16 network on BCCD as `bccd.py` trains the one here, and judge it alike.

    python benchmarks/bccd_peer.py --torch-python PYTHON --data-root BCCD --weights VGG16_NOTOP.h5

800 steps of one image, short side 400, the same anchors, frozen blocks, schedule and ImageNet
convolutions; trained on trainval, judged on test by COCO's figures as they are computed here. Once
with the paper's rate for one image and no clipping (`paper`; torchvision's recipe, 0.02 for 16,
comes to 0.00125), once with the rate and the clipping that are used here (`ours`). A run takes
about half an hour on two cores; a row that stands in `results/bccd_peer.json` is not run again, so
rows can be run one by one.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tyro
from provenance import ROOT, commit, processor

SETTINGS: dict[str, dict[str, float]] = {
    "paper": {"learning_rate": 0.001, "clip_norm": 0.0},
    "ours": {"learning_rate": 0.002, "clip_norm": 10.0},
}
BUDGET: dict[str, Any] = {
    "steps": 800,
    "decay_step": 600,
    "warmup_steps": 50,
    "short_side": 400,
    "long_side": 1000,
    "anchor_sizes": [32, 64, 128, 256],
}
FIGURES = ("coco_ap", "coco_ap50", "coco_ap75")
CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each block of VGG16


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    torch_python: str
    """Python with torch and torchvision."""
    data_root: str
    """Folder of BCCD: ImageSets, Annotations, JPEGImages."""
    weights: Path
    """keras.applications' VGG16 without its top."""
    settings: tuple[str, ...] = tuple(SETTINGS)
    """Which of `paper` and `ours` to run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the runs."""
    results: Path = ROOT / "results" / "bccd_peer.json"
    """File of the figures; the table goes beside it."""


def vgg16_convolutions(path: Path) -> dict[str, np.ndarray]:
    """Read kernels and biases of VGG16's convolutions, in their order."""
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        names = [
            f"block{block}_conv{number}"
            for block, count in enumerate(CONVOLUTIONS, 1)
            for number in range(1, count + 1)
        ]
        for number, name in enumerate(names):
            found: list[np.ndarray] = []
            file[name].visititems(
                lambda _, item, found=found: (
                    found.append(np.asarray(item)) if isinstance(item, h5py.Dataset) else None
                )
            )
            bias, kernel = sorted(found, key=lambda array: array.ndim)
            arrays |= {f"kernel{number}": kernel, f"bias{number}": bias}
    return arrays


def run(arguments: Arguments, setting: str, seed: int) -> dict[str, Any]:
    """Train and judge once -> a row of the results."""
    from tf_frcnn.config import DataConfig
    from tf_frcnn.data.example import Dataset
    from tf_frcnn.data.loading import load_datasets
    from tf_frcnn.evaluation.coco import coco_figures
    from tf_frcnn.evaluation.results_file import read_results

    config = DataConfig(root=arguments.data_root, train_split="trainval", val_split="none")
    datasets = load_datasets(config, 0)
    test = datasets["test"]

    def listed(dataset: Dataset) -> list[dict[str, Any]]:
        rows = []
        for example in dataset.examples:
            kept = example.is_trained_on
            rows.append(
                {
                    "path": str(example.image_path),
                    "boxes": example.boxes[kept][:, [1, 0, 3, 2]].tolist(),
                    "labels": example.classes[kept].tolist(),
                }
            )
        return rows

    with tempfile.TemporaryDirectory() as folder:
        job, output = Path(folder, "job.json"), Path(folder, "output.json")
        trunk, detections = Path(folder, "trunk.npz"), Path(folder, "detections.json")
        np.savez(trunk, **vgg16_convolutions(arguments.weights))  # type: ignore[arg-type]
        values = {
            **BUDGET,
            **SETTINGS[setting],
            "seed": seed,
            "trunk": str(trunk),
            "class_names": list(test.class_names),
            "train": listed(datasets["train"]),
            "test": listed(test),
        }
        job.write_text(json.dumps(values), encoding="utf-8")
        script = ROOT / "benchmarks" / "torchvision_vgg16_training.py"
        subprocess.run([arguments.torch_python, str(script), str(job), str(output)], check=True)
        found = json.loads(output.read_text(encoding="utf-8"))
        detections.write_text(json.dumps(found["detections"]), encoding="utf-8")
        figures = coco_figures(test, read_results(detections, test)).overall
    return {
        "settings": setting,
        "seed": seed,
        **{name: figures[name] for name in FIGURES},
        "seconds_per_step": found["seconds_per_step"],
        "commit": commit(),
        "processor": processor(),
    }


def as_markdown(rows: list[dict[str, Any]], versions: str) -> str:
    """Write the tables, those of the network here beside them."""
    ours = json.loads((ROOT / "results" / "bccd.json").read_text(encoding="utf-8"))["runs"]
    lines = [
        "# BCCD blood cells: torchvision's VGG16 network on equal terms",
        "",
        "800 steps of one image, short side 400, trainval -> test, last weights: "
        "`python benchmarks/bccd_peer.py`, "
        f"{versions}; the network here from [bccd.md](bccd.md).",
        "",
        "| network | rate, clipping | seed | AP | AP50 | AP75 | seconds a step | commit, machine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    titled = {
        **{
            name: ("torchvision", f"{values['learning_rate']:g}, {values['clip_norm']:g}")
            for name, values in SETTINGS.items()
        },
        "here": ("here", "0.002, 10"),
    }
    for name, (network, terms) in titled.items():
        of_name = ours if name == "here" else [row for row in rows if row["settings"] == name]
        head = f"| {network} | {terms} "
        for row in of_name:
            cells = " | ".join(f"{row[figure]:.3f}" for figure in FIGURES)
            machine = f"{row['commit']}, {row['processor']}" if "processor" in row else "bccd.md"
            lines.append(
                f"{head}| {row['seed']} | {cells} | {row['seconds_per_step']:.2f} | {machine} |"
            )
        if of_name:
            means = [f"{np.mean([row[figure] for row in of_name]):.3f}" for figure in FIGURES]
            lines.append(f"{head}| mean of {len(of_name)} | {' | '.join(means)} | | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is not there yet, and write the results after each run."""
    arguments = tyro.cli(Arguments, description=__doc__)
    report = "import torch, torchvision; print(torch.__version__, torchvision.__version__)"
    command = [arguments.torch_python, "-c", report]
    torch, torchvision = subprocess.check_output(command, text=True).split()
    versions = f"torch {torch}, torchvision {torchvision}"
    file = arguments.results
    for setting in arguments.settings:
        for seed in arguments.seeds:
            rows = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.is_file() else []
            if any((row["settings"], row["seed"]) == (setting, seed) for row in rows):
                continue
            rows.append(run(arguments, setting, seed))
            rows.sort(key=lambda row: (list(SETTINGS).index(row["settings"]), row["seed"]))
            content = {"budget": BUDGET, "settings": SETTINGS, "versions": versions, "runs": rows}
            file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            file.with_suffix(".md").write_text(as_markdown(rows, versions), encoding="utf-8")


if __name__ == "__main__":
    main()
