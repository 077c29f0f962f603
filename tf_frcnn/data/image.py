"""Images from disk or memory as arrays: one policy for every part of the project.

Which decoder reads a file is decided by its content, never by its extension. What is returned are
the *stored* pixels: an EXIF orientation is ignored, an alpha channel is dropped without blending,
and 16 bits a channel are cut to the high 8, which is what the decoders inside a TensorFlow graph
do too. An animation gives its first frame, a TIFF its first page, the way up that its tag says: of
a TIFF this is part of decoding. No TensorFlow here.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from tf_frcnn.errors import DataError

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
    **dict.fromkeys((b"avif", b"avis"), ("AVIF", "Pillow 11.3 or later")),
    **dict.fromkeys(
        (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"),
        ("HEIC", "`python -m pip install pillow-heif`"),
    ),
}  # in bytes 8 to 11, after `ftyp` -> the format's name, and what reads it
MAX_PIXELS = 89_478_485
"""Images with more pixels are refused before they are decoded. The value is the one at which
Pillow begins to warn (256 MiB of RGB), so that no accepted image brings a warning of its own."""


def read_image(path_or_bytes: str | Path | bytes) -> np.ndarray:
    """Decode a JPEG, PNG, GIF, WebP, BMP or TIFF image to RGB; AVIF and HEIC if Pillow can.

    Args:
        path_or_bytes: a file, or the content of one.

    Returns:
        [H, W, 3] uint8 RGB, the stored pixels, writable. Grey and palette images become RGB.

    Raises:
        DataError: the image is missing, broken, cut short, or has more than `MAX_PIXELS` pixels.
    """
    with _open_image(path_or_bytes) as image:
        image.load()
        if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit grey; Pillow would clip it
            grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)  # [H, W]
            return np.repeat(grey[..., None], 3, axis=-1)
        image.info.pop("transparency", None)  # dropped on purpose: no blending, no warning
        return np.array(image.convert("RGB"))


def read_image_size(path_or_bytes: str | Path | bytes) -> tuple[int, int]:
    """Read an image's (height, width) in stored pixels from its header, without decoding it.

    Args:
        path_or_bytes: a file, or the content of one.

    Raises:
        DataError: the header is missing or broken, or states more than `MAX_PIXELS` pixels.
    """
    with _open_image(path_or_bytes) as image:
        return image.height, image.width


@contextmanager
def _open_image(path_or_bytes: str | Path | bytes) -> Iterator[Image.Image]:
    """Open an image, refuse it when too large, and turn whatever goes wrong into a `DataError`."""
    file: str | Path | io.BytesIO
    if isinstance(path_or_bytes, bytes):
        name, file = f"image of {len(path_or_bytes)} bytes", io.BytesIO(path_or_bytes)
    else:
        name, file = str(path_or_bytes), path_or_bytes
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            if image.format == "TIFF" and image.mode in ("I", "F"):
                raise ValueError("a TIFF of 32 bits a channel; 8 and 16 are read")
            yield image
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{name}: the image is too large ({error}). Expected at most {MAX_PIXELS:,} pixels; "
            "make it smaller first."
        ) from None
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file. Expected an image.") from None
    except UnidentifiedImageError:
        if known := _BRANDS.get(_brand_of(path_or_bytes)):
            raise DataError(
                f"{name}: the image is {known[0]}, which the installed Pillow cannot read. "
                f"Expected {_FORMATS_TEXT}: convert it, or install what reads it, {known[1]}."
            ) from None
        raise DataError(
            f"{name}: the content is not that of an image. Expected {_FORMATS_TEXT}."
        ) from None
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise DataError(
            f"{name}: the image cannot be decoded ({error}). Expected a whole {_FORMATS_TEXT}; "
            "replace the file or take it out of the data set."
        ) from None


def _brand_of(path_or_bytes: str | Path | bytes) -> bytes:
    """Read the brand in the header of HEIC, AVIF and their like; b"" where there is none."""
    if isinstance(path_or_bytes, bytes):
        start = path_or_bytes[:12]
    else:
        with open(path_or_bytes, "rb") as file:
            start = file.read(12)
    return start[8:] if start[4:8] == b"ftyp" else b""
