"""Time what a training step does beside the networks: proposals, labels, sampling and losses.

VGG16, 20 classes, all layers trained, random weights, one image. The part is computed by itself,
with the gradients of the losses in what the networks give; the whole step and the part are called
in turn. What the RPN gives the part is drawn at random, so that its boxes overlap little and
non-maximum suppression keeps all the proposals that it may: its dearest case. An untrained RPN
leaves the anchors where they are, and hardly any pass.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from provenance import ROOT, commit, processor

import tf_frcnn  # noqa: F401  sets up oneDNN before TensorFlow is there
from tf_frcnn.config import ModelConfig, TrainConfig
from tf_frcnn.environment import load_tensorflow

NUM_CLASSES = 20


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    height: int = 600
    """Rows of the image."""
    width: int = 800
    """Columns of the image."""
    rounds: int = 7
    """Calls of each that count, after two that do not."""
    output: Path = ROOT / "results" / "step_share.json"
    """File of the figures."""


def make_functions(height: int, width: int) -> dict[str, Callable[[], Any]]:
    """Build a trainer -> its whole step, and what is beside the networks, as calls."""
    import tensorflow as tf

    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.training.losses import samples_an_image
    from tf_frcnn.training.tasks.box import box_losses, sample_rois
    from tf_frcnn.training.tasks.rpn import assign_anchor_targets, rpn_losses
    from tf_frcnn.training.trainer import FasterRCNNTrainer

    tf.random.set_seed(0)
    config = TrainConfig(1, 1, 1e-4, frozen_layers=())
    network = FasterRCNN(ModelConfig(), NUM_CLASSES)
    trainer = FasterRCNNTrainer(network, config)
    images = np.random.default_rng(0).integers(0, 256, (1, height, width, 3))
    batch = {
        "images": tf.constant(images, tf.float32),
        "image_sizes": tf.constant([[height, width]], tf.float32),
        "gt_boxes": tf.constant(
            [[[60.0, 50.0, 400.0, 300.0], [100.0, 400.0, 500.0, 700.0]]], tf.float32
        ),
        "gt_classes": tf.constant([[1, 2]], tf.int32),
        "seeds": tf.constant([[0, 0]], tf.int32),
    }
    sizes, boxes, seeds = batch["image_sizes"], batch["gt_boxes"], batch["seeds"]
    pixels = network.preprocessing((batch["images"], sizes))
    maps = (network.backbone(pixels),)
    anchors = network.anchor_generator((pixels, maps))
    random = np.random.default_rng(1)
    objectness, anchor_deltas = (
        tf.constant(random.normal(scale=scale, size=output[0].shape), tf.float32)
        for output, scale in zip(network.rpn_head(maps), (1.0, 0.5), strict=True)
    )
    box_std = network.config.box_std
    shape = (1, config.roi_batch_size, NUM_CLASSES + 1)
    head_outputs = (
        tf.constant(random.normal(size=shape), tf.float32),
        tf.constant(random.normal(size=(*shape, 4)), tf.float32),
    )

    @tf.function
    def beside_the_networks() -> Any:
        proposals = trainer.training_proposals(((objectness,), (anchor_deltas,), anchors, sizes))
        anchor_targets = assign_anchor_targets(anchors[0], sizes, boxes, seeds, config)
        roi_targets = sample_rois(proposals, boxes, batch["gt_classes"], seeds, box_std, config)
        inputs = (objectness, anchor_deltas, *head_outputs)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            losses = rpn_losses(
                *(objectness, anchor_deltas, anchor_targets),
                samples_an_image(anchor_targets.weights, config.loss_mean),
                config.rpn_box_sigma,
            ) | box_losses(
                *(*head_outputs, roi_targets),
                samples_an_image(roi_targets.weights, config.loss_mean),
                *(box_std, config.box_loss, config.roi_box_sigma),
            )
            total = tf.add_n(list(losses.values()))
        kept = tf.math.count_nonzero(proposals[0, :, 2] > proposals[0, :, 0])
        return kept, total, tape.gradient(total, inputs)

    step = tf.function(trainer.train_step)
    return {
        "step": lambda: float(step(batch)["loss"]),
        "beside_the_networks": lambda: int(beside_the_networks()[0]),
    }


def main() -> None:
    """Measure, and write the figures."""
    arguments = tyro.cli(Arguments, description=__doc__)
    load_tensorflow()
    functions = make_functions(arguments.height, arguments.width)
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(arguments.rounds + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    results = {
        "command": "python benchmarks/step_share.py",
        "commit": commit(),
        "processor": processor(),
        "picture_size": [arguments.height, arguments.width],
        "proposals": functions["beside_the_networks"](),
        "seconds": seconds,
        "medians": medians,
        "share": medians["beside_the_networks"] / medians["step"],
    }
    arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: results[name] for name in ("proposals", "medians", "share")}))


if __name__ == "__main__":
    main()
