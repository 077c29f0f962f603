"""One tiny network for all tests of a step; each gets it with the weights of the start."""

import keras
import pytest

from tf_frcnn.config import Config
from tf_frcnn.model import FasterRCNN
from tf_frcnn.training.trainer import FasterRCNNTrainer


@pytest.fixture(scope="package")
def step_config(tiny_model_config, tiny_train_config):
    return Config(model=tiny_model_config, train=tiny_train_config)


@pytest.fixture(scope="package")
def built_trainer(step_config):
    keras.utils.set_random_seed(0)
    trainer = FasterRCNNTrainer(FasterRCNN(step_config.model, 3), step_config.train)
    return trainer, trainer.network.get_weights()


@pytest.fixture
def trainer(built_trainer):
    trainer, weights = built_trainer
    trainer.network.set_weights(weights)
    return trainer
