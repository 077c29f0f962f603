"""Images from disk or memory as arrays: one policy for every part of the project.

Which decoder reads a file is decided by its content, never by its extension. An alpha channel is
dropped without blending, and 16 bits a channel are cut to the high 8, which is what the decoders
inside a TensorFlow graph do too. An animation gives its first frame, a TIFF its first page. Pixels
are the stored ones, or turned by an EXIF orientation: `tf_frcnn.data.orientation` has the policy.
Of TIFF and HEIC, turning is part of decoding: they are always the way up that their tag says. No
TensorFlow here.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from tf_frcnn.data.jpeg import JPEG_START, decode_whole
from tf_frcnn.data.orientation import (
    UPRIGHT,
    ExifPolicy,
    is_applied,
    parse_orientation,
    turn_upright,
)
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import EMPTY, check_file, open_file, read_bytes, reason_of

with suppress(ImportError):  # the plugin that reads HEIC, where it is installed
    import pillow_heif

    pillow_heif.register_heif_opener()

# As Pillow names them. AVIF came with Pillow 11.3, HEIF is pillow_heif's.
_OPTIONAL_FORMATS = {
    "AVIF": "avif" in features.modules and features.check_module("avif"),
    "HEIF": "HEIF" in Image.OPEN,
}
IMAGE_FORMATS = (
    *("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"),
    *(name for name, is_readable in _OPTIONAL_FORMATS.items() if is_readable),
)
_FORMATS_TEXT = "JPEG, PNG, GIF, WebP, BMP or TIFF"
IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
    # Whether or not they can be read: else they would just seem not to be there.
    | {".avif", ".heic", ".heif"}
)  # how readers find images in a folder, in any case
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), ("AVIF", "AVIF", "Pillow 11.3 or later")),
    **dict.fromkeys(
        (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"),
        ("HEIC", "HEIF", "`python -m pip install pillow-heif`"),
    ),
}  # in bytes 8 to 11, after `ftyp` -> the format's name, the one that Pillow has, what reads it
MAX_PIXELS = 89_478_485
"""Images with more pixels are refused before they are decoded. The value is the one at which
Pillow begins to warn (256 MiB of RGB), so that no accepted image brings a warning of its own."""


class ImageHeader(NamedTuple):
    """What an image's file says before the pixels.

    Attributes:
        size: (height, width) of the stored pixels.
        orientation: of EXIF, 1 to 8; 1 is upright.
        is_16_bit: it has 16 bits a channel, of which the high 8 are used.
    """

    size: tuple[int, int]
    orientation: int
    is_16_bit: bool = False


def read_image(path_or_bytes: str | Path | bytes, orientation: int = UPRIGHT) -> np.ndarray:
    """Decode a JPEG, PNG, GIF, WebP, BMP or TIFF image to RGB; AVIF and HEIC if Pillow can.

    Args:
        path_or_bytes: a file, or the content of one.
        orientation: of EXIF, by which the pixels are turned; by default they are as stored.

    Returns:
        [H, W, 3] uint8 RGB, writable. Grey and palette images become RGB.

    Raises:
        DataError: the image is missing, broken, cut short, or has more than `MAX_PIXELS` pixels.
    """
    with _open_image(path_or_bytes) as image:
        image.load()
        if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit grey; Pillow would clip it
            grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)  # [H, W]
            pixels = np.repeat(grey[..., None], 3, axis=-1)
        else:
            image.info.pop("transparency", None)  # dropped on purpose: no blending, no warning
            pixels = np.array(image.convert("RGB"))
    return turn_upright(pixels, orientation)


def read_whole_image(path: Path) -> np.ndarray:
    """Decode an image for what it shows of its file: that all of it is there, in one piece.

    A JPEG with damaged pixels is refused, which `read_image` decodes as well as it can.

    Args:
        path: the file.

    Returns:
        [H, W, 3] uint8 RGB of the stored pixels; of a JPEG [H, W, 1] grey, in less time.

    Raises:
        DataError: as in `read_image`, or the image is damaged.
        OSError: the file cannot be read.
    """
    content = read_bytes(path)
    if not content.startswith(JPEG_START):
        return read_image(path)
    pixels, damage = decode_whole(content)
    if pixels is not None:
        return pixels
    pixels = read_image(path)
    if damage:
        raise DataError(
            f"{path}: the image is damaged ({damage}): a part of it is grey or shows something "
            "else. Expected a whole image; replace the file or take it out of the data set."
        )
    return pixels


def read_image_as(path_or_bytes: str | Path | bytes, exif: ExifPolicy) -> np.ndarray:
    """Decode an image that comes without annotations, as a model's own images were.

    Args:
        path_or_bytes: a file, or the content of one.
        exif: of the model, `config.data.exif`.

    Returns:
        As `read_image`.

    Raises:
        DataError: as in `read_image`.
    """
    orientation = read_image_header(path_or_bytes).orientation if is_applied(exif) else UPRIGHT
    return read_image(path_or_bytes, orientation)


def read_image_header(path_or_bytes: str | Path | bytes) -> ImageHeader:
    """Read what an image's header says, without decoding it.

    Args:
        path_or_bytes: a file, or the content of one.

    Raises:
        DataError: the header is missing or broken, or states more than `MAX_PIXELS` pixels.
    """
    with _open_image(path_or_bytes) as image:
        exif = image.info.get("exif")
        orientation = parse_orientation(exif) if isinstance(exif, bytes) else UPRIGHT
        return ImageHeader((image.height, image.width), orientation, _is_16_bit(image))


def read_image_size(path_or_bytes: str | Path | bytes) -> tuple[int, int]:
    """Read an image's (height, width) in stored pixels; see `read_image_header`."""
    return read_image_header(path_or_bytes).size


