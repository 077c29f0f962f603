"""Time this project's export and torchvision's same model in turn, in one run.

The machines that this runs on are noisy, so all systems are loaded first, each in a process of its
own, and then called one after the other, round by round. What counts is the median of each and the
ratios. Weights are random: the arithmetic does not depend on them, and 300 proposals there are
always.

`--model all`, or some names, compares torchvision's own detectors: both sides have the same seeded
weights (those of `tests/fixtures/seeded.py`) and the same image of the size that enters the
network, 800 x 1088 or 320 x 426. They must find as many proposals and detections, or nothing is
written. The tables go into `results/compare_torchvision.md` as well.

`--train` compares training steps instead: first with all layers trained, then with conv1 and conv2
kept as they are; with `--model fasterrcnn_resnet50_fpn` those of ResNet-50, stem, first stage and
normalisation frozen, from the same seeded weights. Peak memory is that of each process, its
libraries included.

torch is large and not installed with this project; `--torch-python` names the Python of an
environment that has torch and torchvision.
"""

import json
import multiprocessing
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from in_turn import call_in_turn
from provenance import ROOT, commit, processor

from tf_frcnn.config import Config, DataConfig

HERE = Path(__file__).resolve().parent
CLASSES = tuple(f"class {number}" for number in range(1, 21))
REDUCED = "reduced"  # folder of the export with smaller FC layers
SIZES = {  # of images for torchvision's own detectors
    "fasterrcnn_resnet50_fpn": (800, 1088),
    "fasterrcnn_resnet50_fpn_v2": (800, 1088),
    "fasterrcnn_mobilenet_v3_large_fpn": (800, 1088),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 426),
}
TRAINED_NAME = "fasterrcnn_resnet50_fpn"  # whose training steps can be compared
PAGE = ROOT / "results" / "compare_torchvision.md"
MARKS = "<!-- detectors: written by the benchmark -->\n", "<!-- end of detectors -->\n"


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    torch_python: str = sys.executable
    """Python with torch and torchvision."""
    height: int = 600
    """Rows of an image."""
    width: int = 800
    """Columns of an image."""
    batch: int = 1
    """Images a call."""
    rounds: int = 9
    """Calls of each system that count."""
    warm_up: int = 5
    """Calls of each before them: the first of torch's take several times as long."""
    model: tuple[str, ...] = ()
    """Compare these of torchvision's own detectors, or all, instead of VGG16."""
    note: str = ""
    """What else is to be said of the tables of the detectors, such as other work on the machine."""
    train: bool = False
    """Compare training steps instead of detection."""
    head_rank: int = 0
    """Also time a frozen export with FC layers of this rank; 0 for none."""
    tflite: tuple[str, ...] = ()
    """Also time TFLite files of these forms, values of `tf-frcnn tflite --quantize`; batch 1."""
    output: Path = ROOT / "results" / "compare_torchvision.json"
    """File of the figures, by processor; a table of another image size or batch is kept."""


def write_exports(arguments: Arguments, folder: Path) -> None:
    """Export the network of the paper with random weights, in each form that is compared.

    It works on the images as large as they are. Writes `folder/FORM/1`, and the TFLite forms as
    `folder/FORM.tflite`.
    """
    from tf_frcnn.environment import load_tensorflow

    load_tensorflow()
    from tf_frcnn.export.low_rank import reduce_head
    from tf_frcnn.export.saved_model import export_saved_model
    from tf_frcnn.inference import InferenceModel
    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.tflite.conversion import Converter

    height, width = arguments.height, arguments.width
    data = DataConfig(classes=CLASSES, short_side=min(height, width), long_side=max(height, width))
    config = Config(data)
    network = FasterRCNN(config.model, len(CLASSES))
    model = InferenceModel(network, CLASSES, data.short_side, data.long_side)
    for name in ("variables", "frozen"):
        export_saved_model(model, config, folder / name, frozen=name == "frozen")
    if arguments.head_rank:
        reduced = reduce_head(model, arguments.head_rank)
        export_saved_model(reduced, config, folder / REDUCED, frozen=True)
    converter = Converter(model, (height, width))
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    for form in arguments.tflite:
        ranges = converter.find_ranges([noise]) if form == "int8" else None
        (folder / f"{form}.tflite").write_bytes(converter.convert(form, ranges))


