"""Image sizes of commands: as given, by default, and those that are too narrow."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_frcnn.config import DataConfig
from tf_frcnn.errors import UserError
from tf_frcnn.image_size import check_size, default_size, parse_size


def test_a_size_is_height_and_width():
    assert parse_size("480x640") == (480, 640)


@pytest.mark.parametrize("text", ["480", "480x", "480*640", "480x640x3", "-1x5", "4.5x6", "", "x"])
def test_what_is_no_size_is_told(text):
    with pytest.raises(UserError, match=r"expected height and width in pixels as HxW"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0x640", "640x0", "10000x10000"])
def test_sizes_that_no_image_has(text):
    with pytest.raises(UserError, match=f"--size {text}: expected at least 1 pixel on each side"):
        parse_size(text)


def test_the_default_is_an_image_of_3_to_4():
    assert default_size(DataConfig(short_side=600, long_side=1000)) == (600, 800)
    # The longer side would be 800: both times 700 / 800.
    assert default_size(DataConfig(short_side=600, long_side=700)) == (525, 700)


def test_an_image_that_is_too_narrow_is_refused_with_the_least():
    data = DataConfig(short_side=600, long_side=1000)
    # 20 x 2000 enters as 10 x 1000. 16 px need 16 * 2000 / 1000 = 32 of 2000.
    with pytest.raises(UserError, match=r"see 10 x 1000 pixels.*Expected --size 32x2000 at least"):
        check_size((20, 2000), data, min_side=16.0)
    with pytest.raises(UserError, match=r"see 1000 x 10 pixels.*Expected --size 2000x32 at least"):
        check_size((2000, 20), data, min_side=16.0)
    check_size((32, 2000), data, min_side=16.0)
    check_size((1, 1), data, min_side=16.0)  # is enlarged to 600 x 600


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0.1, 100))
@settings(max_examples=200)
def test_the_least_size_that_is_told_is_accepted(height, width, min_side):
    data = DataConfig(short_side=600, long_side=1000)
    try:
        check_size((height, width), data, min_side)
    except UserError as error:
        least = str(error).split("Expected --size ")[1].split(" ")[0]
        check_size(parse_size(least), data, min_side)
