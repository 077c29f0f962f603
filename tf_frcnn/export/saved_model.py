"""Export as a SavedModel that TensorFlow Serving and `tf.saved_model.load` understand."""

import dataclasses
import errno
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_frcnn.config import Config, save_config
from tf_frcnn.data.orientation import is_applied
from tf_frcnn.errors import UserError, advise
from tf_frcnn.export.signatures import make_signatures, matrices, plain_weights
from tf_frcnn.export.warmup import write_warmup_requests
from tf_frcnn.files import missing_folders, remove_empty, write_json
from tf_frcnn.given_files import reason_of
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model_files import LABELS_FILE

logger = logging.getLogger(__name__)

# Nothing is trained from an export, and gradients of constants cannot be written.
_SAVE_OPTIONS = tf.saved_model.SaveOptions(experimental_custom_gradients=False)


def export_saved_model(
    model: InferenceModel,
    config: Config,
    export_dir: Path,
    records: Mapping[str, Any] | None = None,
    frozen: bool = False,
    option: str = "--export-dir",
) -> Path:
    """Write the next version of a model, under a temporary name first, and rename it.

    `make_signatures` says what it answers. The configuration, the class names, a line each, and the
    records travel as the assets `config.json`, `labels.txt` and under their own names. The
    variables are kept by name, as `weights[LAYER/VARIABLE]`, and what is left of them in a frozen
    export as `matrices[LAYER/VARIABLE]`. Requests for a server's warm-up lie in
    `assets.extra`.

    Args:
        model: what is exported.
        config: of the run that trained it; of the network, what the model has counts.
        export_dir: folder of the versions; the new one is its highest number plus one.
        records: file name -> JSON value, what is known of the model: its figures, its data.
        frozen: write the variables as constants, all but the FC layers' kernels; nothing can take
            them out again.
        option: that named the folder, for messages.

    Returns:
        The version's folder.

    Raises:
        UserError: the folder cannot be written; no half-written version is left.
    """
    config = dataclasses.replace(config, model=model.network.config)
    partial = None
    missing = missing_folders(export_dir)
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
        number = 1 + max(_versions(export_dir), default=0)
        # A server that watches the folder looks at names that are numbers only.
        partial = Path(tempfile.mkdtemp(prefix=f".partial-{number}-", dir=export_dir))
        signatures = make_signatures(model, frozen, is_applied(config.data.exif))
        with tempfile.TemporaryDirectory(dir=partial) as assets:
            module = tf.Module()
            module.assets = _write_assets(Path(assets), config, records or {})
            if frozen:
                module.matrices = matrices(model)
            else:
                module.weights = plain_weights(model)
            tf.saved_model.save(module, str(partial), signatures, _SAVE_OPTIONS)
        write_warmup_requests(
            partial, export_dir.name, signatures, model.short_side, model.long_side
        )
        partial.chmod(0o755)  # mkdtemp's folders are private
        version = _rename_to_next(partial, export_dir, number)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"{export_dir}: the SavedModel cannot be written ({reason_of(error)}). "
            f"{advise(error)}, or give another {option}."
        ) from None
    finally:
        if partial is not None:  # it is there only if it was not renamed
            shutil.rmtree(partial, ignore_errors=True)
        remove_empty(missing)
    logger.info("exported the SavedModel to %s", version)
    return version


def _rename_to_next(partial: Path, export_dir: Path, number: int) -> Path:
    """Give a finished export the first number that is free: another one may have come between."""
    while True:
        version = export_dir / str(number)
        try:
            return partial.rename(version)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            number += 1


def _versions(export_dir: Path) -> list[int]:
    return [int(path.name) for path in export_dir.iterdir() if path.name.isdecimal()]


def _write_assets(
    folder: Path, config: Config, records: Mapping[str, Any]
) -> list[tf.saved_model.Asset]:
    labels = "".join(f"{name}\n" for name in config.data.classes)
    (folder / LABELS_FILE).write_text(labels, encoding="utf-8")
    save_config(config, folder / "config.json")
    for name, value in records.items():
        write_json(folder / name, value)
    return [tf.saved_model.Asset(str(path)) for path in sorted(folder.iterdir())]
