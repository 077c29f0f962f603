import math
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tf_frcnn.errors import DataError
from tf_frcnn.reporting.curves import plot_curves, smooth


def training_line(step, loss):
    return {
        "step": step,
        "loss": loss,
        "rpn_objectness": 0.4 * loss,
        "rpn_box": 0.1 * loss,
        "roi_class": 0.3 * loss,
        "roi_box": 0.2 * loss,
        "learning_rate": 0.001,
        "seconds_per_step": 1.2,
    }


def validation_line(step, loss):
    line = training_line(step, loss)
    return {"step": step} | {f"val_{name}": line[name] for name in list(line)[1:6]}


@pytest.fixture
def saved(monkeypatch):
    """The figures that were saved."""
    figures, savefig = [], Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def lines_of(axes):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]


def test_a_validation_on_a_sample_is_named_so(write_log, tmp_path, saved):
    sample = {"num_val_pictures": 500, "num_val_pictures_in_split": 5000}
    log = write_log(training_line(10, 3.0), {**validation_line(10, 2.5), **sample})
    plot_curves(log, tmp_path / "curves.png")
    loss, terms, _ = saved[0].axes
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (loss, terms)]
    assert labels[0] == ["training", "validation, 500 of 5,000 images"]
    # They are no terms of the loss.
    assert labels[1][-1] == "validation" and len(labels[1]) == 5


def test_missing_log_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(DataError, match=re.escape(f"{path}: cannot be read")):
        plot_curves(path, tmp_path / "curves.png")


def test_plot_shows_what_was_logged(write_log, tmp_path, saved):
    log = write_log(training_line(10, 3.0), training_line(20, 2.0), validation_line(20, 2.5))
    plot_curves(log, tmp_path / "curves.png")
    loss, terms, rate = saved[0].axes
    # Two points are too few to smooth: the raw and the smoothed line are the same.
    raw = ([10, 20], [3.0, 2.0])
    assert lines_of(loss) == [raw, raw, ([20], [2.5])]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    # A line and its validation for each term, and the sample in the legend.
    drawn = lines_of(terms)
    assert drawn[0] == ([10, 20], pytest.approx([0.4 * 3.0, 0.4 * 2.0]))
    assert drawn[1] == ([20], pytest.approx([0.4 * 2.5]))
    assert drawn[7] == ([20], pytest.approx([0.2 * 2.5]))
    assert len(terms.get_legend().get_texts()) == 5
    assert lines_of(rate) == [([10, 20], [0.001, 0.001])]
    assert rate.get_xlabel() == "step"
    assert loss.get_ylim()[1] > 3.0
    assert rate.get_xlim()[1] >= 20


def test_image_is_written_whole_and_alone(write_log, tmp_path):
    output = tmp_path / "run" / "curves.png"
    output.parent.mkdir()
    plot_curves(write_log(training_line(10, 3.0), training_line(20, 2.0)), output)
    with Image.open(output) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (1080, 1020))
        # Lines and text, not an empty page.
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert list(output.parent.iterdir()) == [output]


def test_failure_leaves_the_old_image(write_log, tmp_path, monkeypatch):
    output = tmp_path / "curves.png"
    output.write_bytes(b"old")

    def half(figure, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half)
    log = write_log(training_line(10, 3.0))
    with pytest.raises(OSError, match="disk full"):
        plot_curves(log, output)
    assert output.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [output, log]


@pytest.mark.parametrize(
    ("lines", "ending"),
    [
        ([training_line(10, 3.0)], "\n"),
        ([training_line(10, 3.0)], '\n{"step": 20, "lo'),
        ([validation_line(10, 3.0)], "\n"),
        ([training_line(step, 0.0) for step in (1, 2, 3)], "\n"),
        ([training_line(step, math.nan) for step in (1, 2, 3)], "\n"),
        ([], ""),
    ],
)
def test_short_and_odd_logs_can_be_drawn(write_log, tmp_path, saved, lines, ending):
    output = tmp_path / "curves.png"
    plot_curves(write_log(*lines, ending=ending), output)
    assert output.stat().st_size > 0
    bottom, top = saved[0].axes[0].get_ylim()
    assert bottom == 0.0 < top < math.inf


def test_single_line_is_visible_as_points(write_log, tmp_path, saved):
    plot_curves(write_log(training_line(10, 3.0)), tmp_path / "curves.png")
    loss, terms, _ = saved[0].axes
    assert [line.get_marker() for line in loss.get_lines()] == ["None", "o"]
    assert {line.get_marker() for line in terms.get_lines()} == {"o"}


def test_empty_log_says_so(write_log, tmp_path, saved):
    plot_curves(write_log(ending=""), tmp_path / "curves.png")
    assert [text.get_text() for text in saved[0].axes[0].texts] == ["nothing logged yet"]


def test_single_spike_does_not_flatten_the_curve(write_log, tmp_path, saved):
    lines = [training_line(step, 1000.0 if step == 500 else 2.0) for step in range(1, 1001)]
    plot_curves(write_log(*lines), tmp_path / "curves.png")
    # The smoothed spike: 1000 / (sqrt(2 pi) * 1000 / 60) + 2 = 26; 1.08 * 26 = 28.
    assert saved[0].axes[0].get_ylim()[1] == pytest.approx(28, abs=1)


def test_smooth_is_a_weighted_mean_of_neighbours():
    values = np.random.default_rng(0).normal(size=150)
    deviation = 150 / 60
    smoothed = smooth(values)
    for index in range(150):
        total = weight_sum = 0.0
        for other in range(max(0, index - 8), min(150, index + 9)):  # 3 deviations, rounded up
            weight = math.exp(-0.5 * ((other - index) / deviation) ** 2)
            total += weight * values[other]
            weight_sum += weight
        assert smoothed[index] == pytest.approx(total / weight_sum)


@pytest.mark.parametrize("length", [0, 1, 2, 17, 18, 19, 61, 200])
def test_smooth_keeps_length_and_level(length):
    np.testing.assert_allclose(smooth(np.full(length, 3.0)), np.full(length, 3.0))


def test_smooth_leaves_short_curves_alone():
    values = np.array([3.0, 1.0, 2.0])
    np.testing.assert_array_equal(smooth(values), values)
