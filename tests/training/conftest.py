"""Trainers of a tiny network, which starts from the same weights in every test."""

import dataclasses

import keras
import pytest
import tensorflow as tf

from tf_frcnn.model import FasterRCNN
from tf_frcnn.training.trainer import FasterRCNNTrainer


@pytest.fixture(scope="session")
def networks(tiny_model_config):
    """Make a network for each precision, once; all start from the weights of the first."""
    made = {}

    def get(precision):
        if precision not in made:
            keras.utils.set_random_seed(0)
            made[precision] = FasterRCNN(tiny_model_config, 3, precision)
            made.setdefault("weights", made[precision].get_weights())
        return made[precision], made["weights"]

    return get


@pytest.fixture
def make_trainer(networks, tiny_train_config):
    """Make trainers; the next one of a precision takes the network, set back, of the last."""

    def make(**options):
        config = dataclasses.replace(tiny_train_config, **options)
        network, weights = networks(config.precision)
        for layer in network._flatten_layers():  # a stage alone would not pass it on
            layer.trainable = True
        network.set_weights(weights)
        return FasterRCNNTrainer(network, config)

    return make


@pytest.fixture
def make_known(make_trainer, monkeypatch):
    """Make trainers whose loss is `loss(scale, weights)`, the batch being the scale."""

    def make(loss=lambda scale, values: scale * sum(tf.reduce_sum(v) for v in values), **options):
        trainer = make_trainer(weight_decay=0.0, frozen_layers=("backbone", "rpn_head"), **options)
        values = trainer.network.trainable_variables

        def known_losses(batch, training, loss_mean=None):
            return {"known": loss(batch, [tf.convert_to_tensor(value) for value in values])}

        monkeypatch.setattr(trainer, "compute_losses", known_losses)
        monkeypatch.setattr(trainer, "_check_batches", lambda batches, argument: batches)
        return trainer

    return make
