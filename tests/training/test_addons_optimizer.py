"""Optimisers of TensorFlow Addons by name, `--train.optimizer addons:NAME`."""

import importlib.util

import pytest
import tensorflow as tf

from tf_frcnn.config import TrainConfig
from tf_frcnn.errors import ConfigError
from tf_frcnn.training.optimizer import build_optimizer


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_addons") is None,
    reason="needs TensorFlow Addons: the extra [addons], which brings TensorFlow 2.15",
)
def test_an_optimiser_of_addons_by_its_name():
    optimizer = build_optimizer(TrainConfig(optimizer="addons:LAMB", learning_rate=0.25))
    assert type(optimizer).__name__ == "LAMB"
    optimizer.build([tf.Variable(1.0)])
    assert optimizer._decayed_lr(tf.float32) == 0.25


@pytest.mark.parametrize(
    "options",
    [{"ema_momentum": 0.9}, {"precision": "mixed_float16"}],
    ids=lambda options: str(options),
)
def test_what_optimisers_of_addons_lack_is_told(options):
    with pytest.raises(ConfigError, match=r"not with --train\.optimizer addons:LAMB"):
        build_optimizer(TrainConfig(optimizer="addons:LAMB", **options))
