"""Images of 16 bits a channel that hold fewer, as 12 bits of a camera do: they are nearly black.

The high 8 bits are what the network sees (`data.image`), so values must use the whole range. No
TensorFlow here.
"""

from collections.abc import Iterable

_FULL = 256
_LEAST_SHARE = 4  # a quarter of the range and less is not how bright the scenes were


def explain_unused_range(brightest: Iterable[int]) -> str:
    """Say that the values of 16-bit images use a small part of their range: a message, or "".

    Args:
        brightest: of each such image the largest of its high bytes, 0 to 255.
    """
    largest = list(brightest)
    if not largest:
        return ""
    bits = max(largest).bit_length()  # of the high 8
    factor = _FULL >> bits
    if factor < _LEAST_SHARE:
        return ""
    return (
        f"Images of 16 bits a channel: {len(largest)}, whose values use 1/{factor} of the range "
        f"(at most {8 + bits} bits). The high 8 bits are taken, so they are nearly black: levels 0 "
        f"to {max(largest)} of 255. Write them anew with values times {factor} (`pixels << "
        f"{8 - bits}`), or as 8 bits."
    )
