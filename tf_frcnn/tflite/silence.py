"""What libraries write past Python's logging, kept from the terminal."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_library_messages() -> Iterator[None]:
    """Keep back what is written to the standard error while this lasts.

    TFLite's converter and interpreter tell of every pass and delegate there, whatever the log level
    is. Set TF_CPP_MIN_LOG_LEVEL=0 to read it all the same.
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
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