def compare(arguments: Arguments) -> dict[str, Any]:
    """Load all systems, call them in turn -> the figures."""
    size = [str(value) for value in (arguments.height, arguments.width, arguments.batch)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_alone(write_exports, arguments, folder)
        peer = [arguments.torch_python, str(HERE / "torchvision_detector.py"), str(len(CLASSES))]
        export = [sys.executable, str(HERE / "exported_detector.py")]
        file = [sys.executable, str(HERE / "tflite_detector.py")]
        commands = {
            "torchvision": [*peer, *size, "default"],
            "torchvision, channels-last": [*peer, *size, "channels-last"],
            "variables": [*export, str(folder / "variables" / "1"), *size],
            "frozen": [*export, str(folder / "frozen" / "1"), *size],
        }
        if arguments.head_rank:
            label = f"frozen, head rank {arguments.head_rank}"
            commands[label] = [*export, str(folder / REDUCED / "1"), *size]
        for form in arguments.tflite:
            commands[f"TFLite {form}"] = [*file, str(folder / f"{form}.tflite"), *size[:2]]
        return call_in_turn(commands, arguments.rounds, arguments.warm_up)


def write_named_exports(name: str, folder: Path) -> None:
    """Export a detector with the weights in `folder`, and check that it finds as much there.

    Raises:
        SystemExit: the numbers of proposals or detections differ from torchvision's.
    """
    from tf_frcnn.environment import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    from tf_frcnn.architectures import ARCHITECTURES
    from tf_frcnn.config import ModelConfig
    from tf_frcnn.export.saved_model import export_saved_model
    from tf_frcnn.inference import InferenceModel
    from tf_frcnn.model import FasterRCNN, forward
    from tf_frcnn.pretrained.torch_file import read_state_dict
    from tf_frcnn.pretrained.torchvision import load_state_dict

    settings = ARCHITECTURES[name].settings
    model_config = ModelConfig(**{**settings["model"], "architecture": name})
    classes = tuple(f"class {number}" for number in range(1, 91))
    config = Config(DataConfig(classes=classes, **settings["data"]), model_config)
    network = FasterRCNN(model_config, len(classes))
    load_state_dict(network, read_state_dict(folder / "weights.pth"), "weights.pth")
    data = config.data
    model = InferenceModel(network, classes, data.short_side, data.long_side, data.resize_rounding)
    proposals = []

    def call(stage_name: str, inputs: Any) -> Any:
        outputs = network.run_stage(stage_name, inputs)
        if stage_name == "proposal_layer":
            proposals.append(outputs)
        return outputs

    image = tf.constant(np.load(folder / "image.npy")[None], tf.float32)
    image_sizes = tf.constant([image.shape[1:3]], tf.float32)
    found = forward(call, image, image_sizes, flip_at_test=False)
    heights = proposals[0][0, :, 2] - proposals[0][0, :, 0]
    ours = {
        "proposals": int(np.sum(heights > 0)),
        "detections": int(found["num_detections"][0]),
    }
    theirs = json.loads((folder / "counts.json").read_text())
    print(name, "torchvision:", theirs, "tf_frcnn:", ours, flush=True)
    if ours != theirs:
        raise SystemExit(f"{name}: both sides must do the same work.")
    for form in ("variables", "frozen"):
        export_saved_model(model, config, folder / form, frozen=form == "frozen")


def compare_named(arguments: Arguments, name: str) -> dict[str, Any]:
    """Compare with one of torchvision's own detectors -> the figures of the systems."""
    height, width = SIZES[name]
    size = [str(height), str(width), "1"]
    sys.path.insert(0, str(ROOT))
    from tests.fixtures.seeded import seeded_image

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "image.npy", seeded_image(0, (height, width)))
        peer = [arguments.torch_python, str(HERE / "torchvision_detector.py"), name, *size]
        subprocess.run([*peer, "write", str(folder)], check=True)
        run_alone(write_named_exports, name, folder)
        export = [sys.executable, str(HERE / "exported_detector.py")]
        image = str(folder / "image.npy")
        commands = {
            "torchvision": [*peer, "default", str(folder)],
            "torchvision, channels-last": [*peer, "channels-last", str(folder)],
            "variables": [*export, str(folder / "variables" / "1"), *size, image],
            "frozen": [*export, str(folder / "frozen" / "1"), *size, image],
        }
        systems = call_in_turn(commands, arguments.rounds, arguments.warm_up)
        return {"counts": json.loads((folder / "counts.json").read_text()), "systems": systems}


def run_alone(work: Any, *arguments: Any) -> None:
    """Run in a process of its own, so that its memory is free again."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("The exports could not be written; the reason is above.")


def detectors_page(tables: dict[str, Any]) -> str:
    """Write the tables of torchvision's own detectors as Markdown."""
    lines = ["## torchvision's own detectors", ""]
    for name, (height, width) in SIZES.items():
        title = f"{name}, 1 x {height} x {width}"
        if title not in tables:
            continue
        table = tables[title]
        counts = table["counts"]
        lines += [
            f"`{name}`, {height} x {width}: {counts['proposals']} proposals and "
            f"{counts['detections']} detections on both sides. `{table['command']}` at "
            f"`{table['commit']}`, {processor()}. {table['note']}".rstrip(),
            "",
            "| | seconds | x best | x default | first call | peak memory |",
            "|---|---|---|---|---|---|",
        ]
        for system, figures in table["systems"].items():
            ratios = table["speed_ratios"].get(system, {})
            cells = [f"{one:.2f}" for one in reversed(list(ratios.values()))] or ["", ""]
            label = {"variables": "export with variables", "frozen": "export, `--freeze`"}
            lines.append(
                f"| {label.get(system, system)} | {figures['median']:.3f} | "
                + " | ".join(cells)
                + f" | {figures['first_call']:.1f} s | {figures['peak_mib']:.0f} MiB |"
            )
        lines.append("")
    return "\n".join(lines) + "\n"


