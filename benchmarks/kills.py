"""Kill a training again and again, and compare what it ends with: `results/kills.md`.

A small quickstart is trained in a process that gets SIGKILL at random moments: by the clock
(mostly while it starts), some steps after it went on, while it writes a checkpoint, and after the
training, while it evaluates and exports. Each time the same command is given again. At the end all
arrays of the last and the best checkpoint, the log and the detections are compared with those of
the same training, never stopped.

It takes about a quarter of an hour on two cores.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tyro
from provenance import ROOT, commit, processor

from tf_frcnn.data.drawings import ensure_drawings

STEPS, LOG_EVERY = 240, 3
SMALL_DATA = {"train": 64, "val": 8, "test": 8}
OPTIONS = (
    "quickstart",
    *("--data.short-side", "96", "--data.long-side", "128", "--data.draw-seed", "None"),
    *("--model.anchor-sizes", "16", "32", "64", "--model.dropout", "0.5"),
    *("--train.steps", str(STEPS), "--train.batch-size", "2", "--train.decay-steps", "180"),
    *(
        "--train.checkpoint-every",
        "10",
        "--train.validate-every",
        "20",
        "--train.log-every",
        str(LOG_EVERY),
    ),
    *("--train.ema-momentum", "0.9", "--train.export", "best", "--train.deterministic"),
)
# How many kills of each kind; the last come when all steps are done.
CLOCK, AFTER_STEPS, CHECKPOINT, EVALUATION, EXPORT = 4, 8, 5, 2, 1
POLL = 0.002  # seconds


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    folder: Path = Path("runs/kills")
    """Folder of the data, both runs and their logs; must be new or empty."""
    seed: int = 0
    """Seed of the moments."""
    results: Path = ROOT / "results"
    """Folder of the figures."""


@dataclass(frozen=True)
class Kill:
    """One kill: `doing` when it came; `logged_step` the last in metrics.jsonl, `went_on` from."""

    seconds: float
    doing: str
    logged_step: int
    went_on: str = ""


class Run:
    """A run in `folder`, and its process of the moment."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.command = [
            *(sys.executable, str(ROOT / "train.py"), *OPTIONS, "--data.root", str(data)),
            *("--output", str(folder / "run"), "--export-dir", str(folder / "exported")),
        ]
        self.log_file = folder / "log.txt"
        folder.mkdir(parents=True)

    def start(self) -> None:
        """Start a process; its output takes the place of the last one's."""
        with self.log_file.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        self.began, self.began_at = time.monotonic(), time.time()

    def finish(self) -> None:
        """Let a process end by itself."""
        self.start()
        if self.process.wait():
            raise SystemExit(f"exit status {self.process.returncode}:\n{self.log}")

    def kill_when(self, condition: Callable[[], bool], delay: float) -> Kill | None:
        """Start a process and kill it some time after a condition holds; None if it ended first."""
        self.start()
        while self.process.poll() is None and not condition():
            time.sleep(POLL)
        time.sleep(delay)
        self.process.send_signal(signal.SIGKILL)
        if self.process.wait() != -signal.SIGKILL:
            return None
        half = [path.name for path in self.half_written()]
        doing = f"writing {half[0].removesuffix('.partial')}" if half else self.phase()
        return Kill(time.monotonic() - self.began, doing, self.logged_step())

    @property
    def log(self) -> str:
        """What the process has said."""
        return self.log_file.read_text(encoding="utf-8")

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "run" / "checkpoints"

    def half_written(self) -> list[Path]:
        """List the files that this very process was writing; the one before may have left some."""
        paths = self.checkpoints.glob("*.partial")
        return [path for path in paths if path.stat().st_mtime >= self.began_at]

    def is_training(self) -> bool:
        """Whether the steps have begun, or are about to."""
        return bool(self.went_on())

    def went_on(self) -> str:
        """Say from where the process went on, if it has come so far."""
        for line in self.log.splitlines():
            if "going on from the checkpoint of step" in line:
                return f"step {line.rsplit(' ', 1)[1]}"
            if "start at random" in line:
                return "the beginning"
        return ""

    def phase(self) -> str:
        """Name what the process was doing, from what it had said."""
        if not self.is_training():
            return "starting: imports, checks of the data"
        if "evaluating on" not in self.log:
            return "training"
        return "exporting" if self.is_exporting() else "evaluating"

    def is_exporting(self) -> bool:
        """Whether this very process has drawn the curves, after which it exports."""
        curves = self.folder / "run" / "curves.png"
        return curves.exists() and curves.stat().st_mtime >= self.began_at

    def logged_step(self) -> int:
        """Read the last step of metrics.jsonl; 0 without one."""
        steps = [0]
        path = self.folder / "run" / "metrics.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                steps.append(json.loads(line)["step"])
            except ValueError:  # half a line: that is what a kill leaves
                continue
        return steps[-1]


