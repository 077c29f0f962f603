"""check_data.html: everything that check-data found on one page, with plots."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator

from tf_frcnn.data.example import Dataset
from tf_frcnn.doctor.check import DataCheck, box_sides, shown_counts
from tf_frcnn.doctor.remarks import list_remarks
from tf_frcnn.reporting.page import write_page
from tf_frcnn.reporting.plots import figure_svg, make_plot, style_bars

_COLORS = ("#2E86D1", "#E69F00", "#2A9D5C", "#CC79A7")  # of splits, and of anchors
_MAX_POINTS = 4000  # of a scatter plot: more only make the page many megabytes large
_MAX_CLASSES = 40  # bars that can be told apart


def write_check_page(path: Path, check: DataCheck) -> None:
    """Write the page, under a temporary name first.

    Args:
        path: the HTML file.
        check: what was found.
    """
    write_page(
        path,
        "check_data.html",
        title=Path(check.report["data"]["root"]).resolve().name,
        report=check.report,
        remarks=list_remarks(check.report),
        columns=shown_counts(check.report["splits"]),
        classes_plot=_classes_svg(check.datasets),
        plots={
            "Boxes an image": _boxes_an_image_svg(check.datasets),
            "Box sizes": _sizes_svg(check.datasets),
            "Aspect ratios": _aspect_ratios_svg(check.datasets),
        },
        coverage_plot=_coverage_svg(check.best_ious),
    )


def _classes_svg(datasets: Mapping[str, Dataset]) -> Markup:
    """Draw the boxes of each class as bars, one colour per split; only the commonest classes."""
    totals: dict[str, list[int]] = {}
    for index, dataset in enumerate(datasets.values()):
        counts = Counter(number for item in dataset.examples for number in item.classes.tolist())
        for number, name in enumerate(dataset.class_names, start=1):
            totals.setdefault(name, [0] * len(datasets))[index] = counts[number]
    names = sorted(totals, key=lambda name: -sum(totals[name]))[:_MAX_CLASSES]
    figure, axes = make_plot((7.0, 1.2 + 0.34 * len(names)), "boxes", "")
    left = np.zeros(len(names))
    for index, split in enumerate(datasets):
        lengths = np.array([totals[name][index] for name in names], float)
        axes.barh(
            *(np.arange(len(names)), lengths),
            left=left,
            height=0.66,
            color=_color(index),
            label=split,
        )
        left = left + lengths
    style_bars(axes, names)
    return figure_svg(figure, with_legend=True)


def _boxes_an_image_svg(datasets: Mapping[str, Dataset]) -> Markup:
    """Draw how many images have how many boxes, as shares of each split."""
    figure, axes = make_plot((4.6, 3.0), "boxes an image", "share of images")
    counts = {
        split: np.array([len(example.boxes) for example in dataset.examples])
        for split, dataset in datasets.items()
        if dataset.examples
    }
    most = max((int(number.max()) for number in counts.values()), default=0)
    step = max(1, -(-(most + 1) // 40))  # whole numbers, at most 40 bars
    edges = np.arange(0, most + step + 1, step) - 0.5
    _draw_shares(axes, counts, edges, list(datasets))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure_svg(figure, with_legend=True)


def _sizes_svg(datasets: Mapping[str, Dataset]) -> Markup:
    """Draw the boxes' widths and heights in pixels, on logarithmic axes."""
    figure, axes = make_plot((4.6, 3.0), "width, pixels", "height, pixels")
    axes.set(xscale="log", yscale="log")
    for index, (split, dataset) in enumerate(datasets.items()):
        sides = box_sides(dataset)
        shown = sides[:: max(1, -(-len(sides) * len(datasets) // _MAX_POINTS))]
        axes.scatter(
            shown[:, 1], shown[:, 0], s=7, alpha=0.5, linewidths=0, color=_color(index), label=split
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(base=10, subs=(1, 3)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_locator(LogLocator(base=10, subs=()))
    return figure_svg(figure, with_legend=True)


def _aspect_ratios_svg(datasets: Mapping[str, Dataset]) -> Markup:
    """Draw the boxes' height / width as shares of each split, on a logarithmic axis."""
    figure, axes = make_plot((4.6, 3.0), "height / width", "share of boxes")
    logs = {}
    for split, dataset in datasets.items():
        height, width = box_sides(dataset).T
        if len(height):
            logs[split] = np.clip(np.log2(height / width), -4, 4)
    _draw_shares(axes, logs, np.linspace(-4, 4, 41), list(datasets))
    marks = {-4: "≤1/16", -3: "1/8", -2: "1/4", -1: "1/2", 0: "1", 1: "2", 2: "4", 3: "8", 4: "≥16"}
    axes.set_xticks(list(marks), list(marks.values()))
    return figure_svg(figure, with_legend=True)


def _coverage_svg(best_ious: Mapping[str, np.ndarray]) -> Markup:
    """Draw the share of boxes that each set of anchors reaches, over the IoU asked for."""
    figure, axes = make_plot((6.4, 3.6), "IoU at least", "share of boxes")
    asked = np.linspace(0, 1, 101)
    for index, (name, ious) in enumerate(best_ious.items()):
        if len(ious):
            shares = (ious[:, None] >= asked).mean(axis=0)
            axes.plot(asked, shares, color=_color(index), linewidth=1.8, label=name)
    for threshold in (0.5, 0.7):
        axes.axvline(threshold, color="#8A8F98", linewidth=1, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1.03))
    return figure_svg(figure, with_legend=True)


def _draw_shares(
    axes: Axes, values: Mapping[str, np.ndarray], edges: np.ndarray, order: list[str]
) -> None:
    """Draw a histogram for each split as an outline, so that none hides another."""
    for split, numbers in values.items():
        shares = np.histogram(numbers, edges)[0] / len(numbers)
        color = _color(order.index(split))
        axes.stairs(shares, edges, color=color, linewidth=1.6, label=split)
        axes.stairs(shares, edges, color=color, alpha=0.15, fill=True)


def _color(index: int) -> str:
    return _COLORS[index % len(_COLORS)]
