"""Images of every supported kind decode to the RGB values that were stored."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tf_frcnn.data import image as image_module
from tf_frcnn.data.image import MAX_PIXELS, read_image, read_image_header, read_image_size
from tf_frcnn.data.orientation import turn_upright
from tf_frcnn.errors import DataError

# Height 3, width 5: an image whose axes cannot be mistaken for each other.
PIXELS = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3) * 5


def smooth_image(height=24, width=40):
    """A ramp down in red, across in green: JPEG and WebP keep it to a few grey levels."""
    rows, columns = np.mgrid[0:height, 0:width]
    blue = np.full((height, width), 90)
    return np.stack([rows * 10, columns * 6, blue], axis=-1).astype(np.uint8)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png_header(width, height, bits, colour):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_colour_comes_back_unchanged(tmp_path, kind):
    path = tmp_path / "a.img"
    path.write_bytes(encode(Image.fromarray(PIXELS), kind))
    result = read_image(path)
    assert result.dtype == np.uint8 and result.flags.writeable
    np.testing.assert_array_equal(result, PIXELS)
    assert read_image_size(path) == (3, 5)


def test_lossless_webp_comes_back_unchanged():
    np.testing.assert_array_equal(
        read_image(encode(Image.fromarray(PIXELS), "WEBP", lossless=True)), PIXELS
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {"quality": 95})],
)
def test_lossy_colour_comes_back_nearly(kind, options):
    image = smooth_image()
    options = {"quality": 95, **options}
    if kind == "JPEG":
        options["subsampling"] = 0
    result = read_image(encode(Image.fromarray(image), kind, **options))
    assert result.shape == (24, 40, 3)
    # Neighbouring rows differ by 10 in red and columns by 6 in green: a swap of axes or channels
    # is far outside of this tolerance.
    assert np.abs(result.astype(int) - image).mean() < 4


def test_grey_jpeg_is_repeated_over_the_channels():
    grey = smooth_image()[..., 1]
    result = read_image(encode(Image.fromarray(grey), "JPEG", quality=95))
    assert result.shape == (24, 40, 3)
    assert (result[..., 0] == result[..., 2]).all()
    assert np.abs(result[..., 0].astype(int) - grey).mean() < 4


def test_cmyk_jpeg_becomes_rgb():
    # Cyan 200, magenta 0, yellow 100, black 0: RGB = 255 - (200, 0, 100) = (55, 255, 155).
    image = Image.new("CMYK", (16, 8), (200, 0, 100, 0))
    result = read_image(encode(image, "JPEG", quality=95))
    assert result.shape == (8, 16, 3)
    np.testing.assert_allclose(result[4, 8], (55, 255, 155), atol=4)


def test_16_bit_grey_png_keeps_the_high_byte():
    # value // 256: 255 -> 0, 256 -> 1, 32768 -> 128, 65535 -> 255.
    values = np.array([[0, 255, 256], [32768, 40000, 65535]], dtype=np.uint16)
    result = read_image(encode(Image.fromarray(values), "PNG"))
    expected = [[0, 0, 1], [128, 156, 255]]
    for channel in range(3):
        np.testing.assert_array_equal(result[..., channel], expected)


def test_16_bit_colour_png_keeps_the_high_byte():
    # One row of two pixels; each row of a PNG starts with its filter's number, here 0 for none.
    row = b"\x00" + struct.pack(">6H", 0, 256, 65535, 32768, 511, 512)
    content = png_header(2, 1, 16, 2) + png_chunk(b"IDAT", zlib.compress(row))
    result = read_image(content + png_chunk(b"IEND", b""))
    np.testing.assert_array_equal(result, [[[0, 1, 255], [128, 1, 2]]])


def tiff_of(values):
    """Write a TIFF of one row by hand, uncompressed, little-endian; values are [W, C] or [W]."""
    values = np.asarray(values)
    channels = values.shape[1] if values.ndim == 2 else 1
    kind = {"f": 3, "u": 1}[values.dtype.kind]
    bits = [8 * values.dtype.itemsize] * channels
    data = values.tobytes() + b"\x00" * (values.nbytes % 2)
    bits_at = 8 + len(data)
    entries = [  # tag, type (3: 16 bits), count, value: TIFF 6.0, section 2 and 8
        (256, 3, 1, len(values)),
        (257, 3, 1, 1),
        (258, 3, channels, bits[0] if channels == 1 else bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 1 if channels == 1 else 2),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 3, 1, 1),
        (279, 4, 1, values.nbytes),
        (339, 3, 1, kind),
    ]
    bits_data = struct.pack(f"<{channels}H", *bits) + b"\x00" * (2 * channels % 4)
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    start = struct.pack("<2sHI", b"II", 42, bits_at + len(bits_data))
    return start + data + bits_data + directory


def test_16_bit_tiff_keeps_the_high_byte():
    # value // 256, as of PNG: 255 -> 0, 256 -> 1, 32768 -> 128, 65535 -> 255.
    grey = np.array([0, 255, 256, 32768, 40000, 65535], np.uint16)
    result = read_image(tiff_of(grey))
    assert result[0].tolist() == [[value] * 3 for value in (0, 0, 1, 128, 156, 255)]
    colour = np.array([[0, 256, 65535], [32768, 511, 512]], np.uint16)
    assert read_image(tiff_of(colour)).tolist() == [[[0, 1, 255], [128, 1, 2]]]


@pytest.mark.parametrize("dtype", [np.float32, np.uint32])
def test_32_bit_tiff_is_refused_from_its_header(dtype):
    for read in (read_image, read_image_size):
        with pytest.raises(DataError, match="a TIFF of 32 bits a channel; 8 and 16 are read"):
            read(tiff_of(np.array([1, 2], dtype)))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_and_its_first_page(compression):
    pages = [Image.new("RGB", (6, 4), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    options = {"save_all": True, "append_images": pages[1:], "compression": compression}
    result = read_image(encode(pages[0], "TIFF", **options))
    assert result.shape == (4, 6, 3) and (result == (250, 0, 0)).all()


def test_a_tiffs_orientation_is_part_of_decoding(tmp_path):
    path = tmp_path / "turned.tif"
    Image.fromarray(smooth_image()).save(path, tiffinfo={274: 6})
    # 6: the first row is the right side, the first column the top: turned clockwise by a quarter.
    assert read_image_size(path) == (40, 24)
    np.testing.assert_array_equal(read_image(path), np.rot90(smooth_image(), -1))
    assert read_image_header(path).orientation == 1  # nothing is left to turn


@pytest.mark.skipif("AVIF" not in image_module.IMAGE_FORMATS, reason="Pillow without AVIF")
def test_avif_is_read_where_pillow_can():
    image = smooth_image()
    result = read_image(encode(Image.fromarray(image), "AVIF", quality=95))
    assert result.shape == image.shape and np.abs(result.astype(int) - image).mean() < 4


@pytest.mark.skipif("AVIF" not in image_module.IMAGE_FORMATS, reason="Pillow without AVIF")
@pytest.mark.parametrize("length", [100, -200])
def test_a_cut_avif_is_not_told_to_be_a_format_that_cannot_be_read(length):
    content = encode(Image.fromarray(smooth_image()), "AVIF", quality=95)
    with pytest.raises(DataError) as caught:
        read_image(content[:length])
    message = str(caught.value)
    assert "cannot be decoded" in message and "install" not in message


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heic_is_read_where_its_plugin_is_installed_and_turned_by_it(orientation):
    pytest.importorskip("pillow_heif", reason="pillow-heif, which reads HEIC, is not installed")
    image = smooth_image()
    exif = Image.Exif()
    exif[274] = orientation
    content = encode(Image.fromarray(image), "HEIF", quality=95, exif=exif.tobytes())
    assert read_image_header(content).orientation == 1  # nothing is left to turn
    expected = turn_upright(image, orientation)
    assert read_image_size(content) == expected.shape[:2]
    result = read_image(content)
    assert result.shape == expected.shape and np.abs(result.astype(int) - expected).mean() < 4
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(content[:100])


@pytest.mark.parametrize(
    ("brand", "name", "way_out"),
    [(b"heic", "HEIC", "pillow-heif"), (b"mif1", "HEIC", "pip"), (b"avif", "AVIF", "11.3")],
)
def test_a_format_that_this_pillow_cannot_read_is_named(
    tmp_path, monkeypatch, brand, name, way_out
):
    monkeypatch.setattr(image_module, "IMAGE_FORMATS", ("JPEG", "TIFF"))
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\x00\x00\x00\x18ftyp" + brand + bytes(40))
    for source in (path, path.read_bytes()):
        with pytest.raises(DataError) as caught:
            read_image_size(source)
        message = str(caught.value)
        assert f"the image is {name}, which the installed Pillow cannot read. Expected" in message
        assert way_out in message


@pytest.mark.filterwarnings("error")
def test_palette_png_with_transparency_gives_the_palettes_colours():
    image = Image.new("P", (3, 2), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((2, 0), 1)  # x 2, y 0
    result = read_image(encode(image, "PNG", transparency=b"\x00\x80"))
    assert result[0, 2].tolist() == [200, 100, 50]
    assert result[1, 2].tolist() == [10, 20, 30]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_dropped_not_blended(kind):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[..., :3], rgba[..., 3] = (120, 60, 30), 128
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    result = read_image(encode(Image.fromarray(rgba), kind, **options))
    assert (result == (120, 60, 30)).all()


def test_grey_alpha_and_one_bit_png():
    assert (read_image(encode(Image.new("LA", (2, 3), (70, 10)), "PNG")) == 70).all()
    one_bit = Image.new("1", (2, 1))
    one_bit.putpixel((1, 0), 1)
    assert read_image(encode(one_bit, "PNG"))[0, :, 0].tolist() == [0, 255]


def test_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (6, 4), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    result = read_image(content)
    assert result.shape == (4, 6, 3)
    assert (result == (250, 0, 0)).all()


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer would turn the image by a quarter
    path = tmp_path / "turned.jpg"
    Image.fromarray(smooth_image()).save(path, exif=exif)
    assert read_image(path).shape == (24, 40, 3)
    assert read_image_size(path) == (24, 40)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (4000, 1), (1, 4000)])
def test_images_of_one_pixel_across(width, height):
    content = encode(Image.new("RGB", (width, height), (1, 2, 3)), "PNG")
    assert read_image(content).shape == (height, width, 3)
    assert read_image_size(content) == (height, width)


def test_content_decides_and_names_may_hold_anything(tmp_path):
    path = tmp_path / "Bläschen 细胞.JPG"
    path.write_bytes(encode(Image.fromarray(PIXELS), "PNG"))
    np.testing.assert_array_equal(read_image(path), PIXELS)
    np.testing.assert_array_equal(read_image(str(path)), PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_truncated_image_names_file_reason_and_expectation(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "cannot be decoded" in message or "not that of an image" in message
    assert "JPEG, PNG, GIF, WebP, BMP or TIFF" in message


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"<svg xmlns='x'/>", b"II*\x00" + bytes(60)])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (read_image, read_image_size):
        with pytest.raises(
            DataError, match="a.jpg: .*Expected .*JPEG, PNG, GIF, WebP, BMP or TIFF"
        ):
            read(path)


def test_a_format_outside_of_the_list_is_refused():
    with pytest.raises(DataError, match="image of .* bytes: .*not that of an image"):
        read_image(encode(Image.fromarray(PIXELS), "PPM"))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere.png: there is no such file. Expected an image"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"cannot be read \(it is a folder\)"):
        read_image_size(tmp_path)


def test_too_many_pixels_are_refused_from_the_header_alone(tmp_path):
    # The file is a header without any pixels, so decoding it would give another message.
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(60_000, 60_000, 8, 2) + png_chunk(b"IDAT", b""))
    for read in (read_image, read_image_size):
        with pytest.raises(DataError, match=f"huge.png: .*too large.*{MAX_PIXELS:,} pixels"):
            read(path)


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's, which commands keep back
@pytest.mark.parametrize("side", [9_500, 14_000])  # above the limit; above twice of it
def test_there_is_one_limit_of_pixels_and_one_message(side):
    # 9,500^2 = 90,250,000 and 14,000^2 = 196,000,000 pixels.
    content = png_header(side, side, 8, 2) + png_chunk(b"IDAT", b"")
    count = {9_500: "9500 x 9500 pixels", 14_000: "196,000,000 pixels"}[side]
    with pytest.raises(DataError) as caught:
        read_image_size(content)
    assert str(caught.value) == (
        f"image of {len(content)} bytes: the image is too large ({count}). Expected at most "
        "89,478,485 pixels; make it smaller first."
    )


def test_the_pixel_limit_counts_pixels(monkeypatch):
    content = encode(Image.fromarray(PIXELS), "PNG")
    monkeypatch.setattr(image_module, "MAX_PIXELS", 15)  # 3 * 5 pixels: just allowed
    assert read_image(content).shape == (3, 5, 3)
    monkeypatch.setattr(image_module, "MAX_PIXELS", 14)
    with pytest.raises(DataError, match=r"5 x 3 pixels.*at most 14 pixels"):
        read_image(content)