def _is_16_bit(image: Image.Image) -> bool:
    """Tell it of an image that is not decoded yet; Pillow's modes of colours are all 8 bits."""
    if image.format not in ("PNG", "TIFF"):
        return False
    tiles = getattr(image, "tile", ())  # of files alone; the last item is the mode in the file
    return image.mode.startswith("I") or any(";16" in str(tile[-1]) for tile in tiles)


@contextmanager
def _open_image(path_or_bytes: str | Path | bytes) -> Iterator[Image.Image]:
    """Open an image, refuse it when too large, and turn whatever goes wrong into a `DataError`."""
    file: str | Path | io.BytesIO
    if isinstance(path_or_bytes, bytes):
        name, file = f"image of {len(path_or_bytes)} bytes", io.BytesIO(path_or_bytes)
    else:
        name, file = str(path_or_bytes), path_or_bytes
    try:
        _check_content(path_or_bytes, name)
        with Image.open(file, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            if image.format == "TIFF" and image.mode in ("I", "F"):
                raise ValueError("a TIFF of 32 bits a channel; 8 and 16 are read")
            yield image
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{name}: the image is too large ({_pixels_of(error)}). Expected at most "
            f"{MAX_PIXELS:,} pixels; make it smaller first."
        ) from None
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file. Expected an image.") from None
    except DataError:
        raise
    except UnidentifiedImageError:
        known, pillow_name, reader = _BRANDS.get(_brand_of(path_or_bytes), ("", "", ""))
        if pillow_name in IMAGE_FORMATS:
            raise DataError(
                f"{name}: the image is {known} and cannot be decoded. Expected a whole one; "
                "replace the file or take it out of the data set."
            ) from None
        if known:
            raise DataError(
                f"{name}: the image is {known}, which the installed Pillow cannot read. "
                f"Expected {_FORMATS_TEXT}: convert it, or install what reads it, {reader}."
            ) from None
        raise DataError(
            f"{name}: the content is not that of an image. Expected {_FORMATS_TEXT}."
        ) from None
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise DataError(
            f"{name}: the image cannot be decoded ({reason_of(error)}). Expected a whole "
            f"{_FORMATS_TEXT}; replace the file or take it out of the data set."
        ) from None


def _check_content(path_or_bytes: str | Path | bytes, name: str) -> None:
    """Refuse what holds nothing, or is no file that could be opened and read to its end."""
    try:
        if not isinstance(path_or_bytes, bytes):
            check_file(path_or_bytes, may_be_empty=False)
        elif not path_or_bytes:
            raise OSError(EMPTY)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise DataError(
            f"{name}: cannot be read ({reason_of(error)}). Expected {_FORMATS_TEXT}."
        ) from None


def _pixels_of(error: Exception) -> str:
    """Say how many pixels there are: of Pillow's words, which go on with another limit, no more."""
    by_pillow = re.match(r"Image size \(([0-9]+) pixels\)", str(error))
    return f"{int(by_pillow[1]):,} pixels" if by_pillow else str(error)


def _brand_of(path_or_bytes: str | Path | bytes) -> bytes:
    """Read the brand in the header of HEIC, AVIF and their like; b"" where there is none."""
    if isinstance(path_or_bytes, bytes):
        start = path_or_bytes[:12]
    else:
        with open_file(path_or_bytes) as file:
            start = file.read(12)
    return start[8:] if start[4:8] == b"ftyp" else b""
