"""What can be set for all of Keras: the network refuses it or is the same whatever it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.errors import ConfigError
from tf_frcnn.layer_calls import innermost_layers
from tf_frcnn.model import FasterRCNN
from tf_frcnn.training.trainer import FasterRCNNTrainer
from tf_frcnn.training.update import LossScaleOptimizer


@pytest.fixture
def set_policy():
    """Set the dtype policy of all of Keras for one test."""
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)


@pytest.fixture
def channels_first():
    keras.backend.set_image_data_format("channels_first")
    yield
    keras.backend.set_image_data_format("channels_last")


def compute_types(network):
    layers = [*innermost_layers(network), network, network.backbone, network.roi_pooling]
    return {layer.name: layer.compute_dtype for layer in layers}


def test_channels_first_is_refused(channels_first, tiny_model_config):
    with pytest.raises(ConfigError) as caught:
        FasterRCNN(tiny_model_config, 3)
    assert str(caught.value) == (
        "Keras' image_data_format is channels_first: the network takes [B, H, W, 3], channels "
        'last. Call keras.backend.set_image_data_format("channels_last") before you build or load '
        "it."
    )


def test_the_precision_is_the_networks_own(set_policy, tiny_model_config):
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    inputs = (tf.constant(images), tf.constant([[64.0, 96.0]]))
    plain = FasterRCNN(tiny_model_config, 3, name="one")
    mixed = FasterRCNN(tiny_model_config, 3, "mixed_bfloat16", name="one")
    set_policy("mixed_float16")
    network = FasterRCNN(tiny_model_config, 3, name="one")
    assert compute_types(network) == compute_types(plain)
    assert set(compute_types(network).values()) == {"float32"}
    network.set_weights(plain.get_weights())
    for name, value in plain(inputs).items():
        np.testing.assert_array_equal(network(inputs)[name], value)
    again = FasterRCNN(tiny_model_config, 3, "mixed_bfloat16", name="one")
    assert compute_types(again) == compute_types(mixed)
    assert keras.mixed_precision.global_policy().name == "mixed_float16"
    trainer = FasterRCNNTrainer(network)
    assert trainer.compute_dtype == "float32"
    assert not isinstance(trainer.optimizer, LossScaleOptimizer)
