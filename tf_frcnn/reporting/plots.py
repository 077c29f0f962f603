"""Plots of a report as SVG that stands inside of an HTML page and takes on its colours.

Letters and axes have the page's own text colour (`currentColor`), so that a plot is as readable on
a dark page as on a light one; lines have colours of middling lightness.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tf_frcnn.evaluation.error_breakdown import CORRECT, MISSED, MISTAKES
from tf_frcnn.evaluation.operating_point import OperatingPoint
from tf_frcnn.evaluation.voc import PrecisionRecall
from tf_frcnn.reporting.curves import draw_curves

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
_GRID_COLOR = "#80808040"  # mostly transparent, for light and dark alike
_MAX_POINTS = 300  # of a curve; more cannot be told apart at its size


def precision_recall_svg(curve: PrecisionRecall, point: OperatingPoint) -> str:
    """Draw precision over recall, with the point of the best F1.

    Args:
        curve: of one class; may be without points.
        point: of the same class.
    """
    figure = Figure(figsize=(3.2, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0.0, 1.02), ylim=(0.0, 1.05), xlabel="recall", ylabel="precision")
    _style(axes)
    last = len(curve.recall) - 1
    shown = np.unique(np.linspace(0, last, min(last + 1, _MAX_POINTS)).astype(int))
    axes.plot(curve.recall[shown], curve.precision[shown], color=_CURVE_COLOR, linewidth=1.8)
    if point.precision is not None and point.recall is not None:
        axes.plot([point.recall], [point.precision], "o", color=_POINT_COLOR, markersize=6)
    return figure_svg(figure)


def outcomes_svg(outcomes: Mapping[str, Mapping[str, int]]) -> str:
    """Draw what became of detections and boxes as one stacked bar a class.

    Args:
        outcomes: for each class the counts of `count_outcomes`.
    """
    figure = Figure(figsize=(7.0, 1.1 + 0.36 * len(outcomes)), layout="constrained")
    axes = figure.subplots()
    _style(axes)
    names = list(outcomes)
    left = np.zeros(len(names))
    for kind in (CORRECT, *MISTAKES, MISSED):
        counts = np.array([outcomes[name][kind] for name in names], float)
        axes.barh(names, counts, left=left, color=OUTCOME_COLORS[kind], height=0.66, label=kind)
        left += counts
    axes.invert_yaxis()  # the first class on top, as in the table
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("detections and missed boxes")
    figure.legend(loc="outside upper center", frameon=False, ncols=4, fontsize=9, handlelength=1.0)
    return figure_svg(figure)


def training_svg(metrics_jsonl: Path) -> str:
    """Draw the losses of a training run.

    Raises:
        DataError: the log cannot be read.
    """
    return figure_svg(draw_curves(metrics_jsonl))


def figure_svg(figure: Figure) -> str:
    """Turn a figure into an `<svg>` element as wide as the page lets it be.

    Text stays text, in the page's font, to be searched and read aloud.
    """
    file = io.StringIO()
    # Neither a date nor random ids: the same figures give the same page.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tf_frcnn"}):
        figure.savefig(file, format="svg", facecolor="none", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]  # without the XML declaration, which HTML does not have
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(stroke|fill): #000000", r"\1: currentColor", svg)
    return re.sub(r"font: ([^;\"]*?)'[^\"]*?(?=[;\"])", r"font: \1inherit", svg)


def _style(axes: Axes) -> None:
    """Give axes a quiet frame."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=_GRID_COLOR, linewidth=0.8)
    axes.set_axisbelow(True)
