"""Proposals: from the RPN's raw outputs to the boxes that enter the box head."""

from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.boxes import clip_boxes, decode_deltas
from tf_frcnn.ops.nms import DROPPED, best_of_maps, top_k, top_k_nms


@keras.saving.register_keras_serializable(package="tf_frcnn")
class ProposalLayer(keras.layers.Layer):
    """Decodes anchors, clips, drops small boxes, keeps the top N, applies NMS (section 3.3).

    Each map for itself; then the best of all maps are kept. No gradient flows back through the
    proposals.

    Inputs: objectness, L x [B, A_l] logits; anchor_deltas, L x [B, A_l, 4]; anchors, L x [A_l, 4];
    image_sizes [B, 2]. Returns proposals [B, post_nms_top_k, 4] float32 yxyx boxes in pixels of the
    network's input, best first, padded with empty boxes.

    Args of `__init__`: `pre_nms_top_k` boxes of a map enter NMS and `post_nms_top_k` leave it;
    `nms_iou` as in `top_k_nms`; boxes with a side below `min_size` pixels or a probability below
    `min_score` are dropped. With `sifts_first` they go before the top N are taken, otherwise after,
    so that fewer than N enter NMS.
    """

    def __init__(
        self,
        pre_nms_top_k: int,
        post_nms_top_k: int,
        nms_iou: float = 0.7,
        min_size: float = 16.0,
        min_score: float = 0.0,
        sifts_first: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})  # bfloat16 steps are 4 px at x = 1000
        self.pre_nms_top_k = pre_nms_top_k
        self.post_nms_top_k = post_nms_top_k
        self.nms_iou = nms_iou
        self.min_size = min_size
        self.min_score = min_score
        self.sifts_first = sifts_first

    def call(self, inputs: tuple[Any, ...]) -> tf.Tensor:
        """See the class."""
        objectness, anchor_deltas, anchors, image_sizes = tf.nest.map_structure(
            tf.stop_gradient, inputs
        )
        boxes_of_maps, scores_of_maps = [], []
        for logits, deltas, one_anchors in zip(objectness, anchor_deltas, anchors, strict=True):
            boxes, scores = self._propose(logits, deltas, one_anchors, image_sizes)
            boxes_of_maps.append(boxes)
            scores_of_maps.append(scores)
        return best_of_maps(boxes_of_maps, scores_of_maps, self.post_nms_top_k)

    def _propose(
        self, logits: tf.Tensor, deltas: tf.Tensor, anchors: tf.Tensor, image_sizes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Find the proposals of one map, [B, K, 4], and their logits, [B, K]."""
        if self.sifts_first:
            anchors = tf.expand_dims(anchors, 0)
        else:
            logits, order = top_k(logits, self.pre_nms_top_k)
            deltas = tf.gather(deltas, order, batch_dims=1)
            anchors = tf.gather(anchors, order)  # [B, K, 4]
        boxes = clip_boxes(decode_deltas(deltas, anchors), image_sizes)
        # Empty boxes mark padding further on, so they are small whatever the limit is.
        shorter = tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=-1)
        is_proposal = (shorter >= self.min_size) & (shorter > 0.0)
        if self.min_score > 0.0:
            is_proposal &= tf.sigmoid(logits) >= self.min_score
        # Logits order as probabilities do, but do not saturate.
        scores = tf.where(is_proposal, logits, DROPPED)
        return top_k_nms(boxes, scores, self.pre_nms_top_k, self.post_nms_top_k, self.nms_iou)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = (
            *("pre_nms_top_k", "post_nms_top_k", "nms_iou"),
            *("min_size", "min_score", "sifts_first"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
