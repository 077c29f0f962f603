"""Compare the trunk of `efficientnet_lite0_fpn` with the published file's own network in torch.

    python benchmarks/lite0_parity.py WEIGHTS.pth --torch-python PYTHON

PYTHON has torch, which is not installed with this project; it runs `tests/fixtures/lite0_torch.py`
on the file and on images of odd sizes. Here the file is read without torch, through
`--train.start-from`'s own way, and each map is compared: the largest difference, as a share of the
largest number. Writes `results/lite0_parity.md`; exit status 1 where something is not equal.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from provenance import ROOT, commit, processor

sys.path.insert(0, str(ROOT))  # for what the tests share with this

SCRIPT = ROOT / "tests" / "fixtures" / "lite0_torch.py"
NAME = "efficientnet_lite0_fpn"
LIMIT = 1e-4


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    weights: tyro.conf.Positional[Path]
    """The published file: in the package of the extra [lite0]."""
    torch_python: str
    """Python with torch."""
    output: Path = ROOT / "results" / "lite0_parity.md"
    """File of the figures."""


def compare(weights: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Compare with what torch left in a folder -> batch -> stage -> figure."""
    from tests.pretrained.trunk import load_file, run_trunk
    from tf_frcnn.model import FasterRCNN

    network = FasterRCNN.from_preset(NAME, 3)
    load_file(network, NAME, weights)
    rows = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            theirs = dict(file)
        ours = run_trunk(network, theirs["network_input"])
        rows[path.stem] = {
            stage: float(np.abs(ours[stage] - theirs[stage]).max() / np.abs(theirs[stage]).max())
            for stage in ours
        }
    return rows


def table(rows: dict[str, dict[str, float]], versions: str) -> str:
    """Write the figures as Markdown."""
    stages = next(iter(rows.values()))
    lines = [
        "# The trunk of EfficientNet-Lite0 beside the published file's own network in torch",
        "",
        "`python benchmarks/lite0_parity.py WEIGHTS.pth --torch-python PYTHON`; the published "
        "ImageNet weights; seeded images of the sizes in `tests/fixtures/seeded.py`, padded to "
        "multiples of 32. The largest difference of a map, as a share of its largest number.",
        "",
        f"Commit {commit()}; {processor()}; {versions}.",
        "",
        f"| images | {' | '.join(f'after {stage}' for stage in stages)} |",
        "|---" * (len(stages) + 1) + "|",
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.0e}" for value in row.values()) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Compare, and write the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    from tf_frcnn.environment import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    version = subprocess.run(
        [arguments.torch_python, "-c", "import torch\nprint(torch.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.torch_python, str(SCRIPT), str(arguments.weights), folder]
        subprocess.run(command, check=True)
        rows = compare(arguments.weights, Path(folder))
    text = table(rows, f"TensorFlow {tf.__version__}, torch {version}")
    arguments.output.write_text(text, encoding="utf-8")
    print(text)
    return int(max(value for row in rows.values() for value in row.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
