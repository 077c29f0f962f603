"""Compare every stage of torchvision's detectors with the same network here, at full size.

    python benchmarks/torchvision_parity.py --torch-python PYTHON

PYTHON has torch and torchvision, which are large and not installed with this project; it runs
`tests/fixtures/torchvision_stages.py`, which draws weights from their keys, saves them as torch
does, and answers what each stage makes of images of odd sizes. Here the file is read without torch,
and the stages are compared: the largest difference, as a share of the largest number. From RoI
features on, both are given torchvision's proposals, for among a thousand random ones some are as
good as equal; whole detections are those of each one's own.

Writes `results/parity.json` and `results/parity.md`; exit status 1 where something is not equal.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from provenance import ROOT, commit, processor

sys.path.insert(0, str(ROOT))  # for what the tests share with this

SCRIPT = ROOT / "tests" / "fixtures" / "torchvision_stages.py"
# torchvision publishes the first with an epsilon of 0; anybody else's training has 1e-5.
CASES = (
    ("fasterrcnn_resnet50_fpn", 0.0),
    ("fasterrcnn_resnet50_fpn", 1e-5),
    ("fasterrcnn_resnet50_fpn_v2", 1e-5),
    ("fasterrcnn_mobilenet_v3_large_fpn", 1e-5),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", 1e-5),
)
LIMIT = 1e-4
SCORE_LIMIT, BOX_LIMIT = 1e-4, 0.05
STAGES = (
    *("network_input", "trunk", "maps", "objectness", "anchor_deltas", "anchors", "proposals"),
    *("roi_features", "class_logits", "box_deltas", "detections"),
)


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    torch_python: str
    """Python with torch and torchvision."""
    names: tuple[str, ...] = ()
    """Detectors; all when not given."""
    output: Path = ROOT / "results" / "parity"
    """Files of the figures, without .json and .md."""


def compare(name: str, epsilon: float, folder: Path) -> dict[str, dict[str, Any]]:
    """Compare with what torchvision left in a folder -> batch -> stage -> figure."""
    from tests.fixtures.seeded import NUM_COLUMNS, SIZES, all_images
    from tests.pretrained.stages import prepare_images, run_stages
    from tf_frcnn.architectures import ARCHITECTURES
    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.pretrained.torch_file import read_state_dict
    from tf_frcnn.pretrained.torchvision import load_state_dict

    network = FasterRCNN.from_preset(name, NUM_COLUMNS - 1)
    load_state_dict(network, read_state_dict(folder / "weights.pth"), "weights.pth", epsilon)
    data = ARCHITECTURES[name].settings["data"]
    sides = data["short_side"], data["long_side"]
    rows = {}
    for batch, images in all_images(SIZES).items():
        with np.load(folder / f"{batch}.npz") as file:
            theirs = dict(file)
        proposals = [theirs[f"proposals{number}"] for number in range(len(images))]
        ours = run_stages(network, images, *sides, proposals)
        row: dict[str, Any] = {"size": list(theirs["network_input"].shape[:3])}
        for stage in (one for one in STAGES if one not in ("proposals", "detections")):
            keys = [key for key in theirs if re.fullmatch(rf"{stage}\d*", key)]
            row[stage] = max(_difference(ours[key], theirs[key]) for key in keys)
        found = network(prepare_images(images, *sides))
        row["proposals"] = [
            _unmatched({"boxes": ours[f"proposals{i}"]}, {"boxes": theirs[f"proposals{i}"]})
            for i in range(len(images))
        ]
        row["detections"] = [
            _unmatched(
                _detections(found, i, image.shape, ours["image_sizes"][i]),
                {key: theirs[f"{key}{i}"] for key in ("boxes", "scores", "labels")},
            )
            for i, image in enumerate(images)
        ]
        rows[batch] = row
        print(name, epsilon, batch, json.dumps(row), flush=True)
    return rows


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _detections(
    found: Mapping[str, Any], number: int, shape: Sequence[int], size: np.ndarray
) -> dict[str, np.ndarray]:
    """Give the detections of an image as torchvision does: xyxy, in its own pixels."""
    count = int(found["num_detections"][number])
    scale = np.tile(np.array(shape[:2]) / size, 2)
    boxes = np.asarray(found["detection_boxes"][number, :count]) * scale
    return {
        "boxes": boxes[:, [1, 0, 3, 2]],
        "scores": np.asarray(found["detection_scores"][number, :count]),
        "labels": np.asarray(found["detection_classes"][number, :count]),
    }


def _unmatched(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
) -> dict[str, int | float]:
    """Count those of either side that the other lacks, and how far the pairs are apart at most."""
    left = set(range(len(ours["boxes"])))
    missing, distance = 0, 0.0
    for row, box in enumerate(theirs["boxes"]):
        fits = [
            one
            for one in left
            if ("labels" not in theirs or ours["labels"][one] == theirs["labels"][row])
            and ("scores" not in theirs or _near(ours, theirs, one, row))
            and np.abs(ours["boxes"][one] - box).max() < BOX_LIMIT
        ]
        if not fits:
            missing += 1
            continue
        best = min(fits, key=lambda one: np.abs(ours["boxes"][one] - box).max())
        distance = max(distance, float(np.abs(ours["boxes"][best] - box).max()))
        left.remove(best)
    return {
        "theirs": len(theirs["boxes"]),
        "missing": missing,
        "beyond": len(left),
        "px": round(distance, 5),
    }


def _near(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], one: int, row: int
) -> bool:
    return bool(abs(ours["scores"][one] - theirs["scores"][row]) < SCORE_LIMIT)


def table(figures: Mapping[str, Any]) -> str:
    """Write the figures as Markdown."""
    lines = [
        "# Parity with torchvision's detectors, stage by stage",
        "",
        "`python benchmarks/torchvision_parity.py --torch-python PYTHON`; weights and statistics "
        "of normalisation drawn from their keys, 91 columns, the ten unused ones silenced; default "
        "settings of the detectors. Images of 480 x 640, 640 x 427, 161 x 193 (799 rows), "
        "300 x 1500, 20 x 31, 1 x 40, and a batch of two sizes. Of a stage: the largest difference "
        "of any image, as a share of the largest number. Of proposals and detections: those that "
        f"the other side lacks (boxes within {BOX_LIMIT} px, scores within {SCORE_LIMIT:g}), of "
        "all.",
        "",
        f"Commit {figures['commit']}; {figures['processor']}; {figures['versions']}.",
        "",
        "| detector | epsilon | " + " | ".join(STAGES) + " |",
        "|---" * (len(STAGES) + 2) + "|",
    ]
    for case, rows in figures["cases"].items():
        name, epsilon = case.split("@")
        cells = []
        for stage in STAGES:
            values = [row[stage] for row in rows.values()]
            if stage in ("proposals", "detections"):
                pairs = [one for value in values for one in value]
                lacking = sum(one["missing"] + one["beyond"] for one in pairs)
                cells.append(f"{lacking} of {sum(one['theirs'] for one in pairs)}")
            else:
                cells.append(f"{max(values):.0e}")
        lines.append(f"| `{name}` | {epsilon} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Compare, and write the tables."""
    arguments = tyro.cli(Arguments, description=__doc__)
    from tf_frcnn.environment import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    path = arguments.output.with_suffix(".json")
    versions = subprocess.run(
        [
            arguments.torch_python,
            "-c",
            "import torch, torchvision as vision\n"
            "print('torch', torch.__version__, 'and torchvision', vision.__version__)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    cases: dict[str, Any] = {}
    for name, epsilon in CASES:
        if arguments.names and name not in arguments.names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [arguments.torch_python, SCRIPT, name, folder, "--eps", str(epsilon)], check=True
            )
            cases[f"{name}@{epsilon:g}"] = compare(name, epsilon, Path(folder))
    figures = {
        "commit": commit(),
        "processor": processor(),
        "versions": f"TensorFlow {tf.__version__}, {versions}",
        "cases": cases,
    }
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table(figures), encoding="utf-8")
    errors = [
        row[stage]
        for rows in cases.values()
        for row in rows.values()
        for stage in STAGES
        if stage not in ("proposals", "detections")
    ]
    return int(max(errors) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
