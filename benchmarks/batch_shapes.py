"""Count the shapes of the batches of 2,000 steps, with and without what keeps them few.

    python benchmarks/batch_shapes.py

A GPU's libraries choose their convolutions for each shape when it comes first, and XLA compiles for
it, so that the number of shapes is what it costs before the steps get fast. The image sizes are
made up, in COCO's manner: the longer side is 640 pixels, four of five images are landscape, six of
ten are 4:3 or 3:2, to the pixel or nearly so, the rest anything between 2:1 and a square. No image
is decoded: sizes follow from positions alone.

Writes `results/batch_shapes.json` and prints the table that `results/batch_shapes.md` has.
"""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from provenance import ROOT, commit, processor

LONG = 640  # pixels
USUAL_SIDES = (480, 427, 426, 425, 428, 424)
USUAL_SHARES = (0.62, 0.16, 0.11, 0.06, 0.03, 0.02)
NETWORK_MULTIPLE = 32  # what the networks of several maps pad to by themselves
JITTER = {"scale_jitter": (0.8, 1.2)}
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "`--data.scale-jitter 0.8 1.2`": JITTER,
    "the same, `--data.scale-jitter-steps 5`": JITTER | {"scale_jitter_steps": 5},
    "the same, `--data.pad-to 64`": JITTER | {"scale_jitter_steps": 5, "pad_to": 64},
    "the same, `--data.pad-to 128`": JITTER | {"scale_jitter_steps": 5, "pad_to": 128},
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    steps: int = 2000
    """Steps of which the shapes are counted."""
    images: int = 5000
    """Images in the made-up data set."""
    output: Path = ROOT / "results" / "batch_shapes.json"
    """File of the figures."""


def image_sizes(count: int) -> list[tuple[int, int]]:
    """Draw (height, width) of images as COCO's are."""
    random = np.random.default_rng(0)
    sizes = []
    for _ in range(count):
        is_usual = random.random() < 0.6
        short = (
            random.choice(USUAL_SIDES, p=USUAL_SHARES) if is_usual else random.integers(320, 641)
        )
        is_landscape = random.random() < 0.8
        sizes.append((int(short), LONG) if is_landscape else (LONG, int(short)))
    return sizes


def count_shapes(sizes: list[tuple[int, int]], batch_size: int, steps: int, **options: Any) -> int:
    """Count the different sizes at which batches enter a network.

    Args:
        sizes: (height, width) of the images of the data set.
        batch_size: images a step.
        steps: how many.
        **options: fields of `DataConfig`.
    """
    import tensorflow as tf

    from tf_frcnn.config import DataConfig
    from tf_frcnn.data.example import Dataset, Example
    from tf_frcnn.data.pipeline import BatchPipeline

    no_boxes, no_flags = np.zeros((0, 4), np.float32), np.zeros(0, bool)
    examples = tuple(
        Example(
            image_id=str(number),
            image_path=Path("not_read.jpg"),
            image_size=size,
            boxes=no_boxes,
            classes=np.zeros(0, np.int32),
            difficult=no_flags,
            crowd=no_flags,
            source="",
        )
        for number, size in enumerate(sizes)
    )
    pipeline = BatchPipeline(
        Dataset("train", ("one",), examples), DataConfig(**options), batch_size
    )
    padded = tf.data.Dataset.range(steps).map(pipeline.padded_size).as_numpy_iterator()
    return len({tuple(-(-size // NETWORK_MULTIPLE) * NETWORK_MULTIPLE) for size in padded})


def main() -> None:
    """Count, write the figures, print the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    from tf_frcnn.environment import load_tensorflow

    load_tensorflow()
    sizes = image_sizes(arguments.images)
    rows = []
    for (short, long), batch_size in itertools.product(((320, 640), (800, 1333)), (1, 16)):
        sides: dict[str, Any] = {"short_side": short, "long_side": long}
        for name, options in OPTIONS.items():
            shapes = count_shapes(sizes, batch_size, arguments.steps, **sides, **options)
            rows.append({**sides, "batch_size": batch_size, "options": name, "shapes": shapes})
            print(f"| {short} | {batch_size} | {name} | {shapes} |", flush=True)
    figures = {
        "commit": commit(),
        "processor": processor(),
        "steps": arguments.steps,
        "images": arguments.images,
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
