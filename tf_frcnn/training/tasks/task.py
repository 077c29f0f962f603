"""What a task of the training is, and what it is told of a step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_frcnn.config import TrainConfig
from tf_frcnn.model import FasterRCNN
from tf_frcnn.ops.maps import Maps
from tf_frcnn.training.losses import Losses


@dataclass
class Step:
    """A training step so far; each task reads it, and may leave something for those behind it.

    Attributes:
        network: the network.
        config: of the training.
        batch: as `FasterRCNNTrainer` takes it.
        maps: of the backbone.
        anchors: L x [A_l, 4] float32 yxyx boxes.
        objectness: L x [B, A_l] float32 logits.
        anchor_deltas: L x [B, A_l, 4] float32.
        proposals: [B, K, 4] float32 yxyx boxes, padded with empty ones; no gradient flows to them.
        run: calls a function of tensors and plain values; compiled, where that was asked for.
        run_stage: calls a stage of the network, by its name, in training mode or not; likewise.
        roi_targets: the box head's mini-batch, from the box task on.
        roi_features: [B, R, 7, 7, C] of its RoIs, from the box task on.
    """

    network: FasterRCNN
    config: TrainConfig
    batch: Mapping[str, tf.Tensor]
    maps: Maps
    anchors: tuple[tf.Tensor, ...]
    objectness: tuple[tf.Tensor, ...]
    anchor_deltas: tuple[tf.Tensor, ...]
    proposals: tf.Tensor
    run: Callable[..., Losses]
    run_stage: Callable[..., Any]
    roi_targets: Any = None
    roi_features: tf.Tensor | None = None

    @property
    def ignored_boxes(self) -> tf.Tensor | None:
        """[B, I, 4] float32 boxes in which background is ignored; None where that is off."""
        return self.batch["ignored_boxes"] if self.config.ignore_crowd_overlap > 0 else None


@dataclass(frozen=True)
class Task:
    """A part of what is learned.

    Attributes:
        loss_names: of its losses: keys of logs, of metrics.jsonl and of the curves.
        compute: gives the losses of a step by these names, scalars float32; all are added up.
    """

    loss_names: tuple[str, ...]
    compute: Callable[[Step], Losses]
