"""Export as a SavedModel that TensorFlow Serving and `tf.saved_model.load` understand."""

import logging
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import Config, save_config
from tf_frcnn.errors import UserError
from tf_frcnn.inference import PictureDetector

logger = logging.getLogger(__name__)


def export_saved_model(detector: PictureDetector, config: Config, export_dir: Path) -> Path:
    """Write the next version of a model, under a temporary name first, and rename it.

    The signature `serving_default` takes `images` uint8 [B, H, W, 3] RGB of any B, H, W and answers
    what `PictureDetector.detect` does. The configuration and the class names, a line each, travel
    as the assets `config.json` and `labels.txt`. The variables are kept by name, as
    `weights[LAYER/VARIABLE]`.

    Args:
        detector: what is exported.
        config: of the run.
        export_dir: folder of the versions; the new one is its highest number plus one.

    Returns:
        The version's folder.

    Raises:
        UserError: the folder cannot be written; no half-written version is left.
    """
    partial = None
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
        version = export_dir / str(1 + max(_versions(export_dir), default=0))
        # A server that watches the folder looks at names that are numbers only.
        partial = Path(tempfile.mkdtemp(prefix=f".partial-{version.name}-", dir=export_dir))
        with tempfile.TemporaryDirectory() as assets:
            module = _serving_module(detector, config, Path(assets))
            tf.saved_model.save(
                module, str(partial), signatures={"serving_default": module.serving_default}
            )
        partial.chmod(0o755)  # mkdtemp's folders are private
        partial.rename(version)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"{export_dir}: the SavedModel cannot be written ({error}). "
            "Free some space, mend the permissions, or give another --export-dir."
        ) from None
    finally:
        if partial is not None:  # it is there only if it was not renamed
            shutil.rmtree(partial, ignore_errors=True)
    logger.info("exported the SavedModel to %s", version)
    return version


def _versions(export_dir: Path) -> list[int]:
    return [int(path.name) for path in export_dir.iterdir() if path.name.isdecimal()]


def _serving_module(detector: PictureDetector, config: Config, assets: Path) -> tf.Module:
    (assets / "labels.txt").write_text("\n".join(detector.class_names) + "\n", encoding="utf-8")
    save_config(config, assets / "config.json")
    module = tf.Module()
    # The variables themselves, not the Keras model around them: the file then needs no Keras.
    module.weights = {
        name: variable.value if isinstance(variable.value, tf.Variable) else variable
        for name, variable in named_weights(detector.detector).items()
    }
    module.assets = [
        tf.saved_model.Asset(str(assets / name)) for name in ("labels.txt", "config.json")
    ]
    module.serving_default = tf.function(
        detector.detect,
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")],
    )
    return module
