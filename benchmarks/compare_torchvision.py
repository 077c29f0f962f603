"""Time this project's export and torchvision's same model in turn, in one run.

The machines that this runs on are noisy, so all systems are loaded first, each in a process of its
own, and then called one after the other, round by round. What counts is the median of each and the
ratios. Weights are random: the arithmetic does not depend on them, and 300 proposals there are
always.

`--train` compares training steps instead: first with all layers trained, then with conv1 and conv2
kept as they are. Peak memory is that of each process, its libraries included.

torch is large and not installed with this project; `--torch-python` names the Python of an
environment that has torch and torchvision.
"""

import json
import multiprocessing
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
    warm_up: int = 3
    """Calls of each before them."""
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
        # In a process of its own, so that its memory is free again.
        writer = multiprocessing.get_context("spawn").Process(
            target=write_exports, args=(arguments, folder)
        )
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("The exports could not be written; the reason is above.")
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


def main() -> None:
    """Compare, print the ratios, and keep the figures."""
    arguments = tyro.cli(Arguments, description=__doc__)
    size = f"{arguments.batch} x {arguments.height} x {arguments.width}"
    if arguments.train:
        keep(arguments, f"training step, {size}", compare_training(arguments, "all"))
        name = f"training step, conv1 and conv2 frozen, {size}"
        keep(arguments, name, compare_training(arguments, "frozen"))
    else:
        keep(arguments, size, compare(arguments))


def keep(arguments: Arguments, table: str, systems: dict[str, Any]) -> None:
    """Print the ratios of a table, and write it to the file beside the others."""
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
    }
    arguments.output.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
