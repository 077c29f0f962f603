"""The weights of a trained model, put into a network from wherever the model lies."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_frcnn.checkpoint_folder import restore_latest
from tf_frcnn.checkpoints import BEST_FILE, load_checkpoint, named_weights
from tf_frcnn.errors import WeightsError
from tf_frcnn.model_files import ModelFiles
from tf_frcnn.pretrained.torch_file import read_state_dict
from tf_frcnn.pretrained.torchvision import load_state_dict
from tf_frcnn.run_folder import RunFolder

logger = logging.getLogger(__name__)

# Where an export keeps a variable: NAME is that of `named_weights`, its slash written as ".S".
_EXPORTED_VARIABLE = "weights/{}/.ATTRIBUTES/VARIABLE_VALUE"


def load_weights(model: ModelFiles, network: keras.Model) -> None:
    """Load the weights of a model into a network built for its configuration.

    Args:
        model: of a run the latest checkpoint that can be read is taken, or the best by validation
            where it was trained with `--train.export best`.
        network: takes them.

    Raises:
        WeightsError: the weights are missing, damaged or of another network; or the model is a
            frozen export, whose weights cannot be taken out.
        ConfigError: the model's configuration cannot be read.
    """
    _LOADERS[model.kind](model, network)


def _load_run(model: ModelFiles, network: keras.Model) -> None:
    run, config = RunFolder(model.path), model.load_config()
    best = run.checkpoints / BEST_FILE
    if config.train.export == "best" and best.is_file():
        step = _load_file(best, network)
    else:
        step = restore_latest(run.checkpoints, network).step
    if step == 0:
        raise WeightsError(
            f"{run.checkpoints}: holds no checkpoint. Expected a run that was trained, or at least "
            "stopped after its first step."
        )
    if not run.is_finished(config):
        logger.warning(
            "%s: the run is not finished; taking what it has, the weights of step %d of %d",
            *(model.path, step, config.train.steps),
        )


def _load_one_checkpoint(model: ModelFiles, network: keras.Model) -> None:
    _load_file(model.path, network)


def _load_file(path: Path, network: keras.Model) -> int:
    """Load a checkpoint -> its step."""
    try:
        return load_checkpoint(path, network).step
    except OSError as error:
        raise WeightsError(
            f"{path}: the checkpoint cannot be read ({error}). Expected a file that training "
            "wrote; give another one of the run, or the run's folder for the latest that can be "
            "read."
        ) from None


def _load_saved_model(model: ModelFiles, network: keras.Model) -> None:
    try:
        values = _read_variables(model, network)
    except WeightsError:
        raise
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise WeightsError(
            f"{model.path}: the SavedModel's variables cannot be read ({error}). Expected all "
            "files of the export; copy the whole folder again, or export anew."
        ) from None
    for name, variable in named_weights(network).items():
        variable.assign(values[name])


def _read_variables(model: ModelFiles, network: keras.Model) -> dict[str, np.ndarray]:
    """Read an export's variables by the names of `named_weights`, all or none."""
    reader = tf.train.load_checkpoint(str(model.path / "variables" / "variables"))
    stored = reader.get_variable_to_shape_map()
    if not any(key.startswith("weights/") for key in stored):
        run = model.load_config().output
        raise WeightsError(
            f"{model.path}: is a frozen export, in which the weights are constants that cannot be "
            f"taken out. Give the run that it was made from{f' ({run})' if run else ''}, one of "
            "its checkpoints, or an export without --freeze."
        )
    values = {}
    for name, variable in named_weights(network).items():
        key = _EXPORTED_VARIABLE.format(name.replace("/", ".S"))
        if stored.get(key) != list(variable.shape):
            found = f"of shape {stored[key]}" if key in stored else "missing"
            raise WeightsError(
                f"{model.path}: variable {name} is {found}, expected one of shape "
                f"{list(variable.shape)}; the variables are not those of assets/config.json. "
                "Export anew."
            )
        values[name] = reader.get_tensor(key)
    return values


def _load_published(model: ModelFiles, network: keras.Model) -> None:
    if model.published is None:
        raise ValueError("published weights are not described.")
    arrays = read_state_dict(model.path)
    load_state_dict(network, arrays, str(model.path), model.published.epsilon)


_LOADERS: Mapping[str, Callable[[ModelFiles, keras.Model], None]] = {
    "run": _load_run,
    "checkpoint": _load_one_checkpoint,
    "saved_model": _load_saved_model,
    "published": _load_published,
}
