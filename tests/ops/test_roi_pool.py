"""RoI operators against torchvision's answers, NumPy loops and numbers worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_frcnn.ops.roi_pool import ROI_OPS, crop_and_resize_pool, roi_align, roi_max_pool

FIXTURES = Path(__file__).parents[1] / "fixtures" / "roi_torchvision.npz"
STRIDE = 16
ALL_OPS = pytest.mark.parametrize("name", sorted(ROI_OPS))
DYNAMIC = (tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, 4]))


def random_features(*shape, seed=0):
    """Draw features whose values all differ, 0.05 apart at least in maps of up to 40 values."""
    num_values = math.prod(shape)
    values = np.random.default_rng(seed).permutation(num_values) / num_values * 2 - 1
    return tf.constant(values.reshape(shape), tf.float32)


def pool_with_gradient(pool, features, boxes, cotangent=None, **options):
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = pool(features, boxes, STRIDE, **options)
    gradient = tape.gradient(pooled, features, output_gradients=cotangent)
    return pooled, tf.convert_to_tensor(gradient)


def round_half_away(x):
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def quantised_max_pool(features, box, size):
    """Pool one [h, w] map over one box, cell by cell, in exact integer arithmetic."""
    top, left, bottom, right = (round_half_away(edge / STRIDE) for edge in box)
    height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
    pooled = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            values = [
                features[row, col]
                for row in range(top + i * height // size, top - (-(i + 1) * height // size))
                for col in range(left + j * width // size, left - (-(j + 1) * width // size))
                if 0 <= row < features.shape[0] and 0 <= col < features.shape[1]
            ]
            pooled[i, j] = max(values, default=0.0)
    return pooled


@pytest.mark.parametrize("name", ["roi_pool", "roi_align", "roi_align_aligned"])
@pytest.mark.parametrize("in_graph", [False, True])
def test_equals_torchvision_forward_and_gradient(name, in_graph):
    # In a graph, too: its optimiser replaces divisions, and bins depend on the last bit.
    fixtures = np.load(FIXTURES)

    def run(features, boxes):
        return pool_with_gradient(ROI_OPS[name], features, boxes, fixtures["cotangent"])

    run = tf.function(run, input_signature=DYNAMIC) if in_graph else run
    pooled, gradient = run(tf.constant(fixtures["features"]), tf.constant(fixtures["boxes"]))
    np.testing.assert_allclose(pooled, fixtures[f"{name}_output"], rtol=0, atol=1e-5)
    # Sums of up to 14, in another order.
    np.testing.assert_allclose(gradient, fixtures[f"{name}_gradient"], rtol=2e-6, atol=1e-5)


def test_fixture_features_have_no_ties():
    features = np.load(FIXTURES)["features"]
    assert np.unique(features).size == features.size


def test_roi_max_pool_of_four_by_four_cells():
    features = tf.constant(
        [[99.0, 1, 2, 9], [99, 8, 3, 4], [99, 5, 6, 0], [99, 1, 2, 7]], tf.float32
    )
    # Rows 0 / 16 = 0 to 40 / 16 = 2.5, rounded to 3 (not to the even 2): 4 cells, 0-1 and 2-3.
    # Columns 16 / 16 = 1 to 48 / 16 = 3: 3 cells, bins of 1.5: 1 + [floor 0, ceil 1.5) = 1-2 and
    # 1 + [floor 1.5, ceil 3) = 2-3, sharing column 2.
    # max(1, 2, 8, 3) = 8; max(2, 9, 3, 4) = 9; max(5, 6, 1, 2) = 6; max(6, 0, 2, 7) = 7.
    pooled = roi_max_pool(features[None, :, :, None], tf.constant([[[0.0, 16, 40, 48]]]), STRIDE, 2)
    np.testing.assert_array_equal(pooled[0, 0, :, :, 0], [[8, 9], [6, 7]])


def test_roi_max_pool_gives_zero_where_the_map_ends():
    # Cells -2..1 in both directions, bins of 2 cells: only the last bin meets the (negative) map.
    features = -tf.reshape(tf.range(1.0, 16.0), [1, 3, 5, 1])
    pooled = roi_max_pool(features, tf.constant([[[-32.0, -32, 16, 16]]]), STRIDE, 2)
    np.testing.assert_array_equal(pooled[0, 0, :, :, 0], [[0, 0], [0, -1]])


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(*[st.integers(-14, 60).map(lambda quarter: quarter * 4.0)] * 4),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 4),
)
def test_roi_max_pool_equals_loops(boxes, size):
    # Edges on quarters of a cell: halves to be rounded, inverted boxes, boxes outside.
    features = random_features(1, 6, 9, 1)
    pooled = roi_max_pool(features, tf.constant([boxes], tf.float32), STRIDE, size)
    expected = [quantised_max_pool(features.numpy()[0, :, :, 0], box, size) for box in boxes]
    np.testing.assert_allclose(pooled[0, :, :, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("last_cell", [0, 1, 2, 3, 4])
def test_roi_max_pool_gives_a_tie_to_one_cell(last_cell):
    # All cells are equal: the whole gradient of a bin goes to its first cell.
    features = tf.zeros([1, 5, 5, 1])
    box = tf.constant([[[0.0, 0, last_cell * 16, 16]]])
    _, gradient = pool_with_gradient(roi_max_pool, features, box, output_size=1)
    expected = np.zeros([5, 5])
    expected[0, 0] = 1.0
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_roi_max_pool_gives_a_tie_to_the_first_window():
    # A bin of 3 x 3 cells is read as windows of 2 x 2. Cells (0, 2) and (1, 0) tie; the window in
    # the upper left corner holds (1, 0).
    features = tf.constant([[0.0, 0, 1], [1, 0, 0], [0, 0, 0]])[None, :, :, None]
    box = tf.constant([[[0.0, 0, 32, 32]]])
    _, gradient = pool_with_gradient(roi_max_pool, features, box, output_size=1)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_roi_max_pool_neither_loses_nor_doubles_gradient_of_ties():
    # As after a ReLU: most cells are 0. 20 boxes inside the map x 9 bins x 2 channels.
    rng = np.random.default_rng(1)
    features = tf.constant(np.maximum(rng.integers(-6, 3, (1, 12, 15, 2)), 0), tf.float32)
    corners = np.sort(rng.uniform(0, 11 * STRIDE, (1, 20, 2, 2)), axis=2)
    boxes = tf.constant(corners.reshape(1, 20, 4), tf.float32)
    _, gradient = pool_with_gradient(roi_max_pool, features, boxes, output_size=3)
    assert float(tf.reduce_sum(gradient)) == 20 * 9 * 2


def ramps(height, width):
    """Make a map with the channels x, y and -x of every cell."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return tf.constant(np.stack([x, y, -x], axis=-1)[None])


