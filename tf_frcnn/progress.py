"""A bar on the terminal, if there is one, for what takes a while."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def show_progress(
    items: Iterable[Item], description: str, total: float | None = None
) -> Iterable[Item]:
    """Show how far it is while items are gone through; on stderr, and to nobody but a person.

    Args:
        items: what is gone through.
        description: stands before the bar.
        total: how many they are, where they cannot tell themselves.

    Returns:
        The same items.
    """
    console = Console(stderr=True)
    return track(items, description, total, console=console, disable=not console.is_terminal)
