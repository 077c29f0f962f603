"""Compare every stage of torchvision's detectors with the same network here, at full size.

    python benchmarks/torchvision_parity.py --torch-python PYTHON

PYTHON has torch and torchvision, which are large and not installed with this project; it runs
`tests/fixtures/torchvision_stages.py`, which draws weights from their keys, saves them as torch
does, and answers what each stage makes of images of odd sizes. Here the file is read without torch,
and the stages are compared: the largest difference, as a share of the largest number. From RoI
features on, both are given torchvision's proposals, for among a thousand random ones some are as
good as equal; whole detections are those of each one's own. What only decides, the choice of
proposals and that of detections, is also given torchvision's own numbers (`_from_theirs`): none may
differ there, and what differs otherwise comes from rounding before it.

`--part steps` compares losses, gradients and three training steps (`torchvision_steps.py`), the
box head given torchvision's proposals; `--part trained` detectors that torchvision trained:
`FOLDER/NAME.pth`, by COCO's AP on the test images of `--data-root` and by what is found; beside
torchvision as it is, and with anchors of equal logits in their order, which `topk` leaves open.

Writes `results/parity.json`, where figures of other parts and detectors stay, and the tables in
`results/parity.md`, whose other text stays. Exit status 1 where something is not equal; of trained
detectors, with equal logits in their order.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from provenance import ROOT, commit, processor

sys.path.insert(0, str(ROOT))  # for what the tests share with this

FIXTURES = ROOT / "tests" / "fixtures"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
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
LACKING_LIMIT = 0.01  # of proposals and of detections: near ties of random heads
CHOSEN = ("proposals", "detections")
FROM_THEIRS = "_from_theirs"  # chosen by our layers among torchvision's own numbers: none lacks
STEP_LIMIT = 1e-3
AP_LIMIT = 1e-3
FOUND_SCORE = 0.3
STAGES = (
    *("network_input", "trunk", "maps", "objectness", "anchor_deltas", "anchors"),
    *("proposals", "proposals" + FROM_THEIRS, "roi_features", "class_logits", "box_deltas"),
    *("detections", "detections" + FROM_THEIRS),
)


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    torch_python: str
    """Python with torch and torchvision."""
    names: tuple[str, ...] = ()
    """Detectors; all when not given."""
    part: Literal["stages", "steps", "trained"] = "stages"
    """What to compare."""
    trained: Path | None = None
    """Folder of NAME.pth, for `trained`."""
    data_root: Path | None = None
    """Folder in Pascal VOC's layout, for `trained`."""
    short_side: int = 192
    """At which the images enter the network, for `trained`; the longer side at most twice that."""
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
        for stage in (one for one in STAGES if not one.startswith(CHOSEN)):
            keys = [key for key in theirs if re.fullmatch(rf"{stage}\d*", key)]
            row[stage] = max(_difference(ours[key], theirs[key]) for key in keys)
        own = [{"boxes": ours[f"proposals{i}"]} for i in range(len(images))]
        found = network(prepare_images(images, *sides))
        chosen, found_in_theirs = choose_from_theirs(network, theirs, ours["image_sizes"])
        pairs = {"": (own, found), FROM_THEIRS: (chosen, found_in_theirs)}
        for suffix, (boxes, detections) in pairs.items():
            row["proposals" + suffix] = [
                _unmatched(boxes[i], {"boxes": theirs[f"proposals{i}"]}) for i in range(len(images))
            ]
            row["detections" + suffix] = [
                _unmatched(
                    _detections(detections, i, image.shape, ours["image_sizes"][i]),
                    {key: theirs[f"{key}{i}"] for key in ("boxes", "scores", "labels")},
                )
                for i, image in enumerate(images)
            ]
        rows[batch] = row
        print(name, epsilon, batch, json.dumps(row), flush=True)
    return rows


