"""Picture sizes: by default, and what the network makes of them."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_frcnn.config import DataConfig
from tf_frcnn.data import transforms
from tf_frcnn.errors import UserError
from tf_frcnn.picture_size import parse_size
from tf_frcnn.tflite.sizes import check_size, default_size, resized_size


@given(*(st.integers(1, 5000),) * 2, st.integers(1, 1200), st.integers(0, 1000))
@settings(max_examples=200, deadline=None)
def test_resized_as_in_the_graph(height, width, short_side, longer_by):
    long_side = short_side + longer_by
    found = resized_size((height, width), short_side, long_side)
    size = tf.constant([height, width])
    np.testing.assert_array_equal(found, transforms.resized_size(size, short_side, long_side))


def test_the_default_is_a_picture_of_3_to_4():
    assert default_size(DataConfig(short_side=600, long_side=1000)) == (600, 800)
    # The longer side would be 800: both times 700 / 800.
    assert default_size(DataConfig(short_side=600, long_side=700)) == (525, 700)


def test_a_picture_that_is_too_narrow_is_refused_with_the_least():
    data = DataConfig(short_side=600, long_side=1000)
    # 20 x 2000 enters as 10 x 1000. 16 px need 16 * 2000 / 1000 = 32 of 2000.
    with pytest.raises(UserError, match=r"see 10 x 1000 pixels.*Expected --size 32x2000 at least"):
        check_size((20, 2000), data, min_side=16.0)
    with pytest.raises(UserError, match=r"see 1000 x 10 pixels.*Expected --size 2000x32 at least"):
        check_size((2000, 20), data, min_side=16.0)
    check_size((32, 2000), data, min_side=16.0)
    check_size((1, 1), data, min_side=16.0)  # is enlarged to 600 x 600


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0.1, 100))
@settings(max_examples=200, deadline=None)
def test_the_least_size_that_is_told_is_accepted(height, width, min_side):
    data = DataConfig(short_side=600, long_side=1000)
    try:
        check_size((height, width), data, min_side)
    except UserError as error:
        least = str(error).split("Expected --size ")[1].split(" ")[0]
        check_size(parse_size(least), data, min_side)
