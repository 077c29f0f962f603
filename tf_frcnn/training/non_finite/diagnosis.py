"""One training step once more, operation by operation, with an eye on every layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.training.non_finite.layers import Magnitude, measure, recorded_outputs
from tf_frcnn.training.non_finite.record import StepRecord
from tf_frcnn.training.trainer import FasterRCNNTrainer


@dataclass(frozen=True)
class ImageReport:
    """One image of the batch.

    Attributes:
        path: its file.
        size: (height, width) as the network got it.
        pixels: how large they are; 255 at most in a proper image.
        boxes: yxyx in pixels of the network's input, without the padding.
        class_names: of the boxes.
    """

    path: str
    size: tuple[int, int]
    pixels: Magnitude
    boxes: tuple[tuple[float, ...], ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    Attributes:
        name: of the layer.
        dtype: of its output.
        activation: its output.
        weight: all its variables; None where it has none.
        gradient: of the loss by its trained variables, before clipping and weight decay; None where
            none is trained.
    """

    name: str
    dtype: str
    activation: Magnitude
    weight: Magnitude | None
    gradient: Magnitude | None


@dataclass(frozen=True)
class Diagnosis:
    """What a training step was made of and what came out.

    Attributes:
        step: its number, from 1.
        learning_rate: of its update.
        start_from: where the run's first weights were from, as `--train.start-from`.
        reported_losses: each loss term, as the training step gave it.
        losses: each loss term of the second run.
        images: of the batch.
        layers: in the order of the data's flow.
    """

    step: int
    learning_rate: float
    start_from: str
    reported_losses: Mapping[str, float]
    losses: Mapping[str, float]
    images: tuple[ImageReport, ...]
    layers: tuple[LayerReport, ...]

    @property
    def is_finite(self) -> bool:
        """Whether the second run gave finite losses and gradients."""
        return not self.wrong_terms and self.first_gradient is None

    @property
    def wrong_terms(self) -> list[str]:
        """The loss terms that are not finite."""
        return [name for name, value in self.losses.items() if not np.isfinite(value)]

    @property
    def first_layer(self) -> LayerReport | None:
        """The first layer where something is not finite; of gradients, the first one backwards."""
        forwards = (
            one
            for one in self.layers
            if not one.activation.is_finite or (one.weight and not one.weight.is_finite)
        )
        return next(forwards, self.first_gradient)

    @property
    def first_weight(self) -> LayerReport | None:
        """The first layer with weights that are not finite."""
        return next((one for one in self.layers if one.weight and not one.weight.is_finite), None)

    @property
    def first_activation(self) -> LayerReport | None:
        """The first layer with outputs that are not finite."""
        return next((one for one in self.layers if not one.activation.is_finite), None)

    @property
    def first_gradient(self) -> LayerReport | None:
        """The layer where gradients stop being finite; they flow from the last layer back."""
        backwards = reversed(self.layers)
        return next((one for one in backwards if one.gradient and not one.gradient.is_finite), None)


def diagnose(trainer: FasterRCNNTrainer, record: StepRecord) -> Diagnosis:
    """Run a step once more, outside of any graph, and measure what flows; no weight changes.

    Args:
        trainer: with the weights before the step.
        record: the step. Its batch alone decides what is sampled and dropped, so the same is.
    """
    batch = {name: tf.constant(value) for name, value in record.batch.items()}
    variables = trainer.network.trainable_variables
    # Batch normalisation moves its means in training mode.
    kept = [(one, one.numpy()) for one in trainer.network.non_trainable_variables]
    was_eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # a graph within would have no numbers to look at
    try:
        with recorded_outputs(trainer) as outputs, tf.GradientTape() as tape:
            losses = trainer.compute_losses(batch, training=True)
            total = tf.add_n(list(losses.values()))
        gradients = tape.gradient(total, variables)
    finally:
        tf.config.run_functions_eagerly(was_eager)
        for variable, value in kept:
            variable.assign(value)
    weights_of, gradients_of = _by_layer(trainer, variables, gradients)
    return Diagnosis(
        step=record.step,
        learning_rate=record.learning_rate,
        start_from=record.config.train.start_from,
        reported_losses=dict(record.losses),
        losses={name: float(value) for name, value in losses.items()},
        images=tuple(_describe_image(record, index) for index in range(len(record.paths))),
        layers=tuple(
            LayerReport(
                name,
                output.dtype,
                output.magnitude,
                measure(weights_of[name]) if name in weights_of else None,
                measure(gradients_of[name]) if name in gradients_of else None,
            )
            for name, output in outputs.items()
        ),
    )


def _by_layer(
    trainer: FasterRCNNTrainer, variables: list[Any], gradients: list[tf.Tensor | None]
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Sort variables and gradients by the names of their layers."""
    gradient_of = dict(zip(map(id, variables), gradients, strict=True))
    weights_of: dict[str, list[Any]] = {}
    gradients_of: dict[str, list[Any]] = {}
    for name, variable in named_weights(trainer.network).items():
        layer = name.rsplit("/", 1)[0]
        weights_of.setdefault(layer, []).append(variable)
        gradient = gradient_of.get(id(variable))
        if gradient is not None:
            gradients_of.setdefault(layer, []).append(gradient)
    return weights_of, gradients_of


def _describe_image(record: StepRecord, index: int) -> ImageReport:
    classes = record.batch["gt_classes"][index]
    boxes = record.batch["gt_boxes"][index][classes > 0]  # class 0 is padding
    height, width = record.batch["image_sizes"][index]
    return ImageReport(
        path=record.paths[index],
        size=(int(height), int(width)),
        pixels=measure([record.batch["images"][index]]),
        boxes=tuple(tuple(float(side) for side in box) for box in boxes),
        class_names=tuple(record.class_names[number - 1] for number in classes[classes > 0]),
    )
