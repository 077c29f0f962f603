"""RoI pooling from gathers and arithmetic, for one picture: TFLite has no `crop_and_resize`.

The bilinear operators of `ops.roi_pool` read the same 2 x 2 points of every bin, and where a point
lies outside of the map, the nearest cell up to one cell away and 0 beyond. They differ in where a
bin begins and in what they make of its four points: `crop_and_resize` their maximum, the two
`roi_align` their mean.
"""

from dataclasses import dataclass

import tensorflow as tf

from tf_frcnn.errors import ConfigError

_POINTS = 2  # along a side of a bin


@dataclass(frozen=True)
class BilinearOp:
    """What one of the bilinear operators does with its points.

    Attributes:
        takes_maximum: of a bin's points; otherwise their mean.
        is_aligned: samples are shifted by half a cell, so that they meet the cells' centres; where
            they are not, no RoI is smaller than 1 x 1 cells.
    """

    takes_maximum: bool
    is_aligned: bool


BILINEAR_OPS = {
    "crop_and_resize": BilinearOp(takes_maximum=True, is_aligned=True),
    "roi_align": BilinearOp(takes_maximum=False, is_aligned=False),
    "roi_align_aligned": BilinearOp(takes_maximum=False, is_aligned=True),
}


def check_roi_op(name: str) -> None:
    """Check that a RoI operator can be built from what TFLite has.

    Args:
        name: the configuration's `model.roi_op`.

    Raises:
        ConfigError: it cannot.
    """
    if name not in BILINEAR_OPS:
        raise ConfigError(
            f"model.roi_op {name}: cannot be converted: TFLite has no maximum over "
            f"bins of different sizes. Expected a model with one of {', '.join(BILINEAR_OPS)}: "
            "train it with --model.roi-op crop_and_resize, or use the SavedModel."
        )


def pool_rois(
    features: tf.Tensor, boxes: tf.Tensor, stride: float, op: str, output_size: int = 7
) -> tf.Tensor:
    """Pool the features inside each RoI, as `ROI_OPS[op]` does for a batch.

    Args:
        features: [1, h, w, C] float32; all sides are static.
        boxes: [R, 4] float32 yxyx boxes in pixels of the network's input. An empty (padding) box
            gives finite values.
        stride: pixels of the network's input a cell of the map.
        op: a key of `BILINEAR_OPS`.
        output_size: S, bins along a side of the result.

    Returns:
        [1, R, S, S, C] float32.
    """
    operator = BILINEAR_OPS[op]
    _, num_rows, num_cols, num_channels = features.shape
    cells = tf.reshape(features, [num_rows * num_cols, num_channels])
    y1, x1, y2, x2 = tf.unstack(boxes * (1.0 / stride), axis=1)  # [R] each
    rows = _point_taps(y1, y2, output_size, operator.is_aligned, num_rows)
    cols = _point_taps(x1, x2, output_size, operator.is_aligned, num_cols)
    points = [_sample(cells, row, col, num_cols) for row in rows for col in cols]
    pooled = points[0]
    for point in points[1:]:
        pooled = tf.maximum(pooled, point) if operator.takes_maximum else pooled + point
    if not operator.takes_maximum:
        pooled *= 1.0 / len(points)
    return tf.reshape(pooled, [1, boxes.shape[0], output_size, output_size, num_channels])


# One of the points along an axis: (cell, weight) of its two neighbours, [R, S] int32 and float32.
_Taps = list[tuple[tf.Tensor, tf.Tensor]]


def _point_taps(
    start: tf.Tensor, stop: tf.Tensor, output_size: int, is_aligned: bool, num_cells: int
) -> list[_Taps]:
    """Find the cells, with their weights, between which each point of the bins lies along one axis.

    Args:
        start: [R] float32, where RoIs begin, in cells.
        stop: [R] float32, where they end.
        output_size: S, number of bins.
        is_aligned: as in `BilinearOp`.
        num_cells: length of the feature map along this axis.

    Returns:
        The taps of the first points of all bins, those of the second, ...
    """
    length = stop - start if is_aligned else tf.maximum(stop - start, 1.0)
    bin_size = tf.expand_dims(length * (1.0 / output_size), 1)  # [R, 1]
    first_edge = tf.expand_dims(start - (0.5 if is_aligned else 0.0), 1)
    points = []
    for point in range(_POINTS):
        bins = tf.range(output_size, dtype=tf.float32) + (point + 0.5) / _POINTS
        position = first_edge + bins * bin_size  # [R, S]
        is_near = (position >= -1.0) & (position <= float(num_cells))
        weight = tf.cast(is_near, tf.float32)
        position = tf.clip_by_value(position, 0.0, num_cells - 1.0)
        low = tf.floor(position)
        low_cell = tf.cast(low, tf.int32)
        high_cell = tf.minimum(low_cell + 1, num_cells - 1)
        points.append(
            [(low_cell, weight * (1.0 - (position - low))), (high_cell, weight * (position - low))]
        )
    return points


def _sample(cells: tf.Tensor, rows: _Taps, cols: _Taps, num_cols: int) -> tf.Tensor:
    """Add up the four neighbours of one point of every bin -> [R * S * S, C]."""
    total = None
    for row, row_weight in rows:
        for col, col_weight in cols:
            index = tf.expand_dims(row * num_cols, 2) + tf.expand_dims(col, 1)  # [R, S, S]
            weight = tf.expand_dims(row_weight, 2) * tf.expand_dims(col_weight, 1)
            tap = tf.gather(cells, tf.reshape(index, [-1])) * tf.reshape(weight, [-1, 1])
            total = tap if total is None else total + tap
    return total
