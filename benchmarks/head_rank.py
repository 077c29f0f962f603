"""Measure `tf-frcnn export --head-rank`: seconds and AP for each rank of the two FC layers.

Each rank is judged on the same split by the same rules. Times are of frozen exports, called in turn
with the same image, so that a busy machine slows all of them alike; medians.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from provenance import ROOT, commit, processor

from tf_frcnn.data.image import read_image
from tf_frcnn.data.loading import load_dataset
from tf_frcnn.environment import load_tensorflow, set_up_logging
from tf_frcnn.errors import EXIT_OK, run_command
from tf_frcnn.evaluation.evaluator import compute_metrics, detect_dataset
from tf_frcnn.files import write_json
from tf_frcnn.model_files import find_model

FIGURES = ("coco_ap", "coco_ap50", "coco_ap75")


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, checkpoint, SavedModel version folder, or its parent."""
    ranks: tuple[int, ...] = (2048, 1536, 1024, 512, 256)
    """Ranks beside the whole layers."""
    split: str = "test"
    """Split of the run's data set."""
    rounds: int = 9
    """Calls of each export that count."""
    output: Path = ROOT / "results" / "head_rank.json"
    """File of the figures."""


def measure(arguments: Arguments) -> int:
    """Judge and time each rank, and write the figures -> exit status."""
    model = find_model(arguments.model)
    config = model.load_config()
    load_tensorflow()
    import tensorflow as tf

    from tf_frcnn.export.low_rank import reduce_head
    from tf_frcnn.export.signatures import make_signatures
    from tf_frcnn.inference import load_network

    data = config.data
    dataset = load_dataset(
        data, arguments.split, data.classes, config.train.seed, model.load_division()
    )
    images = tf.constant(read_image(dataset.examples[0].image_path)[None])
    whole = load_network(model)
    ranks: dict[str, dict[str, Any]] = {}
    exports: dict[str, Callable[[tf.Tensor], Any]] = {}
    for rank in (0, *arguments.ranks):
        reduced = reduce_head(whole, rank) if rank else whole
        name = str(rank) if rank else "whole"
        metrics = compute_metrics(dataset, detect_dataset(dataset, reduced))
        ranks[name] = {figure: metrics[figure] for figure in FIGURES}
        exports[name] = make_signatures(reduced, frozen=True)["serving_default"]
    seconds: dict[str, list[float]] = {name: [] for name in exports}
    for _ in range(2 + arguments.rounds):
        for name, serve in exports.items():
            start = time.perf_counter()
            serve(images)["num_detections"].numpy()
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        ranks[name]["seconds"] = statistics.median(values[2:])
    results = {
        "command": f"python benchmarks/head_rank.py MODEL --split {arguments.split}",
        "commit": commit(),
        "processor": processor(),
        "picture_size": list(images.shape[1:3]),
        "short_side": data.short_side,
        "num_pictures": len(dataset.examples),
        "ranks": ranks,
    }
    write_json(arguments.output, results)
    return EXIT_OK


def main() -> int:
    """Parse the arguments and measure."""
    arguments = tyro.cli(Arguments, description=__doc__)
    set_up_logging()
    return run_command(lambda: measure(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
