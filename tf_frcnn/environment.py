"""What a command checks and says first: backend, device, versions, seed."""

import json
import logging
import os
import platform
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.logging import RichHandler

from tf_frcnn.devices import (
    describe_device,
    explain_unused_card,
    grow_gpu_memory,
    leave_other_gpus_alone,
)
from tf_frcnn.errors import UserError

logger = logging.getLogger(__name__)


def set_up_logging() -> None:
    """Send the package's log to the terminal: a plain line each, in colour where there is one."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False)
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    package = logging.getLogger("tf_frcnn")
    package.handlers[:] = [handler]
    package.setLevel(logging.INFO)
    package.propagate = False
    # Its limit is the one of `data.image`, which refuses such an image in words.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def check_backend() -> None:
    """Make sure that Keras will run on TensorFlow, before it is imported.

    Raises:
        UserError: KERAS_BACKEND or Keras' own configuration file names another backend.
    """
    source, backend = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND")
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    if not backend:
        source, backend = str(home / "keras.json"), _configured_backend(home / "keras.json")
    if backend not in (None, "tensorflow"):
        raise UserError(
            f"{source} sets the Keras backend to {backend!r}: this detector runs on 'tensorflow' "
            "only. Set KERAS_BACKEND=tensorflow and try again."
        )


def _configured_backend(path: Path) -> str | None:
    try:
        configured = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # Keras makes the file anew then
        return None
    return configured.get("backend") if isinstance(configured, dict) else None


def load_tensorflow() -> None:
    """Check the backend and import TensorFlow without what its libraries say while they load.

    They write past Python's logging, whatever the log level, that there is no CUDA here; later on
    absl warns of what this project does on purpose, such as exports without the gradients of
    custom operators. Set TF_CPP_MIN_LOG_LEVEL=0 to read it all the same.

    Raises:
        UserError: see `check_backend`.
    """
    check_backend()
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import tensorflow  # noqa: F401

        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with without_library_messages():
        import tensorflow as tf

        tf.config.list_physical_devices()
        logging.getLogger("absl").setLevel(logging.ERROR)


@contextmanager
def without_library_messages() -> Iterator[None]:
    """Keep back what libraries write to the standard error, past Python's logging, for a while.

    An error that has no message of its own for the user, any but `UserError`, comes after all that
    they wrote. Set TF_CPP_MIN_LOG_LEVEL=0 to read it in any case.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            sys.stderr.flush()
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def set_up_tensorflow(seed: int = 0, deterministic: bool = False, all_gpus: bool = False) -> None:
    """Load TensorFlow, turn on GPU memory growth, seed all generators; log what there is.

    Args:
        seed: of Python's, NumPy's and TensorFlow's generators; weights are drawn from it.
        deterministic: let TensorFlow use only operations that give the same bits each time.
        all_gpus: use all of the machine, not the first alone.

    Raises:
        UserError: see `check_backend`.
    """
    load_tensorflow()
    import keras
    import tensorflow as tf

    if not all_gpus:
        leave_other_gpus_alone()
    grow_gpu_memory()
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)
    keras.utils.set_random_seed(seed)
    logger.info("device: %s", describe_device())
    if explanation := explain_unused_card():
        logger.warning("%s", explanation)
    logger.info(
        "versions: tf_frcnn %s, TensorFlow %s, Keras %s, NumPy %s, Python %s",
        metadata.version("tf_frcnn"),
        tf.__version__,
        keras.__version__,
        np.__version__,
        platform.python_version(),
    )
    logger.info("seed: %d", seed)
