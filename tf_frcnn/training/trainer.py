"""One training step: forward, the four losses, gradients, coupled weight decay, update."""

from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.config import TrainConfig
from tf_frcnn.layers.proposals import ProposalLayer
from tf_frcnn.model import FasterRCNN
from tf_frcnn.training.losses import box_loss, classification_loss
from tf_frcnn.training.optimizer import build_optimizer
from tf_frcnn.training.targets import assign_anchor_targets, sample_rois

# Pictures of a batch, as the input pipeline makes them (letters as in tf_frcnn.model).
BATCH_KEYS = ("images", "image_sizes", "gt_boxes", "gt_classes", "seeds")

Batch = dict[str, tf.Tensor]
Losses = dict[str, tf.Tensor]


class FasterRCNNTrainer(keras.Model):
    """Trains a detector end to end, RPN and detection network jointly (slides: training).

    The losses live here and never reach the export. A batch is a dict of images [B, H, W, 3]
    float32 RGB 0-255, image_sizes [B, 2] float32, gt_boxes [B, G, 4] float32 and gt_classes [B, G]
    int32 (G >= 1, padded with zeros), and seeds [B, 2] int32, from which alone the sampling of each
    picture is drawn.
    """

    def __init__(self, detector: FasterRCNN, config: TrainConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.detector = detector
        self.train_config = config
        self.training_proposals = ProposalLayer(
            config.rpn_pre_nms_top_k,
            config.rpn_post_nms_top_k,
            detector.config.rpn_nms_iou,
            detector.config.rpn_min_size,
            name="training_proposals",
        )
        for layer in detector.backbone.layers:
            if layer.name.startswith(config.frozen_layers):
                layer.trainable = False
        self.compile(optimizer=build_optimizer(config), jit_compile=False)
        self.optimizer.build(detector.trainable_variables)
        self.built = True

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Detect; the same as calling the detector."""
        return self.detector(inputs)

    def compute_losses(self, batch: Batch, training: bool) -> Losses:
        """Run the training graph on a batch.

        Args:
            batch: see the class.
            training: whether dropout and batch normalisation are in training mode.

        Returns:
            The four losses, scalars float32: rpn_objectness, rpn_box, roi_class, roi_box.
        """
        detector, config = self.detector, self.train_config
        image_sizes, gt_boxes = batch["image_sizes"], batch["gt_boxes"]

        centered = detector.preprocessing((batch["images"], image_sizes))
        features = detector.backbone(centered, training=training)
        anchors = detector.anchor_generator(features)
        objectness_logits, anchor_deltas = detector.rpn_head(features, training=training)
        proposals = self.training_proposals(
            (objectness_logits, anchor_deltas, anchors, image_sizes)
        )

        anchor_targets = assign_anchor_targets(
            anchors, image_sizes, gt_boxes, batch["seeds"], config
        )
        roi_targets = sample_rois(
            proposals,
            gt_boxes,
            batch["gt_classes"],
            batch["seeds"],
            detector.config.box_std,
            config,
        )

        roi_features = detector.roi_pooling((features, roi_targets.rois))
        class_logits, box_deltas = detector.box_head(roi_features, training=training)
        # The offsets of the target class; background rows are masked in the loss.
        box_deltas = tf.gather(box_deltas, roi_targets.classes, batch_dims=2)  # [B, R, 4]
        return {
            "rpn_objectness": classification_loss(
                tf.gather(objectness_logits, anchor_targets.indices, batch_dims=1),
                anchor_targets.classes,
                anchor_targets.weights,
            ),
            "rpn_box": box_loss(
                tf.gather(anchor_deltas, anchor_targets.indices, batch_dims=1),
                anchor_targets.deltas,
                anchor_targets.positives,
                anchor_targets.weights,
                config.rpn_box_sigma,
            ),
            "roi_class": classification_loss(
                class_logits, roi_targets.classes, roi_targets.weights
            ),
            "roi_box": box_loss(
                box_deltas,
                roi_targets.deltas,
                roi_targets.positives,
                roi_targets.weights,
                config.roi_box_sigma,
            ),
        }

    def train_step(self, batch: Batch) -> Losses:
        """Update the weights on one batch.

        Args:
            batch: see the class.

        Returns:
            The losses before the update, and their sum as `loss`; scalars float32. `finite` is 0
            where a loss or a gradient was not, and no weight was changed; else 1.
        """
        variables = self.detector.trainable_variables
        # Batch normalisation moves its means in the forward pass already.
        kept = [tf.identity(one) for one in self.detector.non_trainable_variables]
        with tf.GradientTape() as tape:
            losses = self.compute_losses(batch, training=True)
            total = tf.add_n(list(losses.values()))
            # Gradients are summed over replicas.
            scaled = total / tf.distribute.get_strategy().num_replicas_in_sync
        gradients = tape.gradient(scaled, variables)
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(value)) for value in (total, *gradients)]
        )
        if self.train_config.clip_norm > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, self.train_config.clip_norm)
        gradients = [
            self._with_weight_decay(*pair) for pair in zip(gradients, variables, strict=True)
        ]

        def update() -> None:
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))

        def take_back() -> None:
            for variable, value in zip(self.detector.non_trainable_variables, kept, strict=True):
                variable.assign(value)

        tf.cond(finite, update, take_back)
        return {"loss": total, **losses, "finite": tf.cast(finite, tf.float32)}

    def test_step(self, batch: Batch) -> Losses:
        """Compute the losses of one batch without an update; sampled as in training.

        Args:
            batch: see the class.

        Returns:
            The same dict as `train_step`.
        """
        losses = self.compute_losses(batch, training=False)
        return {"loss": tf.add_n(list(losses.values())), **losses}

    def _with_weight_decay(self, gradient: tf.Tensor, variable: Any) -> tf.Tensor:
        """Add the gradient of 0.5 * weight_decay * |kernel|^2, before momentum: coupled L2.

        Keras' own `weight_decay` is decoupled and skips the momentum: about ten times weaker than
        Caffe's and torch's at momentum 0.9.
        """
        is_kernel = variable.name.split("/")[-1].split(":")[0] == "kernel"
        if not is_kernel or self.train_config.weight_decay == 0:
            return gradient
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        scale = tf.constant(self.train_config.weight_decay / replicas, gradient.dtype)
        return gradient + scale * tf.convert_to_tensor(variable)
