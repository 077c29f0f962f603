"""RoI pooling by gathers: what each of the bilinear operators gives."""

import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.errors import ConfigError
from tf_frcnn.ops.roi_pool import ROI_OPS
from tf_frcnn.tflite.roi_pooling import BILINEAR_OPS, check_roi_op, pool_rois

# Higher than wide and wider than high; at the borders; less than a cell; beyond the map, as only
# `roi_align` reads, which makes no RoI smaller than a cell; and padding.
BOXES = np.array(
    [
        [10, 20, 70, 40],
        [3.7, 5.2, 21.9, 101.3],
        [0, 0, 80, 112],
        [60, 100, 80, 112],
        [33.1, 47.2, 33.9, 47.4],
        [79.5, 111.5, 80, 112],
        [0, 0, 0, 0],
    ],
    np.float32,
)


@pytest.mark.parametrize("op", sorted(BILINEAR_OPS))
@pytest.mark.parametrize("output_size", [7, 2])
def test_equals_the_operator_of_training(op, output_size):
    random = np.random.default_rng(1)
    features = tf.constant(random.normal(size=(1, 5, 7, 3)).astype(np.float32))
    found = pool_rois(features, tf.constant(BOXES), 16.0, op, output_size)
    expected = ROI_OPS[op](features, tf.constant(BOXES[None]), 16.0, output_size)
    assert found.shape == (1, len(BOXES), output_size, output_size, 3)
    # Values of size 1, added up in another order.
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_by_hand():
    # Cell (i, j) of 4 x 3 holds 10 i + j. The box spans rows 1 to 3 and columns 1 to 2 of the map,
    # in cells: S = 1 bin, points at a quarter and three quarters of it: rows 1.5 and 2.5, columns
    # 1.25 and 1.75, whose centres are at k + 0.5. So samples at rows 1 and 2, columns 0.75 and
    # 1.25: 10.75, 11.25, 20.75, 21.25.
    features = tf.constant([[[[10.0 * i + j] for j in range(3)] for i in range(4)]])
    boxes = tf.constant([[16.0, 16.0, 48.0, 32.0]])
    pooled = {op: pool_rois(features, boxes, 16.0, op, 1).numpy().item() for op in BILINEAR_OPS}
    assert pooled["crop_and_resize"] == pytest.approx(21.25)
    assert pooled["roi_align_aligned"] == pytest.approx((10.75 + 11.25 + 20.75 + 21.25) / 4)
    # Half a cell further down and right.
    assert pooled["roi_align"] == pytest.approx(16.0 + 5.0 + 0.5)


def test_a_map_of_one_cell():
    pooled = pool_rois(
        tf.fill([1, 1, 1, 2], 3.0), tf.constant([[0.0, 0.0, 9.0, 5.0]]), 16.0, "crop_and_resize"
    )
    np.testing.assert_array_equal(pooled, np.full((1, 1, 7, 7, 2), 3.0))


def test_the_quantised_operator_is_refused():
    with pytest.raises(
        ConfigError, match=r"model\.roi_op roi_pool: cannot be converted: .*--model"
    ):
        check_roi_op("roi_pool")
    for op in BILINEAR_OPS:
        check_roi_op(op)
    assert set(ROI_OPS) == {*BILINEAR_OPS, "roi_pool"}  # a new one must be decided about
