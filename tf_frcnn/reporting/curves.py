"""The curves of a training run, from its metrics.jsonl to one image.

Colours are of medium lightness: the report shows the same curves on light and dark pages.
"""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tf_frcnn.files import whole_file
from tf_frcnn.metrics_log import NUM_IN_SPLIT, NUM_VALIDATED, SKIPPED_STEPS, read_metrics
from tf_frcnn.reporting.plots import style_axes

# What a log has beside the terms of the loss.
_OTHER_FIGURES = (
    *("loss", "learning_rate", "seconds_per_step", "epoch", SKIPPED_STEPS),
    *(NUM_VALIDATED, NUM_IN_SPLIT),
)
_TITLES = {  # any other term goes by its name
    "rpn_objectness": "RPN objectness",
    "rpn_box": "RPN boxes",
    "roi_class": "box head classes",
    "roi_box": "box head boxes",
}

# Okabe and Ito: safe for colour-blind; taken in turn.
_TERM_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8A7A00")
_LOSS_COLOR, _RATE_COLOR = "#3B6FB6", "#808080"
_VALIDATION_COLOR = "#D55E00"
_SMOOTHING_SHARE = 1 / 60  # of the points: standard deviation of the smoothing kernel

Steps = Mapping[int, Mapping[str, float]]


def plot_curves(metrics_jsonl: Path, output: Path) -> None:
    """Write the curves of `draw_curves` as an image, under a temporary name first.

    Args:
        metrics_jsonl: the log of the run.
        output: the image to write, in the format of its extension.

    Raises:
        DataError: the log cannot be read.
    """
    figure = draw_curves(metrics_jsonl)
    with whole_file(output) as partial:
        figure.savefig(partial, format=output.suffix[1:])


def draw_curves(metrics_jsonl: Path) -> Figure:
    """Draw loss, its terms and the learning rate over the steps of a run.

    Args:
        metrics_jsonl: the log of the run; lines with `val_` names are its validation.

    Raises:
        DataError: the log cannot be read.
    """
    records = read_metrics(metrics_jsonl)
    figure = Figure(figsize=(9.0, 8.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # no window, and no state shared with pyplot
    loss_axes, term_axes, rate_axes = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [3.0, 3.0, 1.1]}
    )
    _draw_loss(loss_axes, records)
    _draw_terms(term_axes, records)
    _draw_learning_rate(rate_axes, records)
    rate_axes.set_xlabel("step")
    rate_axes.set_xlim(0, 1.02 * max(records, default=1))
    rate_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _draw_loss(axes: Axes, records: Steps) -> None:
    """Draw the whole loss: raw, smoothed, and that of the validation if there is one."""
    _style(axes, "Loss", "loss")
    steps, values = _series(records, "loss")
    axes.plot(steps, values, color=_LOSS_COLOR, alpha=0.3, linewidth=0.8)
    smoothed = smooth(values)
    axes.plot(
        steps, smoothed, color=_LOSS_COLOR, linewidth=2.0, label="training", marker=_marker(steps)
    )
    label = _name_validation(records)
    validation = _draw_validation(axes, records, "loss", _VALIDATION_COLOR, label)
    _limit(axes, values, smoothed, validation)
    _finish(axes, len(steps) + len(validation))


def _draw_terms(axes: Axes, records: Steps) -> None:
    """Draw the logged terms of the loss, smoothed, and those of the validation as points."""
    _style(axes, "Terms of the loss", "loss")
    drawn, validated = [np.zeros(0)], [np.zeros(0)]
    for name, color in zip(_find_terms(records), itertools.cycle(_TERM_COLORS), strict=False):
        steps, values = _series(records, name)
        smoothed = smooth(values)
        title, marker = _TITLES.get(name, name), _marker(steps)
        axes.plot(steps, smoothed, color=color, linewidth=1.8, label=title, marker=marker)
        drawn.append(smoothed)
        validated.append(_draw_validation(axes, records, name, color, None))
    if any(map(len, validated)):
        axes.plot([], [], "o", color="#777777", markersize=4.5, label="validation")
    everything = np.concatenate(drawn + validated)
    _limit(axes, everything)
    _finish(axes, len(everything))


