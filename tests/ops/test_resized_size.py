"""The size at which an image enters a network, in the graph and without TensorFlow."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_frcnn.ops.resized_size import resized_size, resized_size_in_graph


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((600, 800), (600, 800)),  # scale 600 / 600 = 1, 800 <= 1000
        ((800, 600), (800, 600)),
        ((375, 500), (600, 800)),  # scale 600 / 375 = 1.6; 500 * 1.6 = 800
        ((333, 500), (600, 901)),  # scale 600 / 333 = 1.8018; 500 * 1.8018 = 900.9
        ((500, 1000), (500, 1000)),  # 600 / 500 = 1.2 would give 1200 > 1000, so 1000 / 1000 = 1
        ((1000, 400), (1000, 400)),  # 600 / 400 = 1.5 would give 1500 > 1000
        ((1200, 3000), (400, 1000)),  # 1000 / 3000 = 1/3
        ((4000, 1), (1000, 1)),  # 1000 / 4000 = 0.25; 1 * 0.25 rounds to 0, but 1 is the least
        ((1, 4000), (1, 1000)),
        ((1, 1), (600, 600)),
    ],
)
def test_sizes_worked_by_hand(size, expected):
    result = resized_size_in_graph(tf.constant(size), 600, 1000)
    assert result.dtype == tf.int32
    assert tuple(result.numpy()) == expected
    assert resized_size(size, 600, 1000) == expected


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((375, 500), 0.5, (300, 400)),  # as for short side 300: 300 / 375 = 0.8; 500 * 0.8 = 400
        ((375, 500), 1.25, (750, 1000)),  # 750 / 375 = 2; 1000 <= 1250
        ((500, 1000), 0.5, (250, 500)),  # the longer side binds: 1000 * 0.5 / 1000 = 0.5
        ((4000, 1), 0.5, (500, 1)),
    ],
)
def test_a_factor_is_one_on_both_limits(size, factor, expected):
    result = resized_size_in_graph(tf.constant(size), 600, 1000, tf.constant(factor))
    assert tuple(result.numpy()) == expected


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    short_side=st.integers(1, 800),
    excess=st.integers(0, 800),
)
@settings(max_examples=50)
def test_one_side_is_exact_and_none_too_long(height, width, short_side, excess):
    long_side = short_side + excess
    sides = sorted(
        resized_size_in_graph(tf.constant([height, width]), short_side, long_side).numpy()
    )
    assert sides[0] <= short_side and sides[1] <= long_side
    assert sides[0] == short_side or sides[1] == long_side


# === Rounding ===


@pytest.mark.parametrize(
    ("size", "nearest", "floor"),
    [
        # 1333 / 365 = 3.652 is less than 800 / 200 = 4; 200 * 3.652 = 730.4, 365 * 3.652 = 1333.
        ((200, 365), (730, 1333), (730, 1333)),
        # 800 / 161 is no binary number: in float64, 161 times it is below 800.
        ((161, 200), (800, 994), (799, 993)),  # 200 * 800 / 161 = 993.8
        ((97, 100), (800, 825), (799, 824)),  # 100 * 800 / 97 = 824.7
        ((480, 640), (800, 1067), (800, 1066)),  # 640 * 800 / 480 = 1066.7
        ((4000, 1), (1333, 1), (1333, 1)),  # 1 * 1333 / 4000 = 0.3, but 1 is the least
        # Half of 1601 and 1603: 800.5 and 801.5 go to the even number.
        ((1600, 1601), (800, 800), (800, 800)),
        ((1600, 1603), (800, 802), (800, 801)),
    ],
)
def test_roundings_worked_by_hand(size, nearest, floor):
    for rounding, expected in (("nearest", nearest), ("floor", floor)):
        assert resized_size(size, 800, 1333, rounding) == expected
        result = resized_size_in_graph(tf.constant(size), 800, 1333, rounding=rounding)
        assert tuple(result.numpy()) == expected


def in_graph(rounding):
    """Build a graph of many images' sizes: [N, 4] height, width, short and long side."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.int32)])
    def sizes(rows):
        return tf.map_fn(
            lambda row: resized_size_in_graph(row[:2], *sides(row), rounding=rounding), rows
        )

    def sides(row):
        number = tf.float32 if rounding == "nearest" else tf.float64
        return tf.cast(row[2], number), tf.cast(row[3], number)

    return sizes


IN_GRAPH = {rounding: in_graph(rounding) for rounding in ("nearest", "floor")}
side = st.integers(1, 5000)
rows = st.tuples(side, side, st.integers(1, 1400), st.integers(0, 1000)).map(
    lambda row: (*row[:3], row[2] + row[3])
)


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@given(table=st.lists(rows, min_size=30, max_size=60))
@settings(max_examples=100)
def test_the_graph_agrees_with_plain_numbers(rounding, table):
    expected = [resized_size(row[:2], *row[2:], rounding) for row in table]
    assert IN_GRAPH[rounding](tf.constant(table)).numpy().tolist() == [list(s) for s in expected]


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
def test_the_graph_agrees_at_the_sides_that_detectors_use(rounding):
    table = [
        (short, long, *sides)
        for sides in ((600, 1000), (800, 1333))
        for short in range(1, 1400, 7)
        for long in (short, short + 1, 2 * short - 1, 365, 1333)
    ]  # 2,000 sizes, of which either side binds
    expected = [list(resized_size(row[:2], *row[2:], rounding)) for row in table]
    assert IN_GRAPH[rounding](tf.constant(table)).numpy().tolist() == expected
