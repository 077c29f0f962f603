"""Time, by number of images, what a command does with all of a data set.

The quickstart's drawings, as many as the largest number; the first N of them are a split of their
own. Each step has a number of seconds for each N, and the slope of their logarithms: 1 is a cost
that grows as the images do, 2 one that grows as their square.

- `first reading`, `second reading`: annotations and images checked before training, without and
  with the cache of decoded images;
- `first batch`: the order of an epoch drawn, the pipeline built, one batch made;
- `check-data`: all that it looks at, near duplicates included;
- `figures`: every figure of metrics.json from 20 detections an image.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from provenance import ROOT, commit, processor

from tf_frcnn.config import DataConfig, ModelConfig
from tf_frcnn.data.drawings import ensure_drawings
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.loading import load_datasets
from tf_frcnn.doctor.check import check_data
from tf_frcnn.environment import load_tensorflow
from tf_frcnn.evaluation.detections import Detections
from tf_frcnn.evaluation.evaluator import compute_metrics

DETECTIONS = 20  # an image


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    counts: tuple[int, ...] = (1000, 2000, 4000, 8000)
    """Numbers of images that are compared."""
    output: Path = ROOT / "results" / "pictures.json"
    """File of the figures."""


def find_at_random(dataset: Dataset) -> list[Detections]:
    """Make detections: the boxes themselves, moved by a few pixels, and boxes anywhere."""
    random = np.random.default_rng(0)
    detections = []
    for example in dataset.examples:
        moved = example.boxes + random.normal(0, 4, (len(example.boxes), 4))
        anywhere = random.uniform(0, 1, (DETECTIONS - len(moved), 4)) * [*example.image_size * 2]
        boxes = np.concatenate([moved, anywhere])
        boxes = np.concatenate(
            [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:]) + 1],
            axis=1,
        )
        classes = random.integers(1, len(dataset.class_names) + 1, DETECTIONS)
        classes[: len(moved)] = example.classes
        scores = random.uniform(size=DETECTIONS)
        detections.append(
            Detections(
                example.image_id,
                boxes.astype(np.float32),
                scores.astype(np.float32),
                classes.astype(np.int32),
            )
        )
    return detections


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Call -> seconds and what came back."""
    began = time.perf_counter()
    answer = function(*arguments)
    return time.perf_counter() - began, answer


def measure(root: Path, split: str, cache: Path) -> dict[str, float]:
    """Time every step on one split."""
    from tf_frcnn.data.pipeline import BatchPipeline

    config = DataConfig(root=str(root), train_split=split, val_split="none", test_split="none")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    first, datasets = timed(load_datasets, config, 0)
    second, _ = timed(load_datasets, config, 0)
    dataset = datasets["train"]
    first_batch, _ = timed(lambda: next(iter(BatchPipeline(dataset, config, stop=1))))
    checked, _ = timed(check_data, config, ModelConfig(), 0)
    figures, _ = timed(compute_metrics, dataset, find_at_random(dataset))
    return {
        "first reading": first,
        "second reading": second,
        "first batch": first_batch,
        "check-data": checked,
        "figures": figures,
    }


def main() -> None:
    """Draw, measure, and write the figures."""
    arguments = tyro.cli(Arguments, description=__doc__)
    load_tensorflow()
    seconds: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "drawings"
        ensure_drawings(root, 0, {"train": max(arguments.counts)})
        lists = root / "ImageSets" / "Main"
        names = (lists / "train.txt").read_text(encoding="utf-8").split()
        # The first one builds what the others find built.
        for count in (min(arguments.counts), *arguments.counts):
            (lists / f"first_{count}.txt").write_text("\n".join(names[:count]) + "\n")
            with tempfile.TemporaryDirectory() as cache:
                seconds[count] = measure(root, f"first_{count}", Path(cache))
    logarithms = np.log(list(seconds))
    slopes = {
        step: float(np.polyfit(logarithms, np.log([row[step] for row in seconds.values()]), 1)[0])
        for step in next(iter(seconds.values()))
    }
    results = {
        "command": "python benchmarks/images.py",
        "commit": commit(),
        "processor": processor(),
        "seconds": seconds,
        "slopes": slopes,
    }
    arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"seconds": seconds, "slopes": slopes}, indent=1))


if __name__ == "__main__":
    main()
