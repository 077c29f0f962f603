"""What is not trained: layers by the beginnings of their names, stages, batch normalisation."""

import logging
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.config import TrainConfig
from tf_frcnn.errors import ConfigError
from tf_frcnn.model import FasterRCNN

logger = logging.getLogger(__name__)

_LAYERS, _STAGES = "--train.frozen-layers", "--train.trainable-stages"
# Batch statistics of fewer images are too noisy to train with; ours, no one's figure.
_FEWEST_IMAGES = 8


def freeze_layers(network: FasterRCNN, config: TrainConfig) -> None:
    """Freeze what is not to be trained.

    Frozen batch normalisation uses its moving statistics and leaves them as they are. In a frozen
    stage whose normalisation is not frozen too, it goes by the batch's statistics, the moving ones
    follow, and scale and shift are kept: as torchvision fine-tunes its ResNet-50 v2.

    Args:
        network: built; its layers' `trainable` is set, and never set back.
        config: `frozen_layers` are beginnings of names: `block1` freezes block1_conv1 and
            block1_conv2, with their normalisation, and `backbone`, `rpn_head` and `box_head` a
            whole stage of the network; `trainable_stages` are the backbone's last.
            `normalization`: see `TrainConfig`; the images a device are counted by the strategy in
            whose scope this is called.

    Raises:
        ConfigError: a name is no layer's beginning, there are fewer stages, or nothing is left to
            train; or XLA is to compile what it can't.
    """
    check_trainable(network)
    layers = _layers_with_weights(network)
    for name in config.frozen_layers:
        matching = _matching(layers, name)
        if not matching:
            known = ", ".join(layer.name for layer in layers)
            raise ConfigError(
                f"{_LAYERS} {name}: no layer's name starts so. Expected beginnings of: {known}."
            )
        _freeze(matching)
    normalizations = [one for one in layers if isinstance(one, keras.layers.BatchNormalization)]
    is_frozen = _freezes_normalization(config)
    if normalizations and is_frozen:
        _freeze(normalizations)
    for name in _frozen_stages(network, config.trainable_stages):
        for layer in _matching(_layers_with_weights(network.backbone), name):
            if layer in normalizations and not is_frozen:
                _keep_scale_and_shift(layer)
            else:
                layer.trainable = False
    if not network.trainable_variables:
        raise ConfigError(
            f"{_LAYERS} {' '.join(config.frozen_layers)}: no layer is left to train. Name fewer "
            "layers."
        )
    _check_compiles(config, any(layer.trainable for layer in normalizations))
    if not normalizations and config.normalization != "batch":
        logger.warning(
            "--train.normalization %s: the network has no batch normalisation, so this changes "
            "nothing",
            config.normalization,
        )
    if normalizations and config.normalization == "auto":
        logger.info(
            "Batch normalisation: %s, as there are %s than %d images a device "
            "(--train.normalization)",
            *(("frozen", "fewer") if is_frozen else ("by the batch", "no fewer")),
            _FEWEST_IMAGES,
        )


def check_trainable(network: keras.Model) -> None:
    """See that there is something to train.

    Raises:
        ConfigError: no variable of the network is trainable.
    """
    if not network.trainable_variables:
        raise ConfigError(
            "network: nothing of it is trainable. Expected some layers whose trainable is True: "
            "set network.trainable = True, or that of the layers to train."
        )


def _check_compiles(config: TrainConfig, goes_by_the_batch: bool) -> None:
    """Refuse to compile statistics that replicas compute together: XLA cannot wait for the others.

    Raises:
        ConfigError: that is what is asked for.
    """
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if config.jit_compile and goes_by_the_batch and num_replicas > 1:
        raise ConfigError(
            f"--train.jit-compile: {num_replicas} replicas compute the statistics of batch "
            "normalisation together, which XLA does not compile. Leave it out, or keep the "
            "statistics: --train.normalization frozen."
        )


def _freezes_normalization(config: TrainConfig) -> bool:
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    few = config.batch_size < _FEWEST_IMAGES * num_replicas
    return config.normalization == "frozen" or (config.normalization == "auto" and few)


def _frozen_stages(network: FasterRCNN, trainable: int | None) -> list[str]:
    """List the beginnings of names of the stages that are not trained."""
    if trainable is None:
        return []
    stages = ARCHITECTURES[network.config.architecture].stages
    if trainable > len(stages):
        raise ConfigError(
            f"{_STAGES} {trainable}: expected at most {len(stages)}, the stages of the backbone of "
            f"{network.config.architecture}."
        )
    return [name for stage in stages[: len(stages) - trainable] for name in stage]


def _matching(layers: Iterable[Any], name: str) -> list[Any]:
    """Find the layers whose name starts so, and the normalisation of such convolutions."""
    return [layer for layer in layers if layer.name.startswith((name, f"bn_{name}"))]


def _freeze(layers: Iterable[Any]) -> None:
    for layer in layers:
        layer.trainable = False


def _keep_scale_and_shift(layer: Any) -> None:
    """Train a normalisation's statistics alone; frozen, it would not use the batch's."""
    kept = [layer.gamma, layer.beta]
    if hasattr(layer, "_trainable_weights"):  # Keras 2, whose variables cannot be told
        layer._trainable_weights.clear()
        layer._non_trainable_weights[:0] = kept
        return
    for variable in kept:
        variable.trainable = False


def _layers_with_weights(network: keras.Model) -> list[Any]:
    """List stages and the layers in them, leaving out those in which nothing can be frozen."""
    layers = network._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in layers if layer.weights]
