"""The model for one image of one size: the network's own stages, under TFLite's conditions.

`forward` and all layers are those of inference; operators that TFLite lacks take the twins beside
them (`ops.builtin`). Shapes are static, and each stage has a name scope by which the report finds
its operators again.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_frcnn.data.transforms import resize_images, scale_boxes
from tf_frcnn.image_size import is_shrunk
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import forward
from tf_frcnn.ops.builtin import builtin_operators_only
from tf_frcnn.ops.resized_size import resized_size

Observer = Callable[[str, tf.Tensor], tf.Tensor]
"""Is given a tensor between two layers with a name, and says with what to go on."""

SIGNATURE = "serving_default"
NETWORK_INPUT, ROI_FEATURES = "network_input", "roi_features"
_OBSERVED = {"preprocessing": NETWORK_INPUT, "roi_pooling": ROI_FEATURES}


def build_detect(
    model: InferenceModel,
    image_size: tuple[int, int],
    observe: Observer = lambda _, tensor: tensor,
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Build what `InferenceModel.detect` computes, for one image of a fixed size.

    Args:
        model: the network and its weights.
        image_size: (height, width) of the image, in pixels.
        observe: of the network's input and the RoI features; the layers between have others
            (`quantization.py`).

    Returns:
        A function from [1, H, W, 3] uint8 RGB to detection_boxes [1, D, 4] float32 yxyx in pixels
        of that image, detection_scores [1, D] float32, detection_classes [1, D] int32 from 1 and
        num_detections [1] int32; best first, padded with zeros.
    """
    network = model.network
    network_size = resized_size(image_size, model.short_side, model.long_side, model.rounding)
    image_sizes = tf.constant([network_size], tf.float32)  # [1, 2]
    # TFLite has no operator for it: `check_antialias` refuses sizes that would need one.
    antialias = model.antialias and is_shrunk(image_size, network_size)

    def call(name: str, inputs: Any) -> Any:
        with _stage_scope(name):
            if name == "detection_layer":
                inputs = (_in_float(inputs[0]), *inputs[1:])
            outputs = network.run_stage(name, inputs)
            return observe(_OBSERVED[name], outputs) if name in _OBSERVED else outputs

    def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with builtin_operators_only():
            with _stage_scope("preprocessing"):
                resized = resize_images(tf.cast(images, tf.float32), network_size, antialias)
            found = dict(forward(call, resized, image_sizes, flip_at_test=False))
            with _stage_scope("detection_layer"):
                boxes = scale_boxes(found["detection_boxes"], network_size, image_size)
            return {**found, "detection_boxes": boxes}

    return detect


def _stage_scope(name: str) -> Any:
    """Name the operators of a stage; the slash lets it be entered again under the same name."""
    return tf.name_scope(f"{name}/")


def _in_float(class_logits: tf.Tensor) -> tf.Tensor:
    """Subtract the background's logits, which changes nothing but the type.

    Of 8-bit logits the converter would make a softmax in 8 bits, whose scores are multiples of
    1/256. (It drops a difference to the largest logit.)
    """
    return class_logits - class_logits[:, :, :1]