def _name_validation(records: Steps) -> str:
    """Say what the validation losses are of, where it is not the whole split."""
    for values in records.values():
        if NUM_VALIDATED in values and NUM_IN_SPLIT in values:
            return f"validation, {values[NUM_VALIDATED]:,.0f} of {values[NUM_IN_SPLIT]:,.0f} images"
    return "validation"


def _find_terms(records: Steps) -> list[str]:
    """List the terms of the loss in a log, in the order in which it first has them."""
    names = dict.fromkeys(
        name.removeprefix("val_") for values in records.values() for name in values
    )
    return [name for name in names if name not in _OTHER_FIGURES]


def _draw_learning_rate(axes: Axes, records: Steps) -> None:
    """Draw the learning rate from 0 up."""
    _style(axes, "Learning rate", "rate")
    steps, values = _series(records, "learning_rate")
    axes.plot(steps, values, color=_RATE_COLOR, linewidth=1.6, marker=_marker(steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3))
    _limit(axes, values)


def _draw_validation(
    axes: Axes, records: Steps, name: str, color: str, label: str | None
) -> np.ndarray:
    """Draw the validation's values of one figure as joined points -> the values."""
    steps, values = _series(records, f"val_{name}")
    if len(steps):
        axes.plot(
            steps,
            values,
            "o-",
            color=color,
            markersize=4.5,
            linewidth=0.9,
            markeredgecolor="white",
            markeredgewidth=0.7,
            label=label,
        )
    return values


def _series(records: Steps, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Take one figure out of the records -> the steps [P] that have it, and its values [P]."""
    points = [(step, values[name]) for step, values in records.items() if name in values]
    steps, values = np.array(points, np.float64).reshape(-1, 2).T
    return steps, values


def smooth(values: np.ndarray) -> np.ndarray:
    """Smooth a curve by a Gaussian kernel over its neighbours.

    The kernel is centred, so that the curve does not lag behind as a running average would. At
    both ends the kernel is cut off and the rest of it weighted up.

    Args:
        values: [P] in the order of their steps.

    Returns:
        [P] float64; `values` themselves if there are too few to smooth.
    """
    deviation = len(values) * _SMOOTHING_SHARE
    radius = math.ceil(3.0 * deviation)
    if deviation < 0.3:  # the kernel would be a single point
        return values
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    weights = np.convolve(np.ones(len(values)), kernel, mode="same")
    return np.convolve(values, kernel, mode="same") / weights


def _marker(steps: np.ndarray) -> str:
    """Choose the marker: a series of a single point has no line to be seen."""
    return "o" if len(steps) == 1 else "None"


def _style(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_ylabel(label)
    style_axes(axes)


def _limit(axes: Axes, values: np.ndarray, *others: np.ndarray) -> None:
    """Show everything from 0 up, except single raw spikes that would flatten the rest."""
    tops = [float(np.max(series)) for series in others if len(series)]
    if len(values):
        tops.append(float(np.percentile(values, 99.0 if others else 100.0)))
    top = max(tops, default=0.0)
    axes.set_ylim(0.0, 1.08 * top if top > 0.0 else 1.0)


def _finish(axes: Axes, num_points: int) -> None:
    """Add the legend, or say that there is nothing to show yet."""
    if num_points:
        # Beside the title, where it covers nothing.
        axes.legend(
            frameon=False,
            fontsize=9,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.0,
            ncols=5,
            columnspacing=1.4,
            handlelength=1.5,
        )
    else:
        axes.text(0.5, 0.5, "nothing logged yet", transform=axes.transAxes, ha="center")