def plan(moments: random.Random, run: Run) -> Iterator[tuple[Callable[[], bool], float]]:
    """Draw the moments: a condition, and the seconds after it."""
    kinds = ["clock"] * CLOCK + ["steps"] * AFTER_STEPS + ["checkpoint"] * CHECKPOINT
    moments.shuffle(kinds)
    for kind in kinds:
        if kind == "clock":
            yield (lambda: True), moments.uniform(0.5, 12.0)
        elif kind == "steps":
            yield _after_lines(run, moments.randint(1, 8)), moments.uniform(0.0, 0.5)
        else:
            yield _nth_partial(run, moments.randint(1, 2)), moments.uniform(0.0, 0.03)
    # A run that is finished can't be killed any more, and both may take less than 6 s together.
    for _ in range(EVALUATION):
        yield (lambda: "evaluating on" in run.log), moments.uniform(0.0, 1.5)
    for _ in range(EXPORT):
        yield run.is_exporting, moments.uniform(0.0, 0.3)


def _after_lines(run: Run, count: int) -> Callable[[], bool]:
    """Make a condition: the process has logged the losses so many times."""

    def are_there() -> bool:
        went_on = run.went_on()
        path = run.folder / "run" / "metrics.jsonl"
        # What was logged after the checkpoint is cut off before anything is logged.
        if not went_on or not path.is_file() or path.stat().st_mtime < run.began_at:
            return False
        start = int(went_on.removeprefix("step ")) if went_on.startswith("step ") else 0
        return run.logged_step() >= start + count * LOG_EVERY

    return are_there


def _nth_partial(run: Run, number: int) -> Callable[[], bool]:
    """Make a condition: the process writes its `number`-th file."""
    seen: set[str] = set()

    def is_there() -> bool:
        names = {path.name for path in run.half_written()}
        seen.update(names)
        return len(seen) >= number and bool(names)

    return is_there


def differences(one: Path, other: Path) -> dict[str, Any]:
    """Compare what two runs ended with -> counts, and the names of what differs."""
    arrays, differing = 0, []
    for name in (f"step-{STEPS:08d}.h5", "best.h5"):
        first, second = (_arrays(path / "run" / "checkpoints" / name) for path in (one, other))
        arrays += len(first)
        names = first.keys() | second.keys()
        differing += [f"{name}:{key}" for key in names if first.get(key) != second.get(key)]
    for name in ("metrics.jsonl", "detections.json"):
        if _text(one / "run" / name) != _text(other / "run" / name):
            differing.append(name)
    return {"arrays": arrays, "differing": sorted(differing)}


def _arrays(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name != "memory":
            found[name] = np.asarray(item).tobytes()

    with h5py.File(path, "r") as file:
        file.visititems(collect)
    return found


def _text(path: Path) -> str:
    """Read a file without the seconds that its lines may tell."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".jsonl":
        kept = [{**json.loads(line), "seconds_per_step": None} for line in lines]
        return json.dumps(kept)
    return "\n".join(lines)


def as_markdown(kills: list[Kill], compared: dict[str, Any], seconds: float, code: str) -> str:
    """Write the log of the kills and the result."""
    same = not compared["differing"]
    verdict = (
        f"**Bit-equal**: all {compared['arrays']} arrays of the last and the best checkpoint "
        "(weights, optimiser, moving averages), every line of metrics.jsonl but for its seconds, "
        "and detections.json."
        if same
        else "**Not equal**: " + ", ".join(compared["differing"])
    )
    lines = [
        f"# {len(kills)} kills in one run",
        "",
        "`python benchmarks/kills.py`; the command that was killed and given again: "
        f"`python train.py {' '.join(OPTIONS)}` on {SMALL_DATA['train']} drawn images.",
        "",
        f"Commit {code}; {processor()}; {seconds / 60:.0f} minutes, other programs running beside.",
        "",
        verdict,
        "",
        "| kill | after | what was being done | last logged step | the next process went on from |",
        "|---|---|---|---|---|",
    ]
    for number, kill in enumerate(kills, start=1):
        lines.append(
            f"| {number} | {kill.seconds:.1f} s | {kill.doing} | {kill.logged_step} | "
            f"{kill.went_on or 'killed before it went on'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train once without and once with kills, compare, and write the results."""
    arguments = tyro.cli(Arguments, description=__doc__)
    code, began = commit(), time.monotonic()
    folder = arguments.folder.absolute()
    data = folder / "data"
    ensure_drawings(data, 0, SMALL_DATA)
    whole, killed = Run(folder / "whole", data), Run(folder / "killed", data)
    kills: list[Kill] = []
    for condition, delay in plan(random.Random(arguments.seed), killed):
        kill = killed.kill_when(condition, delay)
        if kill is None:
            break
        _note_where_it_went_on(kills, killed)
        kills.append(kill)
        print(kill, flush=True)
    killed.finish()
    _note_where_it_went_on(kills, killed)
    whole.finish()
    compared = differences(whole.folder, killed.folder)
    text = as_markdown(kills, compared, time.monotonic() - began, code)
    (arguments.results / "kills.md").write_text(text, encoding="utf-8")


def _note_where_it_went_on(kills: list[Kill], run: Run) -> None:
    """Complete the last kill by what the process after it said."""
    if kills:
        last = kills.pop()
        kills.append(Kill(last.seconds, last.doing, last.logged_step, run.went_on()))


if __name__ == "__main__":
    main()
