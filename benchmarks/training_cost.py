"""Time training steps by batch size, and with options that change the arithmetic.

VGG16, 20 classes, all layers trained, random weights. The systems of a table are processes of
their own and called in turn. A cost that is linear in the batch size is `fixed + images * each`;
both are fitted to the medians (the update of 137 million weights is in `fixed`), and what the fit
leaves over says how straight the line is.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from in_turn import call_in_turn
from provenance import ROOT, commit, processor

STEP = Path(__file__).resolve().parent / "training_step.py"
NUM_CLASSES = 20
OPTIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "mixed_bfloat16": {"precision": "mixed_bfloat16"},
    "XLA": {"jit_compile": True},
}


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    height: int = 600
    """Rows of an image."""
    width: int = 800
    """Columns of an image."""
    batches: tuple[int, ...] = (1, 2, 3)
    """Batch sizes that are compared."""
    rounds: int = 5
    """Calls of each system that count."""
    warm_up: int = 2
    """Calls of each before them."""
    output: Path = ROOT / "results" / "training_cost.json"
    """File of the figures."""


def main() -> None:
    """Measure both tables, and write them."""
    arguments = tyro.cli(Arguments, description=__doc__)

    def command(batch: int, options: dict[str, Any]) -> list[str]:
        sizes = (NUM_CLASSES, arguments.height, arguments.width, batch)
        changed = json.dumps({"frozen_layers": [], **options})
        return [sys.executable, str(STEP), *map(str, sizes), changed]

    rounds, warm_up = arguments.rounds, arguments.warm_up
    commands = {f"batch {size}": command(size, {}) for size in arguments.batches}
    by_batch = call_in_turn(commands, rounds, warm_up)
    medians = [by_batch[name]["median"] for name in commands]
    each, fixed = np.polyfit(arguments.batches, medians, 1)
    left_over = np.abs(np.polyval((each, fixed), arguments.batches) - medians).max()
    commands = {name: command(1, options) for name, options in OPTIONS.items()}
    results = {
        "command": "python benchmarks/training_cost.py",
        "commit": commit(),
        "processor": processor(),
        "picture_size": [arguments.height, arguments.width],
        "rounds": rounds,
        "by_batch": by_batch,
        "line": {"fixed": fixed, "each": each, "largest_deviation": left_over},
        "by_option": call_in_turn(commands, rounds, warm_up),
    }
    arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results["line"]))


if __name__ == "__main__":
    main()
