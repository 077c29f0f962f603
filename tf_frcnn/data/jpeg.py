"""JPEG files that decode, but are damaged: what libjpeg warns of, and decoders keep to themselves.

Where the numbers of the pixels run out, or cannot be made sense of, libjpeg warns and goes on: the
rest of the image is grey, or another image's. Pillow and TensorFlow do not tell of that.
`simplejpeg` is libjpeg-turbo with its warnings.

Not all of them are of damage. Cameras and editors leave bytes between the parts of the header, and
a run of one byte before the end; what comes after the end belongs to nobody. Where an image decodes
without a warning once these are left out, it is whole. Bytes that were overwritten are not always
seen: after some the decoder finds its way again without a warning.
"""

import re

import numpy as np
import simplejpeg

JPEG_START = b"\xff\xd8"

_END = b"\xff\xd9"
_START_OF_SCAN = 0xDA
# What libjpeg says of pixels; what it says of other things is for Pillow to judge.
_OF_PIXELS = re.compile("Corrupt JPEG data|Inconsistent progression|Premature end of JPEG")


def decode_whole(content: bytes) -> tuple[np.ndarray | None, str]:
    """Decode a JPEG, if there is nothing at all to warn of.

    Args:
        content: of the file.

    Returns:
        [H, W, 1] uint8 grey, which takes less time than colours; None where there is a warning, or
        this decoder cannot read the image at all. And what is damaged, in libjpeg's words, ""
        where nothing is or nothing can be told.
    """
    pixels, warning = _decode(content)
    if _OF_PIXELS.match(warning):
        # The last bytes of the pixels may be like the padding: some of it stays, or none.
        tidied = [_decode(_leave_out_padding(content, number))[1] for number in range(3)]
        return None, tidied[-1] if all(map(_OF_PIXELS.match, tidied)) else ""
    return pixels, ""


def _decode(content: bytes) -> tuple[np.ndarray | None, str]:
    """Decode a JPEG up to its first warning -> (pixels, "") or (None, the warning)."""
    try:
        return simplejpeg.decode_jpeg(content, "GRAY"), ""
    except ValueError as error:
        return None, str(error)


def _leave_out_padding(content: bytes, num_kept: int) -> bytes:
    """Leave out what stands between the parts of the header, before the end and after it.

    Of a run of one byte before the end a number is kept.
    """
    parts, place, marker = [JPEG_START], len(JPEG_START), 0
    while marker != _START_OF_SCAN:
        place = content.find(b"\xff", place)
        if not 0 <= place < len(content) - 4:
            return content  # there is no scan
        marker = content[place + 1]
        if marker in (0x00, 0xFF):  # no marker, or one more byte before it
            place += 1
            continue
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        parts.append(content[place : place + 2 + length])
        place += 2 + length
    # The first end behind the header: after it another image may come, as in MPO.
    end = content.find(_END, place)
    pixels = content[place : end if end >= 0 else len(content)]
    padding = pixels[-1:]
    return b"".join([*parts, pixels.rstrip(padding), num_kept * padding, _END])
