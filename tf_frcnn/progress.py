"""A progress bar on the terminal; nothing where the output goes elsewhere."""

from collections.abc import Iterable
from typing import TypeVar

from rich import progress
from rich.console import Console

Item = TypeVar("Item")


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """Yield items, and show how many of them are done.

    Args:
        items: what to go through.
        description: stands before the bar.
        total: how many items there are; found out from their length where it is None.
    """
    console = Console(stderr=True)
    return progress.track(
        items, description, total, console=console, disable=not console.is_terminal
    )
