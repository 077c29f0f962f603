"""Keeps back what readers log while a data set is converted."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def errors_only(name: str = "") -> Iterator[None]:
    """Let a logger tell of errors alone while the block runs.

    Args:
        name: of the logger, whose modules it goes for too; "" is the one above all.
    """
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
