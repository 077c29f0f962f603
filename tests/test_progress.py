"""Bars that are shown to people alone."""

import io

from rich.console import Console

from tf_frcnn import progress
from tf_frcnn.progress import track


def test_items_come_through_and_nothing_is_shown_without_a_terminal(capsys):
    assert list(track(iter("abc"), "reading", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_bar_may_have_any_files_name(monkeypatch):
    # [/b] would end what was not begun, were it taken for markup.
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=200)
    monkeypatch.setattr(progress, "Console", lambda **options: console)
    name = "[/b]:cat:\udce9\n"
    assert list(progress.track("abc", name)) == ["a", "b", "c"]
    assert r"[/b]:cat:\xe9\n" in terminal.getvalue()