def choose_from_theirs(
    network: Any, theirs: Mapping[str, np.ndarray], sizes: np.ndarray
) -> tuple[list[dict[str, np.ndarray]], dict[str, Any]]:
    """Choose proposals, then detections, from torchvision's own logits and offsets.

    Args:
        network: the detector here, of which only the layers that choose are used.
        theirs: what torchvision left.
        sizes: [B, 2] float32, of the images in the network.

    Returns:
        proposals of each image, xyxy; detections in the network's form.
    """
    import tensorflow as tf

    from tests.pretrained.stages import XYXY, stack_padded

    levels = sum(key.startswith("objectness") for key in theirs)
    batch = len(sizes)
    objectness = [theirs[f"objectness{i}"].reshape(batch, -1) for i in range(levels)]
    deltas = [theirs[f"anchor_deltas{i}"].reshape(batch, -1, 4)[..., XYXY] for i in range(levels)]
    split = np.cumsum([one.shape[1] for one in objectness])[:-1]
    anchors = np.split(theirs["anchors"][:, XYXY], split)
    boxes = network.proposal_layer((objectness, deltas, anchors, tf.constant(sizes))).numpy()
    are_boxes = (boxes[..., 2:] > boxes[..., :2]).all(axis=2)
    chosen = [{"boxes": one[is_box][:, XYXY]} for one, is_box in zip(boxes, are_boxes, strict=True)]
    proposals = [theirs[f"proposals{i}"][:, XYXY] for i in range(batch)]
    ends = np.cumsum([len(one) for one in proposals])[:-1]
    offsets = theirs["box_deltas"].reshape(len(theirs["box_deltas"]), -1, 4)[..., XYXY]
    logits, box_deltas = (
        stack_padded(np.split(rows, ends)) for rows in (theirs["class_logits"], offsets)
    )
    inputs = (logits, box_deltas, stack_padded(proposals), tf.constant(sizes))
    return chosen, network.detection_layer(inputs)


def compare_steps(name: str, folder: Path) -> dict[str, Any]:
    """Compare losses, gradients and three steps with what torchvision left in a folder."""
    from tests.fixtures.seeded import NUM_COLUMNS, STEPS, named_layers
    from tests.pretrained.steps import run_steps
    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.pretrained.torch_file import read_state_dict
    from tf_frcnn.pretrained.torchvision import load_state_dict

    network = FasterRCNN.from_preset(name, NUM_COLUMNS - 1)
    load_state_dict(network, read_state_dict(folder / "weights.pth"), "weights.pth")
    with np.load(folder / "steps.npz") as file:
        theirs = dict(file)
    ours = run_steps(network, STEPS, theirs)
    errors = np.abs(ours["losses"] / theirs["losses"] - 1)
    row: dict[str, Any] = {
        "losses": dict(zip(STEPS.loss_names.values(), errors[0].tolist(), strict=True)),
        "later_losses": float(errors[1:].max()),
    }
    for kind in ("gradient", "change"):
        keys = [key for key in ours if key.startswith(kind)]
        of_all = {key.split("/")[1]: _difference(ours[key], theirs[key]) for key in keys}
        row[kind] = {
            "named": {key: of_all[key] for key in named_layers(name)},
            "median": float(np.median(list(of_all.values()))),
            "worst": max(of_all.values()),
        }
    print(name, json.dumps(row), flush=True)
    return row


