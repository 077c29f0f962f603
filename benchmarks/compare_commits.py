"""Show that two commits compute the same on this machine: detections to the bit, training nearly.

    python benchmarks/compare_commits.py OLD [NEW]

checks both commits out beside each other (NEW is the working tree when it is not given), runs
`tests/golden/probes.py` with the code of each, one after the other, and compares: detections of
both networks with each RoI operator, losses, and what three updates do to the weights. Exit status
1 where detections differ at all, or training by more than `TRAINING_TOLERANCE`.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PROBES = ROOT / "tests" / "golden" / "probes.py"
TRAINING_TOLERANCE = 1e-6
"""Of the sum of a step's losses, and of the lengths of the changes of weights: sums may be
computed in another order."""


def main() -> int:
    """Compare, print a line an array, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new", nargs="?")
    arguments = parser.parse_args()
    with checked_out(arguments.old) as folder:
        old = run_probes(folder)
    if arguments.new is None:
        new = run_probes(ROOT)
    else:
        with checked_out(arguments.new) as folder:
            new = run_probes(folder)
    return 0 if report(old, new) else 1


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Check a commit out into a folder of its own while the block runs."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(folder), commit], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def run_probes(tree: Path) -> dict[str, np.ndarray]:
    """Run the probes of this tree with the package of another one."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.npz"
        code = (
            "import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv[1:] = sys.argv[3:]; "
            f"runpy.run_path({str(PROBES)!r}, run_name='__main__')"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(tree), "--", str(answers)], cwd=tree, check=True
        )
        with np.load(answers) as file:
            return dict(file)


def report(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> bool:
    """Print how far each array is off -> whether all are near enough."""
    passed = set(old) == set(new)
    for name in sorted(set(old) ^ set(new)):
        print(f"{name}: in one of them only")
    for name in sorted(set(old) & set(new)):
        if name.endswith("_names"):
            difference, tolerance = float((old[name] != new[name]).any()), 0.0
        elif name.endswith("/changes"):
            lengths = old[name][:, :1] * [[1.0, math.sqrt(2**16), 1.0]]
            excess = np.abs(new[name] - old[name]) - old[name.replace("/changes", "/rounding")]
            difference = max(0.0, float((excess / (lengths + 1e-12)).max()))
            tolerance = TRAINING_TOLERANCE
        elif name.endswith("/losses"):
            total = old[name].sum(axis=1, keepdims=True)
            difference = float((np.abs(new[name] - old[name]) / total).max())
            tolerance = TRAINING_TOLERANCE
        else:
            difference = 0.0 if np.array_equal(old[name], new[name]) else 1.0
            tolerance = 0.0
        is_near = difference <= tolerance
        passed &= is_near
        verdict = "same" if is_near else "DIFFERS"
        print(f"{name}: {verdict}" + (f" ({difference:.1e})" if tolerance else ""))
    return passed


if __name__ == "__main__":
    sys.exit(main())
