"""The weights of a trained model, put into a network from wherever the model lies."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tf_frcnn.checkpoint_folder import restore_latest, saved_step
from tf_frcnn.checkpoints import BEST_FILE, load_checkpoint, named_weights
from tf_frcnn.errors import WeightsError
from tf_frcnn.given_files import check_file, read_bytes, reason_of
from tf_frcnn.model_files import ModelFiles, explain_difference
from tf_frcnn.names import normalise_name, shown
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


def outcome_so_far(model: ModelFiles) -> dict[str, int]:
    """Say how far a run is that is not finished, and of which step the weights are that are taken.

    Returns:
        As `training.run.train_detector` at the end: steps, planned_steps, exported_step.
    """
    run, config = RunFolder(model.path), model.load_config()
    return {
        "steps": saved_step(run.checkpoints),
        "planned_steps": config.train.steps,
        "exported_step": saved_step(run.checkpoints, best=config.train.export == "best"),
    }


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
            f"{path}: the checkpoint cannot be read ({reason_of(error)}). Expected a file that "
            "training wrote; give another one of the run, or the run's folder for the latest that "
            "can be read."
        ) from None


def _load_saved_model(model: ModelFiles, network: keras.Model) -> None:
    with saved_model_read(model.path, only_values=True):
        values = _read_variables(model, network)
    check_class_names(model)
    for name, variable in named_weights(network).items():
        variable.assign(values[name])


@contextmanager
def saved_model_read(folder: Path, only_values: bool = False) -> Iterator[None]:
    """Say of a SavedModel that is read in the block what is wrong with it.

    Args:
        folder: of the version.
        only_values: of its files those of the variables are read, not the graph.

    Raises:
        WeightsError: a file is missing, damaged, cut short, or none that could be read to its end.
    """
    way_out = "Expected all files of the export; copy the whole folder again, or export anew."
    for path in folder.rglob("*"):
        try:
            if not path.is_dir():
                check_file(path)
        except OSError as error:
            raise WeightsError(f"{path}: {error.strerror}. {way_out}") from None
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # damaged files make TensorFlow raise nearly anything
        said = " ".join(str(error).split())
        what = f"saved_model.pb is damaged, cut short or of another TensorFlow ({shown(said, 200)})"
        if only_values or not _has_readable_values(folder):
            what = "the files in its folder variables are missing, damaged or cut short"
        raise WeightsError(f"{folder}: the SavedModel cannot be read: {what}. {way_out}") from None


def check_class_names(model: ModelFiles) -> None:
    """See that the classes in the assets of a SavedModel are those of its graph.

    Raises:
        WeightsError: they are not, or the graph cannot be read.
        ConfigError: the assets cannot be read.
    """
    expected = model.load_config().data.classes
    with saved_model_read(model.path):
        names = _class_names_in(model.path)
    if names not in (None, expected):
        raise WeightsError(
            f"{model.config_file}: names {explain_difference(expected, names)} in the graph of "
            "saved_model.pb. Expected the files of one export: copy the whole folder again, or "
            "export anew."
        )


def _class_names_in(folder: Path) -> tuple[str, ...] | None:
    """Find the names of classes 1..N in a graph, which has them as a constant behind an empty one.

    None where there is no such constant.
    """
    content = SavedModel.FromString(read_bytes(folder / "saved_model.pb"))
    for function in content.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op != "Const" or node.attr["dtype"].type != tf.string.as_datatype_enum:
                continue
            values = tf.make_ndarray(node.attr["value"].tensor)
            # What saves and restores has constants too, whose strings are all empty, or none is.
            if values.ndim == 1 and len(values) > 1 and not values[0] and all(values[1:]):
                names = (value.decode(errors="surrogateescape") for value in values[1:])
                return tuple(map(normalise_name, names))  # as those of a configuration are
    return None


def _has_readable_values(folder: Path) -> bool:
    """Read all variables of a SavedModel, whose checksums tell whether they are whole."""
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception:
        return False
    return True


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
    found = model.published
    level = logging.WARNING if found.is_epsilon_doubtful else logging.INFO
    logger.log(level, "%s", found.epsilon_remark)
    load_state_dict(network, read_state_dict(model.path), str(model.path), found.epsilon)


_LOADERS: Mapping[str, Callable[[ModelFiles, keras.Model], None]] = {
    "run": _load_run,
    "checkpoint": _load_one_checkpoint,
    "saved_model": _load_saved_model,
    "published": _load_published,
}