def compare_trained(name: str, arguments: Arguments, folder: Path) -> dict[str, Any]:
    """Compare a detector that torchvision trained: its COCO AP, and what it finds."""
    from tf_frcnn.config import DataConfig
    from tf_frcnn.data.drawn.animals import CLASS_NAMES
    from tf_frcnn.data.loading import load_dataset
    from tf_frcnn.detector import Detector
    from tf_frcnn.evaluation.coco import coco_figures
    from tf_frcnn.evaluation.evaluator import detect_dataset
    from tf_frcnn.evaluation.results_file import read_results
    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.pretrained.torch_file import read_state_dict
    from tf_frcnn.pretrained.torchvision import load_state_dict

    assert arguments.trained is not None and arguments.data_root is not None
    side, names = arguments.short_side, tuple(CLASS_NAMES)
    weights = arguments.trained / f"{name}.pth"
    script = ROOT / "benchmarks" / "torchvision_checkpoint.py"
    command = [script, name, weights, arguments.data_root, side, folder, *names]
    subprocess.run([arguments.torch_python, *map(str, command)], check=True)
    network = FasterRCNN.from_preset(name, len(names))
    load_state_dict(network, read_state_dict(weights), str(weights))
    detector = Detector.from_network(network, names, side, 2 * side, "floor")
    data = DataConfig(root=str(arguments.data_root), classes=names)
    dataset = load_dataset(data, "test", names, 0)
    ours = detect_dataset(dataset, detector.detect)
    row: dict[str, Any] = {"short_side": side, "images": len(ours)}
    our_figures = coco_figures(dataset, ours).overall
    for order in ("as_is", "in_order"):
        theirs = read_results(folder / f"{order}.json", dataset)
        pairs = [
            _unmatched(*(_found(one, FOUND_SCORE) for one in pair))
            for pair in zip(ours, theirs, strict=True)
        ]
        figures = [our_figures, coco_figures(dataset, theirs).overall]
        row[order] = {
            "ap": [one["coco_ap"] for one in figures],
            "ap50": [one["coco_ap50"] for one in figures],
            "found": sum(pair["theirs"] for pair in pairs),
            "lacking": sum(pair["missing"] + pair["beyond"] for pair in pairs),
            "px": max(pair["px"] for pair in pairs),
        }
    print(name, json.dumps(row), flush=True)
    return row


def _found(detections: Any, score: float) -> dict[str, np.ndarray]:
    kept = detections.scores > score
    return {
        "boxes": detections.boxes[kept],
        "scores": detections.scores[kept],
        "labels": detections.classes[kept],
    }


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
    left = np.ones(len(ours["boxes"]), bool)
    missing, distance = 0, 0.0
    for row, box in enumerate(theirs["boxes"]):
        apart = np.abs(ours["boxes"] - box).max(axis=1)
        fits = left & (apart < BOX_LIMIT)
        if "labels" in theirs:
            fits &= ours["labels"] == theirs["labels"][row]
        if "scores" in theirs:
            fits &= np.abs(ours["scores"] - theirs["scores"][row]) < SCORE_LIMIT
        if not fits.any():
            missing += 1
            continue
        best = np.where(fits, apart, np.inf).argmin()
        distance = max(distance, float(apart[best]))
        left[best] = False
    return {
        "theirs": len(theirs["boxes"]),
        "missing": missing,
        "beyond": int(left.sum()),
        "px": round(distance, 5),
    }


def faults(part: str, case: Mapping[str, Any]) -> list[str]:
    """List what is beyond the limits in the figures of a detector."""
    found = []
    if part == "stages":
        for batch, row in case["figures"].items():
            stages = [one for one in STAGES if not one.startswith(CHOSEN)]
            found += [f"{batch}: {one} {row[one]:.0e}" for one in stages if not row[one] <= LIMIT]
        for one in (stage for stage in STAGES if stage.startswith(CHOSEN)):
            lacking, all_of_them = _lacking(case["figures"], one)
            limit = 0 if one.endswith(FROM_THEIRS) else LACKING_LIMIT * all_of_them
            if lacking > limit:
                found.append(f"{lacking} of {all_of_them} {one}")
    elif part == "steps":
        row = case["figures"]
        found += [f"{key} {one:.0e}" for key, one in row["losses"].items() if not one <= LIMIT]
        for kind in ("gradient", "change"):
            named = row[kind]["named"].items()
            found += [f"{kind} of {key} {one:.0e}" for key, one in named if not one <= STEP_LIMIT]
    else:
        row = case["figures"]["in_order"]
        if abs(row["ap"][0] - row["ap"][1]) > AP_LIMIT:
            found.append(f"AP {row['ap']}")
        if row["lacking"] or not row["found"]:
            found.append(f"{row['lacking']} of {row['found']} detections")
    return found


def _lacking(rows: Mapping[str, Any], stage: str) -> tuple[int, int]:
    """Count the proposals or detections that one side lacks, and all."""
    pairs = [one for row in rows.values() for one in row[stage]]
    lacking = sum(one["missing"] + one["beyond"] for one in pairs)
    return lacking, sum(one["theirs"] for one in pairs)


