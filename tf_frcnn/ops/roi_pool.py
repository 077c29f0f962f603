"""RoI pooling: from feature maps and boxes of any size to features of one size (Figure 2).

Published operators with the same first arguments, so that a layer picks one by its name in
`ROI_OPS`, or in `MULTISCALE_ROI_OPS` for several maps. All of them compute in float32, whatever the
type of the features, and give no gradient to the boxes.

Letters: B images, R RoIs an image, h x w feature-map cells, C channels, S bins along a side.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from tf_frcnn.ops.builtin import is_compiled, takes_builtin_only
from tf_frcnn.ops.crop_and_resize import crop_grids, pool_grids
from tf_frcnn.ops.maps import Maps, assign_levels

ROIS_AT_ONCE = 128
"""RoIs of an image that `multiscale_roi_align` pools at a time; four samples each of 256 channels
and 7 x 7 bins are 26 MB."""
_MAX_LEVEL = 15  # windows of 2 ** 15 cells are longer than any feature map


def crop_and_resize_pool(
    features: tf.Tensor, boxes: tf.Tensor, stride: float, output_size: int = 7
) -> tf.Tensor:
    """Sample 2S x 2S points of every box bilinearly, then keep the maximum of every 2 x 2.

    The points are the centres of 2S x 2S equal bins. `tf.image.crop_and_resize` wants the first
    and the last of them, and puts cell k at position k, whereas the centre of cell k lies at
    k + 0.5 in coordinates that start at the border of the map. So, in cells, with
    bin = (y2 - y1) / 2S:

        first point = y1 + 0.5 * bin - 0.5        last point = y2 - 0.5 * bin - 0.5

    It also wants them divided by the position of the last cell, size - 1. Dividing y1 and y2
    themselves samples half a cell too far down and right (tensorflow issue 26278).

    Points up to half a cell inside the border lie before position 0, which `crop_and_resize`
    reads as zero. The map is therefore framed by one copy of its outermost cells: a box at the
    border reads these, and positions shift by one. Points beyond the frame stay zero.

    Args:
        features: [B, h, w, C] floating-point feature map.
        boxes: [B, R, 4] float32 yxyx boxes in pixels of the network input. An empty (padding) box
            samples one point S x S times.
        stride: pixels of the network input per cell of the map.
        output_size: S, bins along a side of the result.

    Returns:
        [B, R, S, S, C] of the features' type.
    """
    frame = [[0, 0], [1, 1], [1, 1], [0, 0]]
    framed = tf.pad(tf.cast(features, tf.float32), frame, mode="SYMMETRIC")
    cells = tf.stop_gradient(boxes) * (1.0 / stride)
    top_left, bottom_right = tf.split(cells, 2, axis=-1)  # [B, R, 2] each
    half_bin = 0.5 * (bottom_right - top_left) / (2 * output_size)
    first = top_left + half_bin + 0.5  # - 0.5, + 1 for the frame
    last = bottom_right - half_bin + 0.5
    pooled = pool_grids(framed, first, last, output_size)  # [B * R, S, S, C]
    return _as_roi_features(pooled, features, boxes, output_size)


def roi_max_pool(
    features: tf.Tensor, boxes: tf.Tensor, stride: float, output_size: int = 7
) -> tf.Tensor:
    """Keep the maximum of every bin of whole cells (Fast R-CNN section 2.1).

    Equal to torchvision's `roi_pool` with spatial_scale = 1 / stride: corners are rounded to
    cells, the last one included, so that a RoI has at least 1 x 1 cells; bins round outwards and
    may share cells; a bin that the map does not meet is 0.

    Bins differ in size, which calls for a sparse table: it holds the maxima of all windows of
    2^i x 2^j cells, and every bin is the union of four such windows, one in each of its corners.
    They may overlap, which does no harm to a maximum.

    Where cells tie, one of them gets the whole gradient of the bin: the first of the four windows
    (row by row) that holds the maximum, and in it the first cell, row by row. torchvision takes
    the first cell of the whole bin.

    Args:
        features: [B, h, w, C] floating-point feature map.
        boxes: [B, R, 4] float32 yxyx boxes in pixels of the network input. An empty (padding) box
            counts as one cell.
        stride: pixels of the network input per cell of the map.
        output_size: S, bins along a side of the result.

    Returns:
        [B, R, S, S, C] of the features' type.
    """
    num_images, num_rows, num_cols = (_dimension(features, axis) for axis in range(3))
    y1, x1, y2, x2 = tf.unstack(tf.stop_gradient(boxes) * (1.0 / stride), axis=-1)  # [B, R] each
    top, bottom = _quantised_bins(y1, y2, output_size, num_rows)  # [B, R, S] each
    left, right = _quantised_bins(x1, x2, output_size, num_cols)
    row_level, col_level = _floor_log2(bottom - top), _floor_log2(right - left)

    table = _doubled_windows(tf.cast(features, tf.float32), tf.reduce_max(col_level))
    # [row levels, col levels, B, h, w, C]
    table = _doubled_windows(table, tf.reduce_max(row_level))
    flat_table = tf.reshape(table, [-1, _dimension(features, 3)])
    image = tf.reshape(tf.range(num_images), [-1, 1, 1, 1])
    level = _outer(row_level * tf.shape(table)[1], col_level, tf.add)  # [B, R, S, S]
    plane = (level * num_images + image) * num_rows

    def windows_at(row: tf.Tensor, col: tf.Tensor) -> tf.Tensor:
        """Read the windows that begin at these rows and columns, [B, R, S] each."""
        # Bins without cells may lie outside.
        row = tf.expand_dims(tf.clip_by_value(row, 0, num_rows - 1), 3)
        col = tf.expand_dims(tf.clip_by_value(col, 0, num_cols - 1), 2)
        return tf.gather(flat_table, (plane + row) * num_cols + col)

    last_row, last_col = bottom - 2**row_level, right - 2**col_level
    upper = tf.maximum(windows_at(top, left), windows_at(top, last_col))
    lower = tf.maximum(windows_at(last_row, left), windows_at(last_row, last_col))
    has_cells = tf.expand_dims(_outer(bottom > top, right > left, tf.logical_and), -1)
    pooled = tf.where(has_cells, tf.maximum(upper, lower), 0.0)
    return _as_roi_features(pooled, features, boxes, output_size)


def roi_align(
    features: tf.Tensor,
    boxes: tf.Tensor,
    stride: float,
    output_size: int = 7,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> tf.Tensor:
    """Average bilinear samples of every bin (Mask R-CNN section 3, "RoIAlign").

    Args:
        features: [B, h, w, C] floating-point feature map.
        boxes: [B, R, 4] float32 yxyx boxes in pixels of the network input.
        stride: pixels of the network input per cell of the map.
        output_size: as in `multiscale_roi_align`.
        sampling_ratio: as in `multiscale_roi_align`.
        aligned: as in `multiscale_roi_align`.

    Returns:
        [B, R, S, S, C] of the features' type.
    """
    return multiscale_roi_align((features,), boxes, (stride,), output_size, sampling_ratio, aligned)


def multiscale_roi_align(
    maps: Maps,
    boxes: tf.Tensor,
    strides: Sequence[float],
    output_size: int = 7,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> tf.Tensor:
    """Average bilinear samples of every bin, on the map that goes with the RoI's size.

    Equal to torchvision's `roi_align` with spatial_scale = 1 / stride and the same sampling_ratio;
    `assign_levels` chooses the map. A sample more than one cell from the first or last cell of the
    map is 0; nearer ones read that cell. `ROIS_AT_ONCE` RoIs are pooled at a time, one lot after
    the other, so that memory does not grow with their number.

    The samples are read by `tf.image.crop_and_resize`, or where XLA or TFLite cannot do that, by
    gathers and arithmetic, which take five times as long. The gradient is that of the gathers.

    Args:
        maps: L floating-point feature maps [B, h_l, w_l, C], fine to coarse.
        boxes: [B, R, 4] float32 yxyx boxes in pixels of the network input.
        strides: L pixels of the network input per cell of each map, powers of two if L > 1.
        output_size: S, bins along a side of the result.
        sampling_ratio: samples along a side of a bin, at least 1.
        aligned: True shifts the samples by half a cell, so that they meet the cells' centres, and
            lets an empty (padding) box sample one point. False is the original operator, which
            samples half a cell too far down and right and makes no RoI smaller than 1 x 1 cells.

    Returns:
        [B, R, S, S, C] of the maps' type.
    """
    boxes = tf.stop_gradient(boxes)
    if strides[0] == strides[-1]:  # no RoI is pooled from another map than the first
        maps, strides = maps[:1], strides[:1]
    samples = _Samples(tuple(strides), output_size, sampling_ratio, aligned)
    lots = [boxes]
    if boxes.shape[1] is not None and boxes.shape[1] > ROIS_AT_ONCE:
        starts = range(0, boxes.shape[1], ROIS_AT_ONCE)
        lots = [boxes[:, start : start + ROIS_AT_ONCE] for start in starts]

    @tf.custom_gradient
    def align(*maps: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
        by_gathers = takes_builtin_only() or is_compiled()
        pool = (_gathers if by_gathers else _crops)(maps, samples)
        pooled: list[tf.Tensor] = []
        for lot in lots:
            with tf.control_dependencies(pooled[-1:]):
                pooled.append(pool(tf.identity(lot)))

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            return _spread(maps, samples, lots, upstream)

        return pooled[0] if len(pooled) == 1 else tf.concat(pooled, axis=1), gradient

    pooled = align(*(tf.cast(one, tf.float32) for one in maps))
    return _as_roi_features(pooled, maps[0], boxes, output_size)


ROI_OPS: dict[str, Callable[..., tf.Tensor]] = {
    "crop_and_resize": crop_and_resize_pool,
    "roi_pool": roi_max_pool,
    "roi_align": roi_align,
    "roi_align_aligned": partial(roi_align, aligned=True),
}
"""Functions of (features, boxes, stride, output size), for a network with one map."""
MULTISCALE_ROI_OPS: dict[str, Callable[..., tf.Tensor]] = {
    "roi_align": multiscale_roi_align,
    "roi_align_aligned": partial(multiscale_roi_align, aligned=True),
}
"""Functions of (maps, boxes, strides, output size)."""


def _dimension(tensor: tf.Tensor, axis: int) -> int | tf.Tensor:
    """Give a dimension as a number where it is known before the graph runs, else as a tensor."""
    return tensor.shape[axis] if tensor.shape[axis] is not None else tf.shape(tensor)[axis]


def _as_roi_features(
    pooled: tf.Tensor, features: tf.Tensor, boxes: tf.Tensor, output_size: int
) -> tf.Tensor:
    """Shape pooled values as [B, R, S, S, C] of the features' type, with all that is static."""
    leading = [_dimension(boxes, 0), _dimension(boxes, 1), output_size, output_size]
    return tf.cast(tf.reshape(pooled, [*leading, _dimension(features, 3)]), features.dtype)


