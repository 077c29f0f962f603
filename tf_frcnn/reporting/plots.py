"""Plots as SVG inside of an HTML page, in the page's own colours.

Letters and axes have the page's text colour (`currentColor`), so that a plot is as readable on a
dark page as on a light one; lines have colours of medium lightness.
"""

import io
import re
import warnings
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from tf_frcnn.evaluation.error_breakdown import CORRECT, MISSED, MISTAKES
from tf_frcnn.evaluation.voc import OperatingPoint, PrecisionRecall
from tf_frcnn.names import shown

OUTCOME_COLORS = {
    CORRECT: "#2A9D5C",
    "localisation": "#E69F00",
    "classification": "#CC79A7",
    "both": "#8E6BBF",
    "duplicate": "#56B4E9",
    "background": "#D55E00",
    MISSED: "#8A8F98",
}
_CURVE_COLOR, _POINT_COLOR = "#2E86D1", "#D55E00"
_GRID_COLOR = "#80808040"  # mostly transparent, for light and dark pages alike
_MAX_POINTS = 300  # of a curve; more cannot be told apart at its size
_MAX_NAME = 40  # letters beside a bar


def make_plot(size: tuple[float, float], x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Make a figure of (width, height) in inches with one pair of axes in a plain frame."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x_label, ylabel=y_label)
    style_axes(axes)
    return figure, axes


def style_axes(axes: Axes) -> None:
    """Give axes a plain frame: a light grid behind the data, no lines above and to the right."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=_GRID_COLOR, linewidth=0.8)
    axes.set_axisbelow(True)


def style_bars(axes: Axes, names: Sequence[str]) -> None:
    """Give horizontal bars of counts their axes: the first bar on top, whole numbers below.

    Args:
        axes: with bars at the heights 0, 1, 2 ...
        names: of the bars.
    """
    axes.set_yticks(range(len(names)), [shown(name, _MAX_NAME) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def precision_recall_svg(curve: PrecisionRecall, point: OperatingPoint) -> Markup:
    """Draw precision over recall, with the point of the best F1.

    Args:
        curve: of one class; may be without points.
        point: of the same class.
    """
    figure, axes = make_plot((3.2, 2.5), "recall", "precision")
    axes.set(xlim=(0.0, 1.02), ylim=(0.0, 1.05))
    last = len(curve.recall) - 1
    shown = np.unique(np.linspace(0, last, min(last + 1, _MAX_POINTS)).astype(int))
    axes.plot(curve.recall[shown], curve.precision[shown], color=_CURVE_COLOR, linewidth=1.8)
    if point.precision is not None and point.recall is not None:
        axes.plot([point.recall], [point.precision], "o", color=_POINT_COLOR, markersize=6)
    return figure_svg(figure)


def outcomes_svg(outcomes: Mapping[str, Mapping[str, int]]) -> Markup:
    """Draw what became of detections and boxes as one stacked bar per class.

    Args:
        outcomes: for each class the counts of `count_outcomes`.
    """
    size = (7.0, 1.1 + 0.36 * len(outcomes))
    figure, axes = make_plot(size, "detections and missed boxes", "")
    names = list(outcomes)
    left = np.zeros(len(names))
    for kind in (CORRECT, *MISTAKES, MISSED):
        counts = np.array([outcomes[name][kind] for name in names], float)
        color = OUTCOME_COLORS[kind]
        axes.barh(np.arange(len(names)), counts, left=left, color=color, height=0.66, label=kind)
        left += counts
    style_bars(axes, names)
    return figure_svg(figure, with_legend=True)


def figure_svg(figure: Figure, with_legend: bool = False) -> Markup:
    """Turn a figure into an `<svg>` element as wide as the page allows.

    Text stays text, in the page's font, so that it can be searched and read aloud. It is text and
    no formula, whatever is in it: a class may be called US$_$.

    Args:
        figure: what to show.
        with_legend: name above the plot whatever its axes give a label.
    """
    if with_legend and figure.axes[0].get_legend_handles_labels()[0]:
        figure.legend(
            loc="outside upper center",
            frameon=False,
            ncols=4,
            fontsize=9,
            handlelength=1,
            markerscale=2.5,
        )
    file = io.StringIO()
    # Neither a date nor random ids: the same figures give the same page. Letters are the page's:
    # whether matplotlib's font has them does not matter.
    with (
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "tf_frcnn", "text.parse_math": False}
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        for text in figure.findobj(Text):  # those that are there; others are made while it is drawn
            text.set_parse_math(False)
        figure.savefig(file, format="svg", facecolor="none", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]  # without the XML declaration, which HTML does not have
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(stroke|fill): #000000", r"\1: currentColor", svg)
    return Markup(re.sub(r"font: ([^;\"]*?)'[^\"]*?(?=[;\"])", r"font: \1inherit", svg))