def tables(figures: Mapping[str, Any]) -> str:
    """Write the figures as Markdown."""
    lines = []
    heads = {
        "stages": ("detector", "epsilon", *STAGES),
        "steps": (
            *("detector", "RPN objectness", "RPN boxes", "classes", "boxes", "losses, steps 2-3"),
            *("gradient: pyramid", "RPN", "box head", "all: median", "worst"),
            *("3 steps: pyramid", "RPN", "box head", "all: median", "worst"),
        ),
        "trained": (
            *("detector", "short side", "equal logits", "AP here", "torchvision", "AP50 here"),
            *("torchvision", f"found above {FOUND_SCORE}", "one side lacks", "px apart, at most"),
        ),
    }
    for part, head in heads.items():
        if part not in figures:
            continue
        lines += [f"## {part.capitalize()}", ""]
        lines += ["| " + " | ".join((*head, "commit")) + " |", "|---" * (len(head) + 1) + "|"]
        for case, entry in figures[part].items():
            for cells in _rows(part, case, entry["figures"]):
                lines.append("| " + " | ".join((*cells, entry["commit"])) + " |")
        lines.append("")
    return "\n".join(lines)


def _rows(part: str, case: str, figures: Mapping[str, Any]) -> list[list[str]]:
    """Write the figures of a detector as rows of a table, without the commit."""
    name, _, epsilon = case.partition("@")
    if part == "stages":
        cells = [f"`{name}`", epsilon]
        for stage in STAGES:
            if stage.startswith(CHOSEN):
                cells.append("{} of {}".format(*_lacking(figures, stage)))
            else:
                cells.append(f"{max(one[stage] for one in figures.values()):.0e}")
        return [cells]
    if part == "steps":
        numbers = [*figures["losses"].values(), figures["later_losses"]]
        for kind in ("gradient", "change"):
            of_kind = figures[kind]
            numbers += [*of_kind["named"].values(), of_kind["median"], of_kind["worst"]]
        return [[f"`{name}`", *(f"{one:.0e}" for one in numbers)]]
    rows = []
    for order, title in (("as_is", "torch's order"), ("in_order", "their order")):
        if order not in figures:  # measured before there was this
            continue
        row = figures[order]
        rows.append(
            [
                *(f"`{name}`", str(figures["short_side"]), title),
                *(f"{one:.4f}" for one in (*row["ap"], *row["ap50"])),
                *(str(row["found"]), str(row["lacking"]), f"{row['px']:.4f}"),
            ]
        )
    return rows


def write(path: Path, figures: Mapping[str, Any]) -> None:
    """Write the figures, and their tables into the text, which stays otherwise."""
    path.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    page = path.with_suffix(".md")
    text = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{tables(figures)}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Compare, and write the tables."""
    arguments = tyro.cli(Arguments, description=__doc__)
    part = arguments.part
    if part == "trained" and (arguments.trained is None or arguments.data_root is None):
        sys.exit("error: --part trained needs --trained FOLDER and --data-root DIR.")
    from tf_frcnn.environment import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

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
    path = arguments.output.with_suffix(".json")
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    all_faults = []
    cases = CASES if part == "stages" else dict.fromkeys((name for name, _ in CASES), 1e-5).items()
    for name, epsilon in cases:
        if arguments.names and name not in arguments.names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            row: dict[str, Any]
            case = f"{name}@{epsilon:g}" if part == "stages" else name
            if part == "trained":
                row = compare_trained(name, arguments, Path(folder))
            else:
                script = FIXTURES / f"torchvision_{part}.py"
                options = ["--eps", str(epsilon)] if part == "stages" else []
                command = [arguments.torch_python, str(script), name, folder, *options]
                subprocess.run(command, check=True)
                if part == "stages":
                    row = compare(name, epsilon, Path(folder))
                else:
                    row = compare_steps(name, Path(folder))
        entry = {
            "commit": commit(),
            "processor": processor(),
            "versions": f"TensorFlow {tf.__version__}, {versions}",
            "figures": row,
        }
        figures.setdefault(part, {})[case] = entry
        write(arguments.output, figures)
        all_faults += [f"{case}: {fault}" for fault in faults(part, entry)]
    print(*(f"not equal: {fault}" for fault in all_faults), sep="\n")
    return int(bool(all_faults))


if __name__ == "__main__":
    sys.exit(main())