def _outer(
    rows: tf.Tensor, cols: tf.Tensor, combine: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Combine every row bin with every column bin: [B, R, S] and [B, R, S] to [B, R, S, S]."""
    return combine(tf.expand_dims(rows, 3), tf.expand_dims(cols, 2))


class _Samples(NamedTuple):
    """Which samples are taken of a box: the arguments of `multiscale_roi_align`."""

    strides: tuple[float, ...]
    output_size: int
    sampling_ratio: int
    aligned: bool

    def levels(self, boxes: tf.Tensor) -> tf.Tensor:
        """Choose the map of each box, [B, R] int32."""
        first, last = (round(math.log2(one)) for one in (self.strides[0], self.strides[-1]))
        return assign_levels(boxes, first, last)

    def span(self, start: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Give where the first bin begins and how long all are, of edges in cells."""
        length = stop - start
        return (start - 0.5, length) if self.aligned else (start, tf.maximum(length, 1.0))


def _crops(maps: Maps, samples: _Samples) -> Callable[[tf.Tensor], tf.Tensor]:
    """Make what pools boxes [B, R, 4] to [B, R, S, S, C] by `tf.image.crop_and_resize`.

    It reads points outside of the map as 0. A frame of one copy of the outermost cells makes the
    map end where samples begin to be 0, one cell further out.
    """
    framed = []
    for one in maps:
        # Faster than `tf.pad` with its mode SYMMETRIC.
        rows = tf.concat([one[:, :1], one, one[:, -1:]], axis=1)
        framed.append(tf.concat([rows[:, :, :1], rows, rows[:, :, -1:]], axis=2))
    ratio, size = samples.sampling_ratio, samples.output_size
    num_points = tf.constant(ratio * size)

    def pool(boxes: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(boxes)
        # In int64, whose arithmetic a GPU does itself.
        level, num_rois = tf.zeros(shape[:2], tf.int64), tf.cast(shape[1], tf.int64)
        if len(maps) > 1:
            level = tf.cast(samples.levels(boxes), tf.int64)
        places, pooled = [], []
        for number, (one, stride) in enumerate(zip(framed, samples.strides, strict=True)):
            place = tf.where(tf.equal(level, number))  # [n, 2]: image, RoI
            image = tf.cast(place[:, 0], tf.int32)
            corners = tf.split(tf.gather_nd(boxes, place) * (1.0 / stride), 2, axis=-1)
            start, length = samples.span(*corners)  # [n, 2]: y, x
            start += 1.0  # the frame
            margin = length * (0.5 / (ratio * size))
            first, last = start + margin, start + length - margin
            crops = crop_grids(one, first, last, image, num_points)
            pooled.append(tf.nn.avg_pool2d(crops, ratio, ratio, "VALID"))
            places.append(tf.cast(place[:, 0] * num_rois + place[:, 1], tf.int32))
        joined = pooled[0] if len(maps) == 1 else tf.dynamic_stitch(places, pooled)
        return tf.reshape(joined, [shape[0], shape[1], size, size, _dimension(maps[0], 3)])

    return pool


def _gathers(maps: Maps, samples: _Samples) -> Callable[[tf.Tensor], tf.Tensor]:
    """Make what pools boxes [B, R, 4] to [B, R, S, S, C] by gathers and arithmetic."""
    channels = [tf.reshape(one, [-1, _dimension(one, 3)]) for one in maps]
    cells = channels[0] if len(maps) == 1 else tf.concat(channels, axis=0)

    def pool(boxes: tf.Tensor) -> tf.Tensor:
        pooled = 0.0
        for index, weight in _taps(maps, boxes, samples):
            pooled += tf.expand_dims(weight, -1) * tf.gather(cells, index)
        return pooled

    return pool


def _spread(
    maps: Maps, samples: _Samples, lots: Sequence[tf.Tensor], upstream: tf.Tensor
) -> list[tf.Tensor]:
    """Give the gradient of each map: what is pooled from a cell, times its weights, added up.

    One tap of one lot after the other is added in place.
    """
    num_channels = _dimension(maps[0], 3)
    shapes = [tf.shape(one) for one in maps]
    sizes = [shape[0] * shape[1] * shape[2] for shape in shapes]  # a product would be on the GPU
    cells = tf.zeros([tf.add_n(sizes), num_channels])
    for number, lot in enumerate(lots):
        start = number * ROIS_AT_ONCE
        part = upstream if len(lots) == 1 else upstream[:, start : start + ROIS_AT_ONCE]
        for index, weight in _taps(maps, lot, samples, tf.int64):  # a GPU's own arithmetic
            with tf.control_dependencies([cells]):  # or all taps' shares would wait in memory
                weight = tf.expand_dims(tf.identity(weight), -1)
            shares = tf.reshape(weight * part, [-1, num_channels])
            cells = tf.tensor_scatter_nd_add(cells, tf.reshape(index, [-1, 1]), shares)
    gradients = tf.split(cells, sizes) if len(maps) > 1 else [cells]
    return [tf.reshape(gradient, shape) for gradient, shape in zip(gradients, shapes, strict=True)]


def _taps(
    maps: Maps, boxes: tf.Tensor, samples: _Samples, dtype: tf.DType = tf.int32
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Find the cells, with their weights, whose weighted sum is a bin.

    Yields pairs (index [B, R, S, S] of `dtype` in the list of the cells of all maps, weight
    [B, R, S, S] float32), 4 * sampling_ratio ** 2 in all.
    """
    num_images, rows, cols = (
        [one if isinstance(one, int) else tf.cast(one, dtype) for one in dimensions]
        for dimensions in ([_dimension(one, axis) for one in maps] for axis in range(3))
    )
    num_rows, num_cols, first_cell, scale = rows[0], cols[0], 0, 1.0 / samples.strides[0]
    if len(maps) > 1:
        level = samples.levels(boxes)  # [B, R]
        starts = [0]
        for row, col in zip(rows[:-1], cols[:-1], strict=True):
            starts.append(starts[-1] + num_images[0] * row * col)

        def of_level(values: Sequence[Any], kind: tf.DType) -> tf.Tensor:
            table = tf.stack([tf.cast(value, kind) for value in values])
            return tf.expand_dims(tf.gather(table, level), -1)  # [B, R, 1]

        num_rows, num_cols = of_level(rows, dtype), of_level(cols, dtype)
        first_cell = tf.expand_dims(of_level(starts, dtype), -1)
        scale = of_level([1.0 / stride for stride in samples.strides], tf.float32)
    top, left, bottom, right = tf.unstack(boxes * scale, axis=-1)
    # Rows before the image's first one in its map.
    first_row = tf.reshape(tf.range(num_images[0], dtype=dtype), [-1, 1, 1]) * num_rows
    col_taps = _bilinear_taps(left, right, samples, num_cols, dtype)
    for row, row_weight in _bilinear_taps(top, bottom, samples, num_rows, dtype):
        for col, col_weight in col_taps:
            index = _outer((first_row + row) * num_cols, col, tf.add)
            yield first_cell + index, _outer(row_weight, col_weight, tf.multiply)


def _round_half_away(x: tf.Tensor) -> tf.Tensor:
    """Round as C does, halves away from zero; `tf.round` takes them to the even neighbour.

    It compares the fraction, since 0.49999997 + 0.5 is already 1 in float32.
    """
    whole = tf.floor(tf.abs(x))
    return tf.sign(x) * tf.where(tf.abs(x) - whole >= 0.5, whole + 1.0, whole)


def _bin_size(length: tf.Tensor, output_size: int) -> tf.Tensor:
    """Divide float32 lengths by the number of bins, rounded in the last bit as the reference.

    That bit matters: 7 * (57 / 7) > 57 in float32, and a bin that ends there takes one cell more.
    Graph optimisation turns `length / 7` into `length * (1 / 7)`, which differs in that bit; it
    leaves `divide_no_nan` as it is.
    """
    return tf.math.divide_no_nan(length, float(output_size))


def _quantised_bins(
    start: tf.Tensor, stop: tf.Tensor, output_size: int, num_cells: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Divide RoIs into bins of whole cells along one axis.

    Args:
        start: [B, R] float32, where RoIs begin, in cells.
        stop: [B, R] float32, where they end.
        output_size: S, number of bins.
        num_cells: length of the feature map along this axis.

    Returns:
        [B, R, S] int32 first cell of every bin and [B, R, S] int32 cell after its last, both in
        0..num_cells; a bin without cells has its end at or before its start.
    """
    first = tf.cast(_round_half_away(start), tf.int32)
    length = tf.maximum(tf.cast(_round_half_away(stop), tf.int32) - first + 1, 1)
    bin_size = tf.expand_dims(_bin_size(tf.cast(length, tf.float32), output_size), 2)
    edges = tf.range(output_size + 1, dtype=tf.float32)
    first = tf.expand_dims(first, 2)
    begin = tf.cast(tf.floor(edges[:-1] * bin_size), tf.int32) + first
    end = tf.cast(tf.math.ceil(edges[1:] * bin_size), tf.int32) + first
    return tf.clip_by_value(begin, 0, num_cells), tf.clip_by_value(end, 0, num_cells)


def _floor_log2(length: tf.Tensor) -> tf.Tensor:
    """Give the exponent of the largest power of two in an int32 length; 0 for lengths below 2."""
    powers = tf.constant([2**level for level in range(1, _MAX_LEVEL + 1)])
    return tf.reduce_sum(tf.cast(tf.expand_dims(length, -1) >= powers, tf.int32), axis=-1)


def _doubled_windows(maps: tf.Tensor, max_level: tf.Tensor) -> tf.Tensor:
    """Stack the maxima of windows of 1, 2, 4, ... 2^max_level cells along axis 2.

    Windows that would leave the map wrap around its border, and are never read.

    Args:
        maps: [*, *, cells, ...] float32.
        max_level: scalar int32; below 0 counts as 0.

    Returns:
        [1 + max_level, *, *, cells, ...] float32; a window stands at its first cell.
    """
    shifts = 2 ** tf.range(tf.maximum(max_level, 0) + 1) // 2  # 0, 1, 2, 4, ...
    return tf.scan(lambda level, shift: tf.maximum(level, tf.roll(level, -shift, 2)), shifts, maps)


def _bilinear_taps(
    start: tf.Tensor,
    stop: tf.Tensor,
    samples: _Samples,
    num_cells: int | tf.Tensor,
    dtype: tf.DType,
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Find the cells, with their weights, whose weighted sum is a bin's mean along one axis.

    Args:
        start: [B, R] float32, where RoIs begin, in cells.
        stop: [B, R] float32, where they end.
        samples: which are taken.
        num_cells: length of the feature map along this axis; [B, R, 1] where RoIs have several.
        dtype: of the cells.

    Returns:
        2 * sampling_ratio pairs (cell [B, R, S], weight [B, R, S] float32): two neighbours
        for every sample.
    """
    ratio = samples.sampling_ratio
    start, length = samples.span(start, stop)
    bin_size = tf.expand_dims(_bin_size(length, samples.output_size), 2)  # [B, R, 1]
    bins = tf.range(samples.output_size, dtype=tf.float32)
    first_edge = tf.expand_dims(start, 2) + bins * bin_size  # [B, R, S]
    last_cell = num_cells - 1
    taps = []
    for sample in range(ratio):
        position = first_edge + (sample + 0.5) * bin_size / ratio
        is_near = (position >= -1.0) & (position <= tf.cast(num_cells, tf.float32))
        weight = tf.cast(is_near, tf.float32) / ratio
        position = tf.clip_by_value(position, 0.0, tf.cast(last_cell, tf.float32))
        low = tf.floor(position)
        low_cell = tf.cast(low, dtype)
        taps.append((low_cell, weight * (1.0 - (position - low))))
        taps.append((tf.minimum(low_cell + 1, last_cell), weight * (position - low)))
    return taps
