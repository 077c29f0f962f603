"""The detector for one picture of one size, from the Keras network's own layers.

What TFLite lacks is computed otherwise: `suppression.py`, `roi_pooling.py`. Shapes are static, and
each stage has the name scope by which `stages.py` finds its operators again.
"""

from collections.abc import Callable

import tensorflow as tf

from tf_frcnn.data.transforms import resize_images, scale_boxes
from tf_frcnn.inference import PictureDetector
from tf_frcnn.model import FasterRCNN
from tf_frcnn.ops.boxes import box_area, clip_boxes, decode_deltas
from tf_frcnn.ops.nms import DROPPED
from tf_frcnn.ops.resized_size import resized_size
from tf_frcnn.tflite.roi_pooling import pool_rois
from tf_frcnn.tflite.suppression import keep_detections, keep_proposals

Observer = Callable[[str, tf.Tensor], tf.Tensor]
"""Is given a tensor between two layers with a name, and says with what to go on."""

SIGNATURE = "serving_default"
NETWORK_INPUT, ROI_FEATURES = "network_input", "roi_features"


def build_detect(
    detector: PictureDetector,
    picture_size: tuple[int, int],
    observe: Observer = lambda _, tensor: tensor,
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Build what `PictureDetector.detect` computes, for one picture of a fixed size.

    Args:
        detector: the network and its weights.
        picture_size: (height, width) of the picture, in pixels.
        observe: of the network's input and the RoI features; the layers between have others
            (`observation.py`).

    Returns:
        A function from [1, H, W, 3] uint8 RGB to detection_boxes [1, D, 4] float32 yxyx in pixels
        of that picture, detection_scores [1, D] float32, detection_classes [1, D] int32 from 1 and
        num_detections [1] int32; best first, padded with zeros.
    """
    network = detector.detector
    network_size = resized_size(picture_size, detector.short_side, detector.long_side)
    image_sizes = tf.constant([network_size], tf.float32)  # [1, 2]

    def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.name_scope("preprocess"):
            resized = resize_images(tf.cast(images, tf.float32), network_size)
            centered = observe(NETWORK_INPUT, network.preprocessing((resized, image_sizes)))
        with tf.name_scope("trunk"):
            features = network.backbone(centered)  # [1, h, w, C]
        with tf.name_scope("rpn"):
            objectness_logits, anchor_deltas = network.rpn_head(features)
        with tf.name_scope("proposals"):
            anchors = network.anchor_generator(features)
            proposals = _propose(network, objectness_logits, anchor_deltas, anchors, image_sizes)
        with tf.name_scope("roi_pooling"):
            pooling = network.roi_pooling
            roi_features = observe(
                ROI_FEATURES,
                pool_rois(features, proposals, pooling.stride, pooling.op, pooling.output_size),
            )
        with tf.name_scope("head"):
            class_logits, box_deltas = network.box_head(roi_features)
        with tf.name_scope("detections"):
            boxes, scores, classes, num_detections = _detections(
                network, class_logits, box_deltas, proposals, image_sizes
            )
            boxes = scale_boxes(boxes, network_size, picture_size)
            return {
                "detection_boxes": tf.expand_dims(boxes, 0),
                "detection_scores": tf.expand_dims(scores, 0),
                "detection_classes": tf.expand_dims(classes, 0),
                "num_detections": tf.expand_dims(num_detections, 0),
            }

    return detect


def _propose(
    network: FasterRCNN,
    objectness_logits: tf.Tensor,
    anchor_deltas: tf.Tensor,
    anchors: tf.Tensor,
    image_sizes: tf.Tensor,
) -> tf.Tensor:
    """Compute what `ProposalLayer` does, for one picture: [K, 4] proposals."""
    layer = network.proposal_layer
    boxes = decode_deltas(anchor_deltas, tf.expand_dims(anchors, 0))
    boxes = tf.squeeze(clip_boxes(boxes, image_sizes), 0)  # [A, 4]
    logits = tf.squeeze(objectness_logits, 0)
    scores = logits[:, 0] - logits[:, 1]
    shorter = tf.reduce_min(boxes[:, 2:] - boxes[:, :2], axis=-1)
    scores = tf.where((shorter >= layer.min_size) & (shorter > 0.0), scores, DROPPED)
    return keep_proposals(boxes, scores, layer.pre_nms_top_k, layer.post_nms_top_k, layer.nms_iou)


def _detections(
    network: FasterRCNN,
    class_logits: tf.Tensor,
    box_deltas: tf.Tensor,
    proposals: tf.Tensor,
    image_sizes: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Compute what `DetectionLayer` does, for one picture and its [K, 4] proposals."""
    layer = network.detection_layer
    num_proposals, num_classes = proposals.shape[0], network.num_classes
    logits = tf.squeeze(class_logits, 0)  # [K, 1 + N]
    # The difference changes nothing but the type: of 8-bit logits the converter would make a
    # softmax in 8 bits, whose scores are multiples of 1/256. (That to the largest logit it drops.)
    logits -= logits[:, :1]
    scores = tf.nn.softmax(logits)[:, 1:]  # [K, N]
    scores *= tf.expand_dims(tf.cast(box_area(proposals) > 0.0, tf.float32), 1)
    deltas = tf.squeeze(box_deltas, 0)[:, 1:]  # [K, N, 4]
    boxes = decode_deltas(deltas, tf.expand_dims(proposals, 1), layer.box_std)
    boxes = clip_boxes(tf.reshape(boxes, [1, num_proposals * num_classes, 4]), image_sizes)
    boxes = tf.reshape(boxes, [num_proposals, num_classes, 4])
    scores = tf.where(box_area(boxes) > 0.0, scores, 0.0)
    return keep_detections(
        boxes, scores, layer.score_threshold, layer.nms_iou, layer.max_detections
    )
