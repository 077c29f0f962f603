"""`tf-frcnn benchmark MODEL`: how long a model takes a picture, in all and by stage."""

import logging
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tf_frcnn.environment import describe_device, load_tensorflow, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, UserError, WeightsError
from tf_frcnn.files import prepare_file, write_json
from tf_frcnn.model_files import find_model
from tf_frcnn.picture_size import parse_size
from tf_frcnn.timing import Timing, measure

if TYPE_CHECKING:
    from tf_frcnn.model_files import ModelFiles

logger = logging.getLogger(__name__)

_SEED = 0  # of the noise that is looked at


@dataclass(frozen=True)
class BenchmarkArguments:
    """Everything `tf-frcnn benchmark` takes."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, checkpoint, SavedModel version folder, or its parent (newest version)."""
    size: str = "600x800"
    """Height and width of the pictures, as HxW; the network resizes them as it always does."""
    batch: int = 1
    """Pictures a call."""
    runs: int = 20
    """Calls that count."""
    warm_up: int = 3
    """Calls before them, which do not count; the first one arranges the graph."""
    output: Path | None = None
    """File for the figures, as JSON."""
    overwrite: bool = False
    """Move a file of that name to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: a number is out of its range.
        """
        for option, value, least in (
            ("--batch", self.batch, 1),
            ("--runs", self.runs, 1),
            ("--warm-up", self.warm_up, 0),
        ):
            if value < least:
                raise UserError(f"{option} {value}: expected {least} or more.")


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.

    Raises:
        UserError: an option cannot be used, there is no model, or no place for the figures.
    """
    arguments = tyro.cli(
        BenchmarkArguments,
        prog="tf-frcnn benchmark",
        description="Measure how long a model takes: calls from Python with pictures of noise, "
        "then each stage alone. The machine should have nothing else to do.",
        args=list(argv),
    )
    arguments.check()
    height, width = parse_size(arguments.size)
    model = find_model(arguments.model)
    if arguments.output is not None:
        prepare_file(arguments.output, arguments.overwrite)
    # Imported late: options, help and wrong inputs need not wait for TensorFlow.
    load_tensorflow()
    set_up_tensorflow(_SEED)
    shape = (arguments.batch, height, width, 3)
    images = np.random.default_rng(_SEED).integers(0, 256, shape).astype(np.uint8)
    report = {
        "model": str(model.path),
        "kind": model.kind,
        "picture_size": [height, width],
        "batch": arguments.batch,
        "device": describe_device(),
        **_measure_whole(model, images, arguments),
        "stages": _measure_stages(model, images, arguments),
    }
    _print_report(Console(), report)
    if arguments.output is not None:
        write_json(arguments.output, report)
        logger.info("written: %s", arguments.output)
    return EXIT_OK


def _measure_whole(
    model: "ModelFiles", images: np.ndarray, arguments: BenchmarkArguments
) -> dict[str, Any]:
    """Load the model as a user does and call it."""
    from tf_frcnn.detector import Detector

    start = time.perf_counter()
    detector = Detector.load(model.path)
    seconds_to_load = time.perf_counter() - start
    timing = measure(lambda: detector(images), arguments.warm_up, arguments.runs)
    return {
        "seconds_to_load": seconds_to_load,
        "latency": timing.describe(),
        "pictures_per_second": len(images) / timing.median,
        "peak_memory_bytes": _peak_memory(),
    }


def _peak_memory() -> int:
    """Get the most memory that was in use: the first GPU's, or the process's."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most  # bytes there, kibibytes elsewhere


def _measure_stages(
    model: "ModelFiles", images: np.ndarray, arguments: BenchmarkArguments
) -> dict[str, Any] | None:
    """Time the stages of the network; None where it cannot be taken apart."""
    import tensorflow as tf

    from tf_frcnn.benchmark.stages import time_stages
    from tf_frcnn.inference import load_network

    try:
        detector = load_network(model)
    except WeightsError as error:
        logger.warning("no times by stage: %s", error)
        return None
    timings: Mapping[str, Timing] = time_stages(
        detector, tf.constant(images), arguments.warm_up, arguments.runs
    )
    return {name: timing.describe() for name, timing in timings.items()}


def _print_report(console: Console, report: Mapping[str, Any]) -> None:
    height, width = report["picture_size"]
    title = f"{report['model']}: {report['batch']} x {height} x {width}, {report['device']}"
    table = Table("seconds a call", box=SIMPLE_HEAD)
    for label in ("median", "10 %", "90 %", "first"):
        table.add_column(label, justify="right")
    rows = {"whole": report["latency"], **(report["stages"] or {})}
    for name, timing in rows.items():
        numbers = (timing["median"], timing["p10"], timing["p90"], timing["first"])
        table.add_row(name, *("-" if number is None else f"{number:.4f}" for number in numbers))
        if name == "whole" and len(rows) > 1:
            table.add_section()
    console.print(title, highlight=False, markup=False)
    console.print(table)
    console.print(
        f"{report['pictures_per_second']:.2f} pictures/s; loaded in "
        f"{report['seconds_to_load']:.1f} s; peak memory {report['peak_memory_bytes'] / 2**20:.0f} "
        "MiB",
        highlight=False,
    )
