"""What EfficientNet-Lite0's trunk answers, named as in `tests/fixtures/lite0_torch.py`."""

from pathlib import Path

import keras
import numpy as np

from tf_frcnn.model import FasterRCNN
from tf_frcnn.pretrained.trunk_weights import load_trunk
from tf_frcnn.pretrained.trunks import TRUNKS, TrunkFile

# The last layer of each stride's last block, which adds what came in or is a normalisation.
LAST_LAYERS = {
    "block02": "block02_add",
    "block04": "block04_add",
    "block10": "block10_add",
    "block15": "bn_block15_project",
}


def load_file(network: FasterRCNN, architecture: str, path: Path) -> str:
    """Load a file as `--train.start-from PATH` does -> what the log says."""
    return load_trunk(network, TrunkFile(TRUNKS[architecture], path, str(path)))


def run_trunk(network: FasterRCNN, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Run the trunk on what the preprocessing made of images -> block -> map."""
    outputs = {
        name: network.backbone.get_layer(layer).output for name, layer in LAST_LAYERS.items()
    }
    trunk = keras.Model(network.backbone.input, outputs)
    return {name: np.asarray(value) for name, value in trunk(pixels).items()}
