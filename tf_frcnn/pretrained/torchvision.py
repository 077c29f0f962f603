"""Weights of torchvision's Faster R-CNNs, put into the same network here.

Here is where each array stands in its files; `torch_arrays.py` checks them and brings them into the
order that they have here.
"""

import re
from collections.abc import Mapping

import keras
import numpy as np

from tf_frcnn.architectures.mobilenet_v3_fpn import BLOCKS, FIRST_CHANNELS
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.errors import WeightsError
from tf_frcnn.pretrained.catalogue import TORCH_EPSILON
from tf_frcnn.pretrained.torch_arrays import VARIABLES, turned_values, without_counters

# Names of layers here, and where their arrays stand there; the first that matches counts. Of a
# normalised convolution {n} is 0 and of its normalisation 1, {conv} is "conv" and "bn".
_PLACES = (
    (r"conv1", "backbone.body.{conv}1"),
    (r"(layer\d)_(\d+)_conv(\d)", r"backbone.body.\1.\2.{conv}\3"),
    (r"(layer\d)_(\d+)_downsample", r"backbone.body.\1.\2.downsample.{n}"),
    (r"fpn_(inner|layer)(\d)", r"backbone.fpn.\1_blocks.\2.{n}"),
    (r"rpn_conv", "rpn.head.conv.0.0"),
    (r"rpn_conv2", "rpn.head.conv.1.0"),
    (r"rpn_objectness", "rpn.head.cls_logits"),
    (r"rpn_deltas", "rpn.head.bbox_pred"),
    (r"box_conv1", "roi_heads.box_head.0.{n}"),
    (r"box_conv2", "roi_heads.box_head.1.{n}"),
    (r"box_conv3", "roi_heads.box_head.2.{n}"),
    (r"box_conv4", "roi_heads.box_head.3.{n}"),
    (r"box_classes", "roi_heads.box_predictor.cls_score"),
    (r"box_deltas", "roi_heads.box_predictor.bbox_pred"),
)
# The FC layers: behind four convolutions and what flattens there is one.
_FC_PLACES = {
    2: {"fc1": "roi_heads.box_head.fc6", "fc2": "roi_heads.box_head.fc7"},
    1: {"fc1": "roi_heads.box_head.5"},
}
_EXPECTED = "the weights of torchvision's same detector, all of them and no others"
# As files before torchvision 0.13 have them.
_OLD_KEYS = (
    (r"(fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)", r"\1.0.\2"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
)


def load_state_dict(
    network: keras.Model,
    arrays: Mapping[str, np.ndarray],
    source: str,
    epsilon: float = TORCH_EPSILON,
) -> None:
    """Put the weights of a torchvision detector into a network.

    What batch normalisation adds to the variance is no array of a file, but of the network that it
    was trained in. Where it was another number than this network's, the scale is made up for it, so
    that frozen normalisation computes the same.

    Args:
        network: of the same architecture, with as many columns of classes.
        arrays: key -> array, as torchvision's model has them, or as it had them before version
            0.13; counters of batches are left out.
        source: where they are from, for messages.
        epsilon: that the network was trained with there.

    Raises:
        WeightsError: an array is missing, left over, of another shape, or not finite, also once the
            epsilon is made up for. The network is unchanged.
    """
    arrays = {_new_key(key): array for key, array in without_counters(arrays).items()}
    variables = named_weights(network)
    keys = {name: find_key(name, network.box_head.num_fcs) for name in variables}
    values = turned_values(variables, keys, arrays, source, _EXPECTED)
    for layer in network._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, keras.layers.BatchNormalization):
            variance = values[f"{layer.name}/moving_variance"].astype(np.float64)
            with np.errstate(all="ignore"):
                factor = np.sqrt((variance + layer.epsilon) / (variance + epsilon))
                scale = (values[f"{layer.name}/gamma"] * factor).astype(np.float32)
            is_divisor = variance + min(epsilon, layer.epsilon) > 0.0
            if not (is_divisor.all() and np.isfinite(scale).all()):
                raise WeightsError(
                    f"{source}: {keys[f'{layer.name}/moving_variance']} goes down to "
                    f"{variance.min():g}, which no normalisation with an epsilon of {epsilon:g} "
                    "can divide by. Expected variances above 0, or the epsilon of the training."
                )
            values[f"{layer.name}/gamma"] = scale
    for name, variable in variables.items():
        variable.assign(values[name])


def find_key(name: str, num_fcs: int) -> str:
    """Find the key of a variable in torchvision's state dict.

    Args:
        name: LAYER/VARIABLE, as `named_weights` has it.
        num_fcs: FC layers of the box head.
    """
    layer, variable = name.rsplit("/", 1)
    is_norm = layer.startswith("bn_")
    layer = layer.removeprefix("bn_")
    place = _FC_PLACES[num_fcs].get(layer, "")
    if match := re.fullmatch(r"features(\d\d)_(\w+)", layer):
        place = _place_in_mobilenet(int(match[1]), match[2])
    for pattern, template in _PLACES:
        if match := re.fullmatch(pattern, layer):
            place = match.expand(template)
            break
    place = place.format(n=int(is_norm), conv="bn" if is_norm else "conv")
    return f"{place}.{VARIABLES[variable]}"


def _place_in_mobilenet(number: int, part: str) -> str:
    """Find where a layer of MobileNetV3 stands: what a block lacks is not counted."""
    if part == "conv":
        return f"backbone.body.{number}.{{n}}"
    block = BLOCKS[number - 1]
    parts = ["expand", "depthwise", "squeeze", "project"]
    came_in = FIRST_CHANNELS if number == 1 else BLOCKS[number - 2].channels
    if block.expanded == came_in:
        parts.remove("expand")
    if not block.squeezed:
        parts.remove("squeeze")
    of_squeeze = {"reduce": "fc1", "excite": "fc2"}
    place = f"backbone.body.{number}.block"
    if part in of_squeeze:
        return f"{place}.{parts.index('squeeze')}.{of_squeeze[part]}"
    return f"{place}.{parts.index(part)}.{{n}}"


def _new_key(key: str) -> str:
    for pattern, template in _OLD_KEYS:
        key = re.sub(rf"{pattern}$", template, key)
    return key
