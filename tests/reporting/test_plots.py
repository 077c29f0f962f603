"""Plots of names that matplotlib would take for something else."""

import re
from html import unescape

import pytest

from tf_frcnn.evaluation.error_breakdown import CORRECT, MISSED, MISTAKES
from tf_frcnn.reporting.plots import outcomes_svg

OUTCOMES = dict.fromkeys((CORRECT, *MISTAKES, MISSED), 1)


def texts_of(svg):
    return [unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg)]


@pytest.mark.parametrize(
    "name", ["US$_$", r"a\$b", "$x^2$", "$$", r"\frac", "<b>", "1", "nan", "_x", "%s", "{}", "猫"]
)
def test_a_name_is_text_in_a_plot(name, recwarn):
    texts = texts_of(outcomes_svg({name: OUTCOMES, "cat": OUTCOMES}))
    assert name in texts and "cat" in texts
    assert not recwarn.list  # of letters that matplotlib's own font lacks


def test_of_long_names_that_begin_and_end_alike_each_has_a_bar():
    names = ["x" * 50 + middle + "x" * 50 for middle in "ab"]
    svg = outcomes_svg({name: OUTCOMES for name in names})
    # (40 - 5) // 2 = 17 letters of either end.
    assert texts_of(svg).count("x" * 17 + " ... " + "x" * 17) == 2