def compare_training(arguments: Arguments, layers: str) -> dict[str, Any]:
    """Time training steps in turn, `layers` being all or frozen -> the figures."""
    size = [str(value) for value in (arguments.height, arguments.width, arguments.batch)]
    sizes = [str(len(CLASSES)), *size]
    peer = [arguments.torch_python, str(HERE / "torchvision_training.py"), *sizes]
    frozen = {"frozen_layers": ["block1", "block2"]} if layers == "frozen" else {}
    ours = [sys.executable, str(HERE / "training_step.py"), *sizes, json.dumps(frozen)]
    commands = {
        "torchvision": [*peer, "default", layers],
        "torchvision, channels-last": [*peer, "channels-last", layers],
        "tf_frcnn": ours,
    }
    return call_in_turn(commands, arguments.rounds, arguments.warm_up)


def compare_named_training(arguments: Arguments) -> dict[str, Any]:
    """Time training steps of ResNet-50 with a pyramid in turn -> the figures."""
    sizes = [str(value) for value in (arguments.height, arguments.width, arguments.batch)]
    script = str(HERE / "torchvision_training.py")
    peer = [arguments.torch_python, script, TRAINED_NAME, *sizes]
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "weights.pth")
        subprocess.run([*peer, "write", "frozen", file], check=True)
        ours = [sys.executable, str(HERE / "training_step.py"), TRAINED_NAME, *sizes, "{}", file]
        commands = {
            "torchvision": [*peer, "default", "frozen"],
            "torchvision, channels-last": [*peer, "channels-last", "frozen"],
            "tf_frcnn": ours,
        }
        return call_in_turn(commands, arguments.rounds, arguments.warm_up)


def main() -> None:
    """Compare, print the ratios, and keep the figures."""
    arguments = tyro.cli(Arguments, description=__doc__)
    size = f"{arguments.batch} x {arguments.height} x {arguments.width}"
    if arguments.train and arguments.model:
        if arguments.model != (TRAINED_NAME,):
            raise SystemExit(f"--train --model: expected {TRAINED_NAME}.")
        name = f"training step, {TRAINED_NAME}, {size}"
        keep(arguments, name, compare_named_training(arguments), {"note": arguments.note})
    elif arguments.model:
        names = tuple(SIZES) if arguments.model == ("all",) else arguments.model
        if unknown := sorted(set(names) - set(SIZES)):
            raise SystemExit(f"--model {unknown[0]}: expected all, or some of {', '.join(SIZES)}.")
        command = f"python benchmarks/compare_torchvision.py --model {' '.join(arguments.model)}"
        for name in names:
            figures = compare_named(arguments, name)
            height, width = SIZES[name]
            extra = {"counts": figures["counts"], "command": command, "note": arguments.note}
            title = f"{name}, 1 x {height} x {width}"
            tables = keep(arguments, title, figures["systems"], extra)
            before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
            _, after = rest.split(MARKS[1])
            page = before + MARKS[0] + detectors_page(tables) + MARKS[1] + after
            PAGE.write_text(page, encoding="utf-8")
    elif arguments.train:
        keep(arguments, f"training step, {size}", compare_training(arguments, "all"))
        name = f"training step, conv1 and conv2 frozen, {size}"
        keep(arguments, name, compare_training(arguments, "frozen"))
    else:
        keep(arguments, size, compare(arguments))


def keep(
    arguments: Arguments,
    table: str,
    systems: dict[str, Any],
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Print the ratios of a table, and write it to the file -> all tables of this processor."""
    medians = {name: figures["median"] for name, figures in systems.items()}
    ratios = {
        name: {
            "to torchvision": medians["torchvision"] / median,
            "to torchvision, channels-last": medians["torchvision, channels-last"] / median,
        }
        for name, median in medians.items()
        if not name.startswith("torchvision")
    }
    print(table)
    for name, median in medians.items():
        print(
            f"{name:28} {median:.3f} s", {k: round(v, 2) for k, v in ratios.get(name, {}).items()}
        )
    kept = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
    kept.setdefault(processor(), {})[table] = {
        "commit": commit(),
        "rounds": arguments.rounds,
        "systems": systems,
        "speed_ratios": ratios,
        **(extra or {}),
    }
    arguments.output.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return kept[processor()]


if __name__ == "__main__":
    main()
