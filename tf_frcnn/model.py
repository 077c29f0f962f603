"""Faster R-CNN as one functional model: Figure 2 of the paper, read from top to bottom.

Letters in shapes, everywhere in this package:

| letter | what it counts |                | letter | what it counts |
|--------|----------------|----------------|--------|----------------|
| B      | pictures       |                | R      | RoIs           |
| H, W   | pixels         |                | G      | ground-truth boxes, padded |
| h, w   | feature-map cells |             | N      | object classes, without the background |
| A      | anchors of a picture |          | D      | detections     |
| K      | proposals      |                | C      | channels       |

`boxes` are [..., 4] float32 [ymin, xmin, ymax, xmax] in absolute pixels of the network's input,
half-open. Class 0 is the background, 1..N are the objects. `anchor_size` is the square root of an
area, `aspect_ratio` is height / width.
"""

import dataclasses
from typing import Any

import keras

from tf_frcnn.backbones import BACKBONES
from tf_frcnn.config import ModelConfig
from tf_frcnn.config_upgrade import upgrade_config
from tf_frcnn.layers.anchor_generator import AnchorGenerator
from tf_frcnn.layers.detections import DetectionLayer
from tf_frcnn.layers.heads import BoxHead, RPNHead
from tf_frcnn.layers.preprocessing import CaffePreprocessing
from tf_frcnn.layers.proposals import ProposalLayer
from tf_frcnn.layers.roi_pooling import RoIPooling


@keras.saving.register_keras_serializable(package="tf_frcnn")
class FasterRCNN(keras.Model):
    """The detector: pictures in, detections out; its stages are attributes that training uses.

    Inputs: images [B, H, W, 3] float32 RGB, 0-255, padded at the bottom and the right to a common
    size; image_sizes [B, 2] float32 (height, width) before padding. Returns the dict that
    `DetectionLayer` describes.

    Args of `__init__`: `config` of the network (or its fields as a dict), `num_classes` N without
    the background, `precision` (a Keras dtype policy) in which trunk and heads compute; the weights
    and everything that has to do with boxes are float32 whatever it is.
    """

    def __init__(
        self,
        config: ModelConfig | dict[str, Any],
        num_classes: int,
        precision: str = "float32",
        **kwargs: Any,
    ) -> None:
        if isinstance(config, dict):  # of a saved Keras model, perhaps an older one
            config = ModelConfig(**upgrade_config({"model": config}, "model")["model"])
        backbone = BACKBONES[config.architecture]
        stages = {
            "preprocessing": CaffePreprocessing(backbone.stride, name="preprocessing"),
            "backbone": backbone.build(dtype=precision),
            "anchor_generator": AnchorGenerator(
                config.anchor_sizes, config.aspect_ratios, backbone.stride, name="anchor_generator"
            ),
            "rpn_head": RPNHead(
                backbone.rpn_channels,
                len(config.anchor_sizes) * len(config.aspect_ratios),
                name="rpn_head",
                dtype=precision,
            ),
            "proposal_layer": ProposalLayer(
                config.rpn_pre_nms_top_k,
                config.rpn_post_nms_top_k,
                config.rpn_nms_iou,
                config.rpn_min_size,
                name="proposals",
            ),
            "roi_pooling": RoIPooling(config.roi_op, backbone.stride, name="roi_pooling"),
            "box_head": BoxHead(
                backbone.fc_units,
                num_classes,
                config.dropout,
                backbone.fc_stddev,
                backbone.fc_bias,
                config.head_rank,
                name="box_head",
                dtype=precision,
            ),
            "detection_layer": DetectionLayer(
                config.score_threshold,
                config.nms_iou,
                config.max_detections,
                config.box_std,
                name="detections",
            ),
        }

        images = keras.Input((None, None, 3), name="images")  # [B, H, W, 3]
        image_sizes = keras.Input((2,), name="image_sizes")  # [B, 2]
        centered = stages["preprocessing"]((images, image_sizes))  # [B, 16h, 16w, 3]
        features = stages["backbone"](centered)  # [B, h, w, C]
        anchors = stages["anchor_generator"](features)  # [A, 4]
        objectness_logits, anchor_deltas = stages["rpn_head"](features)  # [B, A, 2], [B, A, 4]
        proposals = stages["proposal_layer"](
            (objectness_logits, anchor_deltas, anchors, image_sizes)
        )  # [B, K, 4]
        roi_features = stages["roi_pooling"]((features, proposals))  # [B, K, 7, 7, C]
        class_logits, box_deltas = stages["box_head"](roi_features)  # [B, K, 1+N], [B, K, 1+N, 4]
        detections = stages["detection_layer"]((class_logits, box_deltas, proposals, image_sizes))

        super().__init__(inputs=[images, image_sizes], outputs=detections, **kwargs)
        for name, stage in stages.items():
            setattr(self, name, stage)
        self.config = config
        self.num_classes = num_classes
        self.precision = precision

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {
            "config": dataclasses.asdict(self.config),
            "num_classes": self.num_classes,
            "precision": self.precision,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "FasterRCNN":
        """Build the model that `get_config` described, with new weights."""
        return cls(**config)