def test_crop_and_resize_pool_samples_bin_centres():
    # Rows 1..8: 14 bins of 0.5. Columns 2..5.5: 14 bins of 0.25. The centre of cell k is k + 0.5,
    # so the ramp's value at coordinate c is c - 0.5.
    # Columns: centres 2.125, 2.375, 2.625, ... -> values 1.625, 1.875, 2.125, ...; the larger of
    # every two is 1.875 + 0.5 j, the smaller 1.625 + 0.5 j. Rows: 1.25, 1.75, ... -> 1.25 + i.
    box = tf.constant([[[16.0, 32, 128, 88]]])
    pooled = crop_and_resize_pool(ramps(10, 8), box, STRIDE)[0, 0]
    row, col = np.mgrid[:7, :7]
    expected = np.stack([1.875 + 0.5 * col, 1.25 + row, -(1.625 + 0.5 * col)], axis=-1)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_crop_and_resize_pool_reads_border_cells_at_the_border():
    # Sample points less than half a cell inside the border have a cell on one side only.
    features = tf.fill([1, 4, 6, 2], -3.0)
    boxes = tf.constant([[[0.0, 0, 5, 9], [60, 90, 64, 96], [0, 0, 64, 96]]])
    np.testing.assert_allclose(crop_and_resize_pool(features, boxes, STRIDE), -3.0, rtol=1e-6)


@pytest.mark.parametrize("sampling_ratio", [1, 2, 3])
@pytest.mark.parametrize(("aligned", "shift"), [(True, -0.5), (False, 0.0)])
def test_roi_align_of_a_ramp_is_the_bin_centre(sampling_ratio, aligned, shift):
    # Rows 1..5 and columns 2..4, 2 x 2 bins: centres 2 and 4; 2.5 and 3.5. The mean of a ramp is
    # its value at the centre c: c - 0.5 if aligned, c otherwise.
    pooled = roi_align(
        ramps(9, 8), tf.constant([[[16.0, 32, 80, 64]]]), STRIDE, 2, sampling_ratio, aligned
    )
    np.testing.assert_allclose(pooled[0, 0, :, :, 0], shift + np.array([[2.5, 3.5]] * 2), rtol=1e-6)
    np.testing.assert_allclose(
        pooled[0, 0, :, :, 1], shift + np.array([[2.0, 2.0], [4.0, 4.0]]), rtol=1e-6
    )


def test_roi_align_compiles_under_xla():
    features, boxes = random_features(1, 6, 8, 3), tf.constant([[[10.0, 20, 70, 90]]])

    def run(features, boxes):
        return pool_with_gradient(roi_align, features, boxes)

    compiled = tf.function(run, jit_compile=True)
    for ours, plain in zip(compiled(features, boxes), run(features, boxes), strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-6)


