"""A progress bar on the terminal; where the output goes elsewhere, lines in the log or nothing."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich import progress
from rich.console import Console

from tf_frcnn.names import shown

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

_LOG_SECONDS = 10.0  # between two lines
_MAX_DESCRIPTION = 40  # letters


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """Yield items, and show how many of them are done.

    Args:
        items: what to go through.
        description: stands before the bar; may be a file's name.
        total: how many items there are; found out from their length where it is None.
    """
    console = Console(stderr=True)
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(show_speed=True),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield from bar.track(items, total, description=shown(description, _MAX_DESCRIPTION))


@contextmanager
def show_bytes(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many bytes are done: a bar on the terminal, else a line in the log now and then.

    Args:
        description: stands before the bar.
        total: how many there are; None where that is not known.

    Yields:
        What to call with the number of bytes that are done.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _byte_log(description, total)
        return
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)


def _byte_log(description: str, total: int | None) -> Callable[[int], None]:
    """Make what logs the number of bytes that are done, at most every `_LOG_SECONDS`."""
    last = time.monotonic()

    def log(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LOG_SECONDS:
            last = time.monotonic()
            of_total = "" if total is None else f" of {total / 1e6:.1f}"
            logger.info("%s: %.1f%s MB", description, done / 1e6, of_total)

    return log
