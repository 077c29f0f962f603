"""Feature maps of several strides: which RoI is pooled from which, and RoIAlign over all."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_frcnn.ops.builtin import builtin_operators_only
from tf_frcnn.ops.maps import assign_levels
from tf_frcnn.ops.roi_pool import ROIS_AT_ONCE, multiscale_roi_align, roi_align

STRIDES = (4, 8, 16, 32)


def square(side):
    return [10.0, 20.0, 10.0 + side, 20.0 + side]


@pytest.mark.parametrize(
    ("side", "level"),
    # Level 4 (index 2) begins at 224, level 3 at 112, level 5 at 448; the ends take the rest.
    [(1, 0), (55, 0), (112, 1), (223, 1), (224, 2), (447, 2), (448, 3), (5000, 3), (0, 0)],
)
def test_levels_of_squares(side, level):
    assert assign_levels(tf.constant([square(side)]), 2, 5).numpy().tolist() == [level]


def test_the_area_counts_not_the_sides():
    # 112 x 448 has the area of 224 x 224.
    assert assign_levels(tf.constant([[0.0, 0, 112, 448]]), 2, 5).numpy().tolist() == [2]


def test_maps_of_one_stride_are_read_by_the_first():
    # Two maps of stride 32, as MobileNet has them: level 5 is the first and the last.
    boxes = tf.constant([square(side) for side in (8, 300, 900)])
    assert assign_levels(boxes, 5, 5).numpy().tolist() == [0, 0, 0]


def align_by_loops(maps, strides, box, size=7, aligned=False):
    """Pool one box of one image: 2 x 2 samples a bin, a loop over the numbers of Mask R-CNN."""
    area = max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
    k = math.floor(4 + math.log2(math.sqrt(area) / 224) + 1e-6) if area else 0
    first, last = (round(math.log2(stride)) for stride in (strides[0], strides[-1]))
    level = min(max(k, first), last) - first
    features, stride = maps[level], strides[level]
    rows, cols, channels = features.shape
    offset = 0.5 if aligned else 0.0
    y1, x1, y2, x2 = (side / stride - offset for side in box)
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1.0), max(width, 1.0)
    pooled = np.zeros((size, size, channels))
    for i in range(size):
        for j in range(size):
            for a in (0.25, 0.75):
                for b in (0.25, 0.75):
                    y, x = y1 + (i + a) * height / size, x1 + (j + b) * width / size
                    if not (-1 <= y <= rows and -1 <= x <= cols):
                        continue
                    y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), cols - 1.0)
                    top, left = int(y), int(x)
                    below, right = min(top + 1, rows - 1), min(left + 1, cols - 1)
                    dy, dx = y - top, x - left
                    pooled[i, j] += 0.25 * (
                        (1 - dy) * (1 - dx) * features[top, left]
                        + (1 - dy) * dx * features[top, right]
                        + dy * (1 - dx) * features[below, left]
                        + dy * dx * features[below, right]
                    )
    return pooled


def draw_maps(num_images, height, width, strides=STRIDES, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return tuple(
        random.normal(size=(num_images, -(-height // s), -(-width // s), channels)).astype(
            np.float32
        )
        for s in strides
    )


@given(
    st.lists(
        st.tuples(*[st.floats(-120, 800, width=32)] * 2, *[st.floats(0, 700, width=32)] * 2),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=40)
def test_equals_a_loop_over_bins_on_boxes_of_all_sizes(corners_and_sides, aligned, by_gathers):
    # Zero-size boxes, and boxes across or outside of every border, are among them.
    boxes = np.float32([[y, x, y + h, x + w] for y, x, h, w in corners_and_sides])
    maps = draw_maps(1, 640, 800)
    with builtin_operators_only() if by_gathers else nullcontext():
        pooled = multiscale_roi_align(
            tuple(map(tf.constant, maps)), tf.constant(boxes[None]), STRIDES, aligned=aligned
        )
    for box, found in zip(boxes, pooled[0].numpy(), strict=True):
        area = max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
        exact = 4 + math.log2(math.sqrt(area) / 224) if area else 0.0
        if abs(exact - round(exact)) < 1e-5 and exact != 0.0:
            continue  # either map is right
        expected = align_by_loops([one[0] for one in maps], STRIDES, box.astype(float), 7, aligned)
        # float32 positions of up to 200 cells are off by 2e-5, and cells differ by up to 8. A
        # sample within that of the last cell it may read counts or does not.
        near_limit = np.abs(found - expected).max() > 1e-3 and _touches_a_limit(box, STRIDES)
        assert near_limit or np.abs(found - expected).max() < 1e-3


def _touches_a_limit(box, strides):
    """Tell whether a sample of the box lies where it begins to count as outside."""
    for stride, rows, cols in ((s, -(-640 // s), -(-800 // s)) for s in strides):
        for offset in (0.0, 0.5):
            for low, high, cells in ((box[0], box[2], rows), (box[1], box[3], cols)):
                length = max((high - low) / stride, 1.0) if offset == 0.0 else (high - low) / stride
                first = low / stride - offset
                positions = first + (np.arange(14) + 0.5) * length / 14
                if np.min(np.abs(positions + 1)) < 1e-3 or np.min(np.abs(positions - cells)) < 1e-3:
                    return True
    return False


def test_images_of_a_batch_read_their_own_maps():
    maps = tuple(map(tf.constant, draw_maps(2, 256, 320)))
    boxes = tf.constant([[square(30), square(150)], [square(220), square(60)]])
    together = multiscale_roi_align(maps, boxes, STRIDES)
    for image in range(2):
        part = slice(image, image + 1)
        alone = multiscale_roi_align(tuple(one[part] for one in maps), boxes[part], STRIDES)
        np.testing.assert_allclose(together[part], alone, atol=1e-6)


def test_lots_are_put_together_in_order():
    # More RoIs than are pooled at once, the last lot not full; each RoI alone gives the same.
    maps = tuple(map(tf.constant, draw_maps(1, 256, 320)))
    corner = np.random.default_rng(0).uniform(0, 150, (2 * ROIS_AT_ONCE + 3, 2))
    boxes = tf.constant(np.concatenate([corner, corner + 90], axis=1)[None].astype(np.float32))
    pooled = multiscale_roi_align(maps, boxes, STRIDES)
    assert pooled.shape == (1, 2 * ROIS_AT_ONCE + 3, 7, 7, 3)
    for index in (0, ROIS_AT_ONCE - 1, ROIS_AT_ONCE, 2 * ROIS_AT_ONCE + 2):
        alone = multiscale_roi_align(maps, boxes[:, index : index + 1], STRIDES)
        np.testing.assert_allclose(pooled[:, index : index + 1], alone, atol=1e-6)


def test_one_map_is_the_operator_of_one_map():
    (features,) = map(tf.constant, draw_maps(1, 96, 128, (16,)))
    boxes = tf.constant([[square(20), square(70)]])
    np.testing.assert_array_equal(
        multiscale_roi_align((features,), boxes, (16,)), roi_align(features, boxes, 16)
    )


def test_the_gradient_reaches_the_map_of_each_roi_alone():
    maps = tuple(map(tf.constant, draw_maps(1, 512, 512)))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = tf.reduce_sum(multiscale_roi_align(maps, tf.constant([[square(230)]]), STRIDES))
    gradients = [tf.convert_to_tensor(one).numpy() for one in tape.gradient(pooled, maps)]
    # 230 > 224: stride 16. Each bin's mean has weights that add up to 1: 49 bins, 3 channels.
    assert [bool(one.any()) for one in gradients] == [False, False, True, False]
    assert gradients[2].sum() == pytest.approx(49 * 3, rel=1e-5)


def test_the_gradient_is_that_of_a_linear_operator():
    # Of a linear f, <f(x), u> = <x, gradient of it>; with two images, all maps, several lots.
    maps = tuple(map(tf.constant, draw_maps(2, 256, 320)))
    random = np.random.default_rng(1)
    corner = random.uniform(-40, 250, (2, ROIS_AT_ONCE + 5, 2))
    boxes = np.concatenate([corner, corner + random.uniform(0, 500, corner.shape)], axis=2)
    upstream = random.normal(size=(2, ROIS_AT_ONCE + 5, 7, 7, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = multiscale_roi_align(maps, tf.constant(boxes, tf.float32), STRIDES)
    gradients = tape.gradient(pooled, maps, upstream)
    assert all(one.numpy().any() for one in gradients)
    products = [np.vdot(np.float64(m), np.float64(g)) for m, g in zip(maps, gradients, strict=True)]
    assert sum(products) == pytest.approx(np.vdot(np.float64(pooled), upstream), rel=1e-4)


def test_in_a_graph_of_unknown_sizes_and_compiled():
    maps = tuple(map(tf.constant, draw_maps(1, 256, 320)))
    boxes = tf.constant([[square(30), square(150)]])
    expected = multiscale_roi_align(maps, boxes, STRIDES)
    signature = [[tf.TensorSpec([None, None, None, 3])] * 4, tf.TensorSpec([None, None, 4])]
    graph = tf.function(
        lambda maps, boxes: multiscale_roi_align(tuple(maps), boxes, STRIDES),
        input_signature=signature,
    )
    np.testing.assert_allclose(graph(list(maps), boxes), expected, atol=1e-6)
    compiled = tf.function(
        lambda *maps: multiscale_roi_align(maps, boxes, STRIDES), jit_compile=True
    )
    np.testing.assert_allclose(compiled(*maps), expected, atol=1e-5)


def test_mixed_precision_computes_in_float32_and_answers_in_its_own():
    maps = tuple(tf.cast(one, tf.bfloat16) for one in draw_maps(1, 128, 128))
    pooled = multiscale_roi_align(maps, tf.constant([[square(40)]]), STRIDES)
    assert pooled.dtype == tf.bfloat16
