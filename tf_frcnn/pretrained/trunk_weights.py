"""ImageNet's weights put into the trunk of a detector with a feature pyramid."""

import re

import keras

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.pretrained.torch_arrays import VARIABLES, turned_values, without_counters
from tf_frcnn.pretrained.torch_file import read_state_dict
from tf_frcnn.pretrained.torchvision import find_key
from tf_frcnn.pretrained.trunks import TrunkFile

_PYRAMID = ("fpn_", "bn_fpn_")
# EfficientNet's blocks: the convolution of a layer here, and the normalisation after it.
_LITE0_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def load_trunk(network: keras.Model, file: TrunkFile) -> str:
    """Put a file's weights into the trunk of a network.

    What batch normalisation adds to the variance stays what it is in the network. It differs from
    what MobileNetV3 was trained with (1e-3, here 1e-5); torchvision starts its detectors so too.

    Args:
        network: of the architecture that the trunk goes with.
        file: of the weights.

    Returns:
        A sentence for the log: what was not used of the file, and what starts at random.

    Raises:
        WeightsError: the file cannot be read; an array is missing, left over, of another shape, or
            not finite. The network is unchanged.
    """
    trunk = file.trunk
    arrays = without_counters(read_state_dict(file.path))
    unused = [key for key in arrays if key.startswith(trunk.left_over)]
    arrays = {key: array for key, array in arrays.items() if key not in unused}
    variables = {
        name: variable
        for name, variable in named_weights(network.backbone).items()
        if not name.startswith(_PYRAMID)
    }
    keys = {name: find_trunk_key(name) for name in variables}
    expected = (
        f"the weights of {trunk.title} for ImageNet, of which {', '.join(trunk.left_over)} are not "
        "used, and no others"
    )
    values = turned_values(variables, keys, arrays, file.source, expected)
    for name, variable in variables.items():
        variable.assign(values[name])
    others = [name.split("/")[0] for name in named_weights(network) if name not in variables]
    layers = dict.fromkeys(key.rsplit(".", 1)[0] for key in unused)
    return (
        f"Weights from {file.path} ({trunk.title}): the whole trunk; not used of it: "
        f"{', '.join(layers) or 'nothing'}. At random: {', '.join(dict.fromkeys(others))}."
    )


def find_trunk_key(name: str) -> str:
    """Find the key of a trunk's variable in the state dict of the network for ImageNet.

    Args:
        name: LAYER/VARIABLE, as `named_weights` has it.
    """
    layer, variable = name.rsplit("/", 1)
    is_norm = layer.startswith("bn_")
    if layer.removeprefix("bn_") == "stem":
        return f"{'_bn0' if is_norm else '_conv_stem'}.{VARIABLES[variable]}"
    if match := re.fullmatch(r"(?:bn_)?block(\d\d)_(\w+)", layer):
        part = _LITE0_PARTS[match[2]][is_norm]
        return f"_blocks.{int(match[1])}.{part}.{VARIABLES[variable]}"
    key = find_key(name, 2).removeprefix("backbone.body.")
    return f"features.{key}" if key[0].isdecimal() else key
