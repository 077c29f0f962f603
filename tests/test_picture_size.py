"""Sizes as commands take them."""

import pytest

from tf_frcnn.errors import UserError
from tf_frcnn.picture_size import parse_size


def test_a_size_is_height_and_width():
    assert parse_size("480x640") == (480, 640)


@pytest.mark.parametrize("text", ["480", "480x", "480*640", "480x640x3", "-1x5", "4.5x6", "", "x"])
def test_what_is_no_size_is_told(text):
    with pytest.raises(UserError, match=r"expected height and width in pixels as HxW"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0x640", "640x0", "10000x10000"])
def test_sizes_that_no_picture_has(text):
    with pytest.raises(UserError, match=f"--size {text}: expected at least 1 pixel on each side"):
        parse_size(text)
