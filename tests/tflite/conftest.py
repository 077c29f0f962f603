"""A model that is converted in seconds, its float32 file, and images."""

import keras
import numpy as np
import pytest

from tests.conftest import VOC_CLASS_COLOURS
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import FasterRCNN
from tf_frcnn.tflite.conversion import Converter

IMAGE_SIZE = (50, 70)  # enters the network as 64 x 90


def build_inference_model(model_config):
    """Build an untrained model whose answers tell images apart, as trained ones' do."""
    keras.utils.set_random_seed(0)
    network = FasterRCNN(model_config, len(VOC_CLASS_COLOURS))
    random = np.random.default_rng(0)
    weights = named_weights(network)
    for name, variable in weights.items():
        if name.endswith(("bias", "beta", "moving_mean")):  # adding zeros would be left out
            variable.assign_add(random.uniform(0.01, 0.1, variable.shape))
    # As they are drawn, features of a fresh backbone drive most scores to exactly 1.0, and rounding
    # errors grow with the logits.
    for name, scale in (("rpn_objectness", 1e-4), ("box_classes", 1e-3)):
        kernel = weights[f"{name}/kernel"]
        kernel.assign(random.normal(0.0, scale, kernel.shape))
    return InferenceModel(network, tuple(sorted(VOC_CLASS_COLOURS)), 64, 96)


@pytest.fixture(scope="session")
def inference_model(tiny_config):
    return build_inference_model(tiny_config.model)


@pytest.fixture(scope="session")
def converter(inference_model):
    return Converter(inference_model, IMAGE_SIZE)


@pytest.fixture(scope="session")
def float_content(converter):
    """Give the content of the float32 file."""
    return converter.convert("none")


@pytest.fixture(scope="session")
def image():
    return noise(IMAGE_SIZE)


def noise(size, seed=0):
    """Draw an image of (height, width)."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
