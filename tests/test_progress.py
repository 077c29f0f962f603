"""Bars that are shown to people alone."""

from tf_frcnn.progress import show_progress


def test_items_come_through_and_nothing_is_shown_without_a_terminal(capsys):
    assert list(show_progress(iter("abc"), "reading", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
