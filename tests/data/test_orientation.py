"""EXIF orientations: read, and turned as viewers turn them."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from tf_frcnn.data.image import IMAGE_FORMATS, read_image, read_image_header
from tf_frcnn.data.orientation import UPRIGHT, turn_upright

ORIENTATION = 0x0112  # the EXIF tag
WITHOUT_AVIF = {
    "condition": "AVIF" not in IMAGE_FORMATS,
    "reason": "the installed Pillow reads no AVIF",
}


def write_image(path, orientation, size=(40, 60)):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new("RGB", size[::-1], (204, 20, 90)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "extension", ["png", "webp", pytest.param("avif", marks=pytest.mark.skipif(**WITHOUT_AVIF))]
)
def test_turning_is_what_pillow_does(orientation, extension, tmp_path):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"a.{extension}"
    Image.fromarray(pixels).save(path, exif=exif, lossless=True)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert read_image_header(path).orientation == orientation
    np.testing.assert_array_equal(turn_upright(read_image(path), orientation), expected)


def test_orientation_6_by_hand():
    # Stored rows [1 2 3], [4 5 6]; turned a quarter clockwise the left column is read upwards.
    stored = np.repeat(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[..., None], 3, axis=-1)
    assert turn_upright(stored, 6)[..., 0].tolist() == [[4, 1], [5, 2], [6, 3]]


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_without_sense_counts_as_none(value, tmp_path):
    assert read_image_header(write_image(tmp_path / "a.jpg", value)).orientation == UPRIGHT


def test_broken_metadata_count_as_none(tmp_path):
    path = write_image(tmp_path / "a.jpg", orientation=6)
    content = path.read_bytes()
    assert content.count(b"MM\x00*") == 1  # where the EXIF block begins
    path.write_bytes(content.replace(b"MM\x00*", b"MM\xff\xff"))
    assert read_image_header(path).orientation == UPRIGHT