@ALL_OPS
def test_images_of_a_batch_do_not_mix(name):
    features = random_features(2, 6, 9, 3)
    boxes = tf.constant(
        [[[0.0, 16, 50, 100], [20, 30, 90, 60]], [[8, 8, 80, 140], [40, 0, 96, 30]]]
    )
    together = ROI_OPS[name](features, boxes, STRIDE)
    for image in range(2):
        part = slice(image, image + 1)
        alone = ROI_OPS[name](features[part], boxes[part], STRIDE)
        np.testing.assert_allclose(together[part], alone, atol=1e-6)
    assert not np.allclose(together[0], together[1])


@ALL_OPS
def test_padding_and_inverted_boxes_stay_finite(name):
    boxes = tf.constant(
        [[[0.0, 0, 0, 0], [50, 60, 50, 60], [90, 60, 20, 10], [900, 900, 900, 900]]]
    )
    pooled, gradient = pool_with_gradient(ROI_OPS[name], random_features(1, 6, 9, 3), boxes)
    assert np.all(np.isfinite(pooled)) and np.all(np.isfinite(gradient))


@ALL_OPS
def test_a_map_of_one_cell(name):
    # The cell covers 0..16 pixels. Corners below 8 round to cell 0; samples read their only cell.
    boxes = tf.constant([[[0.0, 0, 7, 5], [0, 0, 4, 7]]])
    pooled = ROI_OPS[name](tf.fill([1, 1, 1, 3], 2.5), boxes, STRIDE, 2)
    np.testing.assert_allclose(pooled, np.full([1, 2, 2, 2, 3], 2.5), rtol=1e-6)


@ALL_OPS
def test_without_boxes(name):
    pooled, gradient = pool_with_gradient(
        ROI_OPS[name], random_features(2, 4, 5, 3), tf.zeros([2, 0, 4])
    )
    assert pooled.shape == (2, 0, 7, 7, 3)
    np.testing.assert_array_equal(gradient, np.zeros([2, 4, 5, 3]))


@ALL_OPS
def test_gradient_equals_finite_differences(name):
    # One run on 2 x 20 perturbed copies of the map; the values are far enough apart that a step
    # changes no maximum.
    features = random_features(1, 4, 5, 1)
    boxes = tf.constant([[[3.0, 5, 50, 41], [0, 20, 64, 80]]])
    weights = tf.random.stateless_normal([1, 2, 3, 3, 1], seed=(1, 2))
    _, gradient = pool_with_gradient(ROI_OPS[name], features, boxes, weights, output_size=3)

    step = 1e-3 * tf.reshape(tf.eye(20), [20, 4, 5, 1])
    maps = tf.concat([features + step, features - step], axis=0)
    pooled = ROI_OPS[name](maps, tf.repeat(boxes, 40, axis=0), STRIDE, 3)
    upper, lower = tf.split(tf.reduce_sum(pooled * weights, axis=[1, 2, 3, 4]), 2)
    numeric = tf.reshape((upper - lower) / 2e-3, [4, 5])
    np.testing.assert_allclose(gradient[0, :, :, 0], numeric, atol=5e-3)
    assert np.abs(gradient).max() > 0.1


@ALL_OPS
def test_graph_with_unknown_dimensions(name):
    graph = tf.function(lambda f, b: ROI_OPS[name](f, b, STRIDE), input_signature=DYNAMIC)
    assert graph.get_concrete_function().output_shapes.as_list() == [None, None, 7, 7, 3]
    for shape, num_boxes in (((1, 6, 9, 3), 4), ((2, 12, 5, 3), 1)):
        features = random_features(*shape)
        boxes = tf.tile(tf.constant([[[5.0, 10, 60, 75]]]), [shape[0], num_boxes, 1])
        eager = ROI_OPS[name](features, boxes, STRIDE)
        assert eager.shape == (shape[0], num_boxes, 7, 7, 3)
        np.testing.assert_allclose(graph(features, boxes), eager, atol=1e-5)


@ALL_OPS
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_precision_features(name, dtype):
    # Boxes at 1000 pixels, where a bfloat16 step is 4 pixels: only the features are rounded.
    features = tf.cast(random_features(1, 8, 70, 3), dtype)
    boxes = tf.constant([[[10.0, 1001, 90, 1086], [20, 1003, 90, 1030]]])
    pooled, gradient = pool_with_gradient(ROI_OPS[name], features, boxes)
    assert pooled.dtype == dtype and gradient.dtype == dtype
    in_float32 = ROI_OPS[name](tf.cast(features, tf.float32), boxes, STRIDE)
    np.testing.assert_array_equal(pooled, tf.cast(in_float32, dtype))


@ALL_OPS
def test_boxes_get_no_gradient(name):
    features, boxes = random_features(1, 6, 9, 3), tf.constant([[[5.0, 10, 60, 75]]])
    with tf.GradientTape() as tape:
        tape.watch([features, boxes])
        pooled = ROI_OPS[name](features, boxes, STRIDE)
    to_features, to_boxes = tape.gradient(pooled, [features, boxes])
    assert to_features is not None and to_boxes is None
