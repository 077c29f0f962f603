"""Measure the input pipeline on one core beside the training steps that it feeds.

The pipeline must never be the slower of the two. It is measured alone, with every augmentation off
and with all of them on, in a process that has one core; the training steps (VGG16, one image of
short side 600) in a process that has all of them and its batches ready in memory. Images are made
for it, of the size of VOC's (500 x 375, about 80 kB of JPEG), or are those of a data set. Linux
only: elsewhere a process can't be kept on one core.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from provenance import commit, processor
from rich.console import Console

from tf_frcnn.config import DataConfig, ModelConfig, TrainConfig
from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.loading import read_datasets
from tf_frcnn.environment import load_tensorflow

IMAGE_SIZE = (375, 500)
NUM_MADE = 64
# Left out of the time: the first ones wait for the graph to be built.
WARM_UP_IMAGES, WARM_UP_STEPS = 20, 1
PLAIN = DataConfig(horizontal_flip=0.0)
AUGMENTATIONS: dict[str, Any] = {
    "horizontal_flip": 0.5,
    "scale_jitter": (0.75, 1.25),
    "photometric_jitter": 1.0,
    "crop": 1.0,
}


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    data_root: str = ""
    """Folder of a data set whose images are used; when not given, images are made."""
    data_split: str = "train"
    """Its split."""
    images: int = 300
    """Images that the pipeline is timed over."""
    steps: int = 5
    """Training steps that are timed."""
    output: Path | None = None
    """File for the figures, as JSON."""


# === Images ===


def make_dataset(folder: Path) -> Dataset:
    """Write JPEG images of smooth noise and grain, with one to four boxes each."""
    examples = []
    for number in range(NUM_MADE):
        random = np.random.default_rng(number)
        path = folder / f"{number:03d}.jpg"
        _draw_noise(random).save(path, quality=92)
        count = 1 + number % 4
        corners = np.sort(random.uniform(0, 1, (count, 2, 2)), axis=1) * IMAGE_SIZE
        boxes = corners.reshape(count, 4) + [0, 0, 1, 1]
        examples.append(
            Example(
                image_id=path.stem,
                image_path=path,
                image_size=IMAGE_SIZE,
                boxes=np.minimum(boxes, [*IMAGE_SIZE, *IMAGE_SIZE]).astype(np.float32),
                classes=np.ones(count, np.int32),
                difficult=np.zeros(count, bool),
                crowd=np.zeros(count, bool),
                source="made",
            )
        )
    return Dataset("made", ("noise",), tuple(examples))


def _draw_noise(random: np.random.Generator) -> Image.Image:
    """Add up noise of ever smaller grains, which compresses about as well as a photograph."""
    height, width = IMAGE_SIZE
    total = np.zeros((height, width, 3), np.float32)
    for grains in (2, 4, 8, 16, 32, 64, 128, 375):
        noise = random.normal(0, 1, (grains, grains, 3)).astype(np.float32) / grains**0.25
        for channel in range(3):
            coarse = Image.fromarray(noise[..., channel])
            total[..., channel] += np.asarray(
                coarse.resize((width, height), Image.Resampling.BICUBIC)
            )
    spread = 50 / total.std()
    return Image.fromarray(np.clip(128 + spread * total, 0, 255).astype(np.uint8))


# === Measurements, each in a process of its own ===


def measure_pipeline(dataset: Dataset, config: DataConfig, images: int) -> float:
    """Count the images that the pipeline makes in a second on one core."""
    # Before TensorFlow is imported, for that is when it counts the cores.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    load_tensorflow()
    from tf_frcnn.data.pipeline import BatchPipeline

    began = 0.0
    for step, _ in enumerate(BatchPipeline(dataset, config, stop=WARM_UP_IMAGES + images)):
        if step + 1 == WARM_UP_IMAGES:
            began = time.perf_counter()
    return images / (time.perf_counter() - began)


def measure_training(dataset: Dataset, config: DataConfig, steps: int) -> float:
    """Count the images that training steps go through in a second on all cores."""
    load_tensorflow()
    import tensorflow as tf

    from tf_frcnn.data.pipeline import BatchPipeline
    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.training.trainer import FasterRCNNTrainer

    pipeline = BatchPipeline(dataset, config, stop=WARM_UP_STEPS + steps)
    batches = list(pipeline)
    network = FasterRCNN(ModelConfig(), len(dataset.class_names))
    trainer = FasterRCNNTrainer(network, TrainConfig())
    step = tf.function(trainer.train_step, input_signature=[pipeline.batches.element_spec])
    for batch in batches[:WARM_UP_STEPS]:
        float(step(batch)["loss"])
    began = time.perf_counter()
    for batch in batches[WARM_UP_STEPS:]:
        float(step(batch)["loss"])  # a number is there only when the step is done
    return steps / (time.perf_counter() - began)


def in_new_process(measure: Callable[..., float], *arguments: Any) -> float:
    """Call a measurement where nothing has been imported yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


# === Figures ===


def compare(arguments: Arguments, dataset: Dataset) -> dict[str, Any]:
    """Measure pipeline and training, and put the figures into the form of the JSON file."""
    sizes = [example.image_path.stat().st_size for example in dataset.examples]
    pipeline = {
        name: in_new_process(measure_pipeline, dataset, config, arguments.images)
        for name, config in (("plain", PLAIN), ("augmented", DataConfig(**AUGMENTATIONS)))
    }
    training = in_new_process(measure_training, dataset, PLAIN, arguments.steps)
    options = f"--images {arguments.images} --steps {arguments.steps}"
    if arguments.data_root:
        options = f"--data-root DIR --data-split {arguments.data_split} {options}"
    return {
        "command": f"python benchmarks/input_pipeline.py {options}",
        "commit": commit(),
        "processor": processor(),
        "pictures": {"count": len(sizes), "mean_kilobytes": round(sum(sizes) / len(sizes) / 1e3)},
        "augmentations": AUGMENTATIONS,
        "pipeline_pictures_per_second": pipeline,
        "training_pictures_per_second": training,
        "pipeline_is_slower": min(pipeline.values()) < training,
    }


def as_text(figures: dict[str, Any]) -> str:
    """Write the figures as they are printed."""
    pipeline, training = (
        figures[f"{part}_pictures_per_second"] for part in ("pipeline", "training")
    )
    slowest = min(pipeline.values())
    verdict = (
        "The pipeline is the slower one: training waits for it."
        if figures["pipeline_is_slower"]
        else f"The pipeline is never the slower one: {slowest / training:.0f} times as fast."
    )
    return (
        f"pipeline, one core, no augmentation    {pipeline['plain']:8.2f} images/s\n"
        f"pipeline, one core, all augmentations  {pipeline['augmented']:8.2f} images/s\n"
        f"training step, all cores               {training:8.2f} images/s\n"
        f"{verdict}"
    )


def main() -> None:
    """Measure, print the figures and keep them."""
    arguments = tyro.cli(Arguments, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data_root:
            config = DataConfig(
                root=arguments.data_root,
                train_split=arguments.data_split,
                val_split="none",
                test_split="none",
            )
            dataset = read_datasets(config, seed=0)["train"]
        else:
            dataset = make_dataset(Path(folder))
        figures = compare(arguments, dataset)
    Console(highlight=False).print(as_text(figures))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
