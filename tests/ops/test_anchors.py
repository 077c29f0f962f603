"""Anchors: their sizes, their order, their places."""

import numpy as np
import tensorflow as tf

from tf_frcnn.ops.anchors import cell_anchors, grid_anchors

STRIDE = tf.constant([16.0, 16.0])


def height_and_width(anchors):
    return anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]


def test_aspect_ratio_is_height_over_width():
    # Area 10^2 = 100 and height / width = 4: 20 high, 5 wide.
    np.testing.assert_allclose(cell_anchors([10.0], [4.0]), [[-10, -2.5, 10, 2.5]])


def test_cell_anchors_are_ratio_major():
    # Ratio 0.25 with sizes 10, 20: 5 x 20, 10 x 40; then ratio 4: 20 x 5, 40 x 10.
    height, width = height_and_width(cell_anchors([10.0, 20.0], [0.25, 4.0]))
    np.testing.assert_allclose(height, [5, 10, 20, 40])
    np.testing.assert_allclose(width, [20, 40, 5, 10])


def test_the_papers_nine_anchors_are_not_rounded():
    anchors = cell_anchors([128.0, 256.0, 512.0], [0.5, 1.0, 2.0])
    assert anchors.shape == (9, 4) and anchors.dtype == np.float32
    height, width = height_and_width(anchors)
    np.testing.assert_allclose(height * width, [128**2, 256**2, 512**2] * 3, rtol=1e-5)
    np.testing.assert_allclose(height / width, np.repeat([0.5, 1, 2], 3), rtol=1e-5)
    # 128 * sqrt(0.5) = 90.50967 high, 128 / sqrt(0.5) = 181.01934 wide.
    np.testing.assert_allclose([height[0], width[0]], [90.50967, 181.01934], rtol=1e-6)
    np.testing.assert_allclose(anchors[:, :2], -anchors[:, 2:])


def test_anchor_centres_are_the_cells_centres():
    # 2 x 3 cells, stride 16: centres (8 or 24, 8, 24 or 40), columns faster than rows.
    anchors = grid_anchors(cell_anchors([8.0], [1.0]), tf.constant([2, 3]), STRIDE).numpy()
    centers = 0.5 * (anchors[:, :2] + anchors[:, 2:])
    expected = [[(i + 0.5) * 16, (j + 0.5) * 16] for i in range(2) for j in range(3)]
    np.testing.assert_array_equal(centers, expected)
    np.testing.assert_array_equal(anchors[4], [20, 20, 28, 28])  # 8 x 8 around (24, 24)


def test_anchors_of_a_cell_stay_together():
    cell = cell_anchors([8.0, 32.0], [0.5, 2.0])
    anchors = grid_anchors(cell, tf.constant([3, 2]), STRIDE).numpy()
    assert anchors.shape == (3 * 2 * 4, 4) and anchors.dtype == np.float32
    # Cell (2, 1) is the last: centre (40, 24).
    np.testing.assert_allclose(anchors[-4:], cell + [40, 24, 40, 24])
