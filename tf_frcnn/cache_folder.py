"""The folder in the user's cache where the project keeps what it can get again."""

import os
from pathlib import Path

HOME_VARIABLE = "TF_FRCNN_HOME"


def cache_folder() -> Path:
    """Name the folder: $TF_FRCNN_HOME, else $XDG_CACHE_HOME/tf_frcnn, else ~/.cache/tf_frcnn.

    It need not be there.

    Raises:
        RuntimeError: the user has no home.
    """
    if given := os.environ.get(HOME_VARIABLE):
        return Path(given).expanduser().absolute()
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: what is not absolute is to be ignored.
    cache = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    return cache / "tf_frcnn"
