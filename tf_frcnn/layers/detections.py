"""Detections: from the box head's raw outputs to boxes, scores and classes."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.boxes import UNIT_STD, box_area, clip_boxes, decode_deltas
from tf_frcnn.ops.nms import per_class_nms


@keras.saving.register_keras_serializable(package="tf_frcnn")
class DetectionLayer(keras.layers.Layer):
    """Decodes the boxes of every class, clips them, and applies NMS to each class.

    Inputs: class_logits [B, K, 1 + N], box_deltas [B, K, 1 + N, 4], proposals [B, K, 4],
    image_sizes [B, 2]. Returns a dict of detection_boxes [B, D, 4] float32 yxyx boxes in pixels of
    the network's input, detection_scores [B, D] float32, detection_classes [B, D] int32 from 1, and
    num_detections [B] int32; best first, padded with zeros.

    Args of `__init__`: `score_threshold`, `nms_iou` and `max_detections` as in `per_class_nms`;
    `box_std` as in `decode_deltas`; boxes with a side below `min_side` pixels are dropped;
    `unused` are columns of the box head, from 1, that take part in the softmax and are no class:
    the classes are those of the others, in their order; `soft_nms_sigma` as in `per_class_nms`.
    """

    def __init__(
        self,
        score_threshold: float,
        nms_iou: float,
        max_detections: int,
        box_std: Sequence[float] = UNIT_STD,
        min_side: float = 0.0,
        unused: Sequence[int] = (),
        soft_nms_sigma: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.score_threshold = score_threshold
        self.nms_iou = nms_iou
        self.max_detections = max_detections
        self.box_std = tuple(box_std)
        self.min_side = min_side
        self.unused = tuple(unused)
        self.soft_nms_sigma = soft_nms_sigma

    def call(self, inputs: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """See the class."""
        class_logits, box_deltas, proposals, image_sizes = inputs
        columns = [one for one in range(1, class_logits.shape[-1]) if one not in self.unused]
        num_proposals, num_classes = proposals.shape[1], len(columns)
        scores = tf.nn.softmax(class_logits)
        if self.unused:
            scores, box_deltas = (tf.gather(one, columns, axis=2) for one in (scores, box_deltas))
        else:
            scores, box_deltas = scores[..., 1:], box_deltas[:, :, 1:]  # [B, K, N], [B, K, N, 4]
        # Padded proposals are empty; their scores mean nothing.
        scores *= tf.expand_dims(tf.cast(box_area(proposals) > 0.0, tf.float32), -1)
        boxes = decode_deltas(box_deltas, tf.expand_dims(proposals, 2), self.box_std)
        boxes = clip_boxes(tf.reshape(boxes, [-1, num_proposals * num_classes, 4]), image_sizes)
        boxes = tf.reshape(boxes, [-1, num_proposals, num_classes, 4])
        # A box clipped to nothing would be a detection of nothing.
        is_box = box_area(boxes) > 0.0
        if self.min_side > 0.0:
            is_box &= tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=-1) >= self.min_side
        scores = tf.where(is_box, scores, 0.0)
        boxes, scores, classes, num_detections = per_class_nms(
            boxes,
            scores,
            self.score_threshold,
            self.nms_iou,
            self.max_detections,
            self.soft_nms_sigma,
        )
        return {
            "detection_boxes": boxes,
            "detection_scores": scores,
            "detection_classes": classes,
            "num_detections": num_detections,
        }

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = (
            *("score_threshold", "nms_iou", "max_detections", "box_std"),
            *("min_side", "unused", "soft_nms_sigma"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
