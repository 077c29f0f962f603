"""Coverage by anchors: worked numbers, and a search of the whole grid as the oracle."""

from pathlib import Path

import numpy as np
import pytest

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.data.example import Example
from tf_frcnn.doctor.anchors import best_ious, map_sizes, resize_boxes, suggest_anchors
from tf_frcnn.iou import pairwise_iou

VGG16 = ARCHITECTURES["vgg16"]
PYRAMID = ARCHITECTURES["fasterrcnn_resnet50_fpn"]


def example(boxes, size=(100, 200), difficult=None):
    count = len(boxes)
    flags = np.zeros(count, bool) if difficult is None else np.array(difficult)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    ones = np.ones(count, np.int32)
    return Example("a", Path("a.png"), size, boxes, ones, flags, np.zeros(count, bool), "a.xml")


def test_boxes_move_with_their_image_and_difficult_ones_are_left_out():
    # 100 x 200, short side 50: scale 0.5 -> 50 x 100.
    resized = resize_boxes(
        [example([[10, 20, 30, 80], [0, 0, 9, 9]], difficult=[False, True])], 50, 1000
    )
    np.testing.assert_allclose(resized.boxes, [[5, 10, 15, 40]])
    np.testing.assert_array_equal(resized.image_sizes, [[50, 100]])


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
    np.testing.assert_allclose(best_ious(resized, sizes, ratios, VGG16), [expected])


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
    np.testing.assert_allclose(best_ious(resized, sizes, ratios, VGG16), expected, rtol=1e-6)


def test_the_suggestion_finds_the_shapes_that_the_boxes_have():
    # 20 high and 80 wide: size sqrt(1600) = 40; 40 high and 160 wide: 80; both ratio 0.25.
    boxes = [[14, 0, 34, 80], [30, 16, 70, 176]] * 10
    resized = resize_boxes([example(boxes)], 100, 200)
    sizes, ratios = suggest_anchors(resized, (300, 400), (1,), VGG16)
    assert (sizes, ratios) == ((40.0, 80.0), (0.25,))


def test_the_suggestion_is_never_worse_than_the_choice():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, [40, 100], (60, 2))
    boxes = np.concatenate([low, low + rng.uniform(4, [60, 100], (60, 2))], axis=1)
    resized = resize_boxes([example(boxes)], 100, 200)
    for sizes in [(16.0, 40.0), (8.0, 16.0, 32.0, 64.0)]:
        chosen = best_ious(resized, sizes, (0.5, 1, 2), VGG16)
        anchors = suggest_anchors(resized, sizes, (0.5, 1, 2), VGG16)
        suggested = best_ious(resized, *anchors, VGG16)
        assert sum((suggested >= t).mean() - (chosen >= t).mean() for t in (0.5, 0.7)) >= 0


def test_no_boxes_have_no_ious():
    assert best_ious(resize_boxes([example([])], 100, 200), (32,), (1,), VGG16).shape == (0,)


# === Several maps ===


def test_sizes_of_maps():
    # 50 x 100 is padded to 64 x 112 cells of 16; a pyramid's to 64 x 128, and its last map has
    # every second cell of 2 x 4: 1 x 2. 33 rows become 64 too.
    sizes = np.array([[50, 100], [33, 97]])
    assert [one.tolist() for one in map_sizes(VGG16, sizes)] == [[[4, 7], [3, 7]]]
    of_pyramid = [one[0].tolist() for one in map_sizes(PYRAMID, sizes)]
    assert of_pyramid == [[16, 32], [8, 16], [4, 8], [2, 4], [1, 2]]
    assert map_sizes(PYRAMID, np.array([[90, 96]]))[-1].tolist() == [[2, 2]]  # of 3 x 3


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # The first map, stride 4, has the size 8 alone, centred on multiples of 4: (12, 20) is one.
        ([8, 16, 16, 24], 1.0),
        # Centred on (14, 22), 2 off in both: 6 * 6 = 36 of 64 + 64 - 36.
        ([10, 18, 18, 26], 36 / 92),
        # The second, stride 8, has 16, centred on multiples of 8: (12, 24) lies 4 off (8, 24) and
        # (16, 24): 12 * 16 = 192 of 512 - 192.
        ([4, 16, 20, 32], 192 / 320),
    ],
)
def test_each_map_has_its_size_and_stride(box, expected):
    resized = resize_boxes([example([box])], 100, 200)
    sizes = (8, 16, 1000, 2000, 4000)
    np.testing.assert_allclose(best_ious(resized, sizes, (1,), PYRAMID), [expected])


def test_anchors_are_rounded_where_the_network_rounds_them():
    # 10 * sqrt(0.5) / 2 = 3.54 -> 4 and 10 / sqrt(0.5) / 2 = 7.07 -> 7: 8 x 14 round (12, 20).
    resized = resize_boxes([example([[8, 13, 16, 27]])], 100, 200)
    np.testing.assert_allclose(best_ious(resized, (10, 500, 900, 900, 900), (0.5,), PYRAMID), [1.0])


# One of those that have the same maps and the same grid.
DIFFERENT = {(one.strides, one.pixels, one.anchors): name for name, one in ARCHITECTURES.items()}


@pytest.mark.parametrize("name", sorted(DIFFERENT.values()))
def test_the_anchors_are_those_of_the_network(name):
    """As many maps, of the same sizes and strides: the network's own anchors are the oracle."""
    import tensorflow as tf

    from tf_frcnn.layers.anchor_generator import AnchorGenerator

    architecture = ARCHITECTURES[name]
    grid = architecture.anchors
    size, multiple = np.array([70, 133]), architecture.pixels.multiple
    pixels = tf.zeros([1, *(-(-size // multiple) * multiple), 3])
    maps = architecture.backbone("float32")(pixels)
    maps = tuple(maps) if isinstance(maps, list | tuple) else (maps,)
    sizes = tuple(7.0 * 2**number for number in range(len(maps) if grid.one_size_a_map else 3))
    ratios = (0.4, 1.0, 1.7)
    generator = AnchorGenerator(sizes, ratios, grid.offset, grid.rounded, grid.one_size_a_map)
    anchors = np.concatenate([one.numpy() for one in generator((pixels, maps))])
    rng = np.random.default_rng(1)
    low = rng.uniform(0, [50, 100], (40, 2))
    boxes = np.concatenate([low, low + rng.uniform(3, [20, 33], (40, 2))], axis=1)
    resized = resize_boxes([example(boxes, tuple(size))], 70, 133)
    expected = pairwise_iou(boxes.astype(np.float32), anchors).max(axis=1)
    found = best_ious(resized, sizes, ratios, architecture)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_suggestion_has_a_size_for_each_map():
    # 20 x 20 and 40 x 40 in turn, aligned with no cell: two sizes, and three more by doubling.
    boxes = [[11, 11, 31, 31], [13, 50, 53, 90]] * 10
    chosen = (300.0, 400.0, 500.0, 600.0, 700.0)
    resized = resize_boxes([example(boxes)], 100, 200)
    sizes, ratios = suggest_anchors(resized, chosen, (3.0,), PYRAMID)
    assert (sizes, ratios) == ((20.0, 40.0, 80.0, 160.0, 320.0), (1.0,))
