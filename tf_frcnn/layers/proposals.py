"""Proposals: from the RPN's raw outputs to the boxes that enter the detector."""

from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.boxes import clip_boxes, decode_deltas
from tf_frcnn.ops.nms import DROPPED, top_k_nms


@keras.saving.register_keras_serializable(package="tf_frcnn")
class ProposalLayer(keras.layers.Layer):
    """Decodes all anchors, clips, drops small boxes, keeps the top N, applies NMS (section 3.3).

    Never by a threshold on the objectness: the best N pass on, however low their scores. No
    gradient flows back through the proposals.

    Inputs: objectness_logits [B, A, 2] (object, background), anchor_deltas [B, A, 4], anchors
    [A, 4], image_sizes [B, 2]. Returns proposals [B, post_nms_top_k, 4] float32 yxyx boxes in
    pixels of the network's input, best first, padded with empty boxes.
    """

    def __init__(
        self,
        pre_nms_top_k: int,
        post_nms_top_k: int,
        nms_iou: float = 0.7,
        min_size: float = 16.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})  # bfloat16 steps are 4 px at x = 1000
        self.pre_nms_top_k = pre_nms_top_k
        self.post_nms_top_k = post_nms_top_k
        self.nms_iou = nms_iou
        self.min_size = min_size

    def call(self, inputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """See the class."""
        objectness_logits, anchor_deltas, anchors, image_sizes = (
            tf.stop_gradient(value) for value in inputs
        )
        boxes = decode_deltas(anchor_deltas, tf.expand_dims(anchors, 0))
        boxes = clip_boxes(boxes, image_sizes)
        # The difference of the pair's logits orders as the softmax does, but does not saturate.
        scores = objectness_logits[..., 0] - objectness_logits[..., 1]
        # Empty boxes mark padding further on, so they are small whatever the limit is.
        shorter = tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=-1)
        scores = tf.where((shorter >= self.min_size) & (shorter > 0.0), scores, DROPPED)
        return top_k_nms(boxes, scores, self.pre_nms_top_k, self.post_nms_top_k, self.nms_iou)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("pre_nms_top_k", "post_nms_top_k", "nms_iou", "min_size")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
