"""Coverage by anchors: worked numbers, and a search of the whole grid as the oracle."""

from pathlib import Path

import numpy as np
import pytest

from tf_frcnn.data.example import Example
from tf_frcnn.doctor.anchors import best_ious, resize_boxes, suggest_anchors


def example(boxes, size=(100, 200), difficult=None):
    count = len(boxes)
    flags = np.zeros(count, bool) if difficult is None else np.array(difficult)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    ones = np.ones(count, np.int32)
    return Example("a", Path("a.png"), size, boxes, ones, flags, np.zeros(count, bool), "a.xml")


def test_boxes_move_with_their_image_and_difficult_ones_are_left_out():
    # 100 x 200, short side 50: scale 0.5 -> 50 x 100; 50 / 16 -> 4 rows, 100 / 16 -> 7 columns.
    resized = resize_boxes(
        [example([[10, 20, 30, 80], [0, 0, 9, 9]], difficult=[False, True])], 50, 1000
    )
    np.testing.assert_allclose(resized.boxes, [[5, 10, 15, 40]])
    np.testing.assert_array_equal(resized.cells, [[4, 7]])


def test_the_long_side_limits_the_scale():
    # min(600 / 100, 400 / 200) = 2 -> 200 x 400.
    resized = resize_boxes([example([[10, 20, 30, 80]])], 600, 400)
    np.testing.assert_allclose(resized.boxes, [[20, 40, 60, 160]])


@pytest.mark.parametrize(
    ("box", "sizes", "ratios", "expected"),
    [
        # Centre (24, 40) is that of cell (1, 2): the anchor of 32 x 32 is the box itself.
        ([8, 24, 40, 56], [32], [1], 1.0),
        # The same centre, 16 high and 64 wide; 32 x 32 overlaps 16 * 32 = 512 of 1024 + 1024 - 512.
        ([16, 8, 32, 72], [32], [1], 512 / 1536),
        # Ratio = height / width = 1 / 4: 32 * 0.5 = 16 high, 32 / 0.5 = 64 wide: the box itself.
        ([16, 8, 32, 72], [32], [0.25], 1.0),
        ([16, 8, 32, 72], [32], [4, 0.25, 1], 1.0),
        # Corner of four cells: centre (32, 32), 8 off in both: 24 * 24 = 576 of 2048 - 576 = 1472.
        ([16, 16, 48, 48], [32], [1], 576 / 1472),
        # 4 x 4 in the middle of a cell, inside of the anchor of 16: 16 / 256.
        ([6, 6, 10, 10], [16, 64], [1], 16 / 256),
    ],
)
def test_best_iou_worked_out(box, sizes, ratios, expected):
    resized = resize_boxes([example([box])], 100, 200)  # scale 1
    np.testing.assert_allclose(best_ious(resized, sizes, ratios), [expected])


def test_best_iou_is_that_of_a_search_over_the_whole_grid():
    rng = np.random.default_rng(3)
    low = rng.uniform(0, [80, 170], (25, 2))
    boxes = np.concatenate([low, low + rng.uniform(3, [20, 30], (25, 2))], axis=1)
    resized = resize_boxes([example(boxes)], 100, 200)
    sizes, ratios = (9.0, 31.0), (0.4, 1.7)
    expected = []
    for ymin, xmin, ymax, xmax in boxes.astype(np.float32).astype(float):
        best = 0.0
        for row in range(7):  # 100 / 16 = 6.25
            for column in range(13):  # 200 / 16 = 12.5
                for size in sizes:
                    for ratio in ratios:
                        h, w = size * ratio**0.5 / 2, size / ratio**0.5 / 2
                        y, x = (row + 0.5) * 16, (column + 0.5) * 16
                        high = max(0.0, min(ymax, y + h) - max(ymin, y - h))
                        wide = max(0.0, min(xmax, x + w) - max(xmin, x - w))
                        area = (ymax - ymin) * (xmax - xmin)
                        best = max(best, high * wide / (area + size * size - high * wide))
        expected.append(best)
    np.testing.assert_allclose(best_ious(resized, sizes, ratios), expected, rtol=1e-6)


def test_the_suggestion_finds_the_shapes_that_the_boxes_have():
    # 20 high and 80 wide: size sqrt(1600) = 40; 40 high and 160 wide: 80; both ratio 0.25.
    boxes = [[14, 0, 34, 80], [30, 16, 70, 176]] * 10
    sizes, ratios = suggest_anchors(resize_boxes([example(boxes)], 100, 200), (300, 400), (1,))
    assert (sizes, ratios) == ((40.0, 80.0), (0.25,))


def test_the_suggestion_is_never_worse_than_the_choice():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, [40, 100], (60, 2))
    boxes = np.concatenate([low, low + rng.uniform(4, [60, 100], (60, 2))], axis=1)
    resized = resize_boxes([example(boxes)], 100, 200)
    for sizes in [(16.0, 40.0), (8.0, 16.0, 32.0, 64.0)]:
        chosen = best_ious(resized, sizes, (0.5, 1, 2))
        suggested = best_ious(resized, *suggest_anchors(resized, sizes, (0.5, 1, 2)))
        assert sum((suggested >= t).mean() - (chosen >= t).mean() for t in (0.5, 0.7)) >= 0


def test_no_boxes_have_no_ious():
    assert best_ious(resize_boxes([example([])], 100, 200), (32,), (1,)).shape == (0,)
