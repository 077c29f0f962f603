"""PyAV, which reads and writes videos and comes with the extra `[video]`."""

from typing import Any

from tf_frcnn.errors import UserError


def load_pyav() -> Any:
    """Import PyAV.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"videos are read with PyAV, which cannot be imported ({error}). Install it: "
            "python -m pip install -e '.[video]', or leave the videos out."
        ) from None
    return av
