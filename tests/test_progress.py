"""Bars that are shown to people alone."""

from tf_frcnn.progress import track


def test_items_come_through_and_nothing_is_shown_without_a_terminal(capsys):
    assert list(track(iter("abc"), "reading", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
