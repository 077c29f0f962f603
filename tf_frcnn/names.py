"""Names and values from data: how they are shown, which may be a class's, how files keep them.

Names of classes and files reach plots, pages, lists, JSON and the terminal, and anyone may have
written them. What is shown is made safe by `shown`, `printable` and `quote`, whatever it holds;
names of classes, which also stand a line each in labels.txt, are checked by `explain_class_name`
before anything is made of them; and names of files, which are bytes and may be no UTF-8, are kept
in JSON by `encode_file_name`.
"""

import re
import unicodedata
from reprlib import Repr
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

BACKGROUND_NAMES = ("background", "__background__")
"""Of class 0, in any case: no object's class is called so."""
MAX_CLASS_NAME = 255
"""Letters of a class name, which has to fit into a table and a message."""

_MAX_LINE, _MAX_MESSAGE = 1000, 30_000  # letters
# Control characters, separators of lines, what turns the direction of the letters that follow,
# surrogates, which stand for bytes or for nothing, and what XML does not allow.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufffe\uffff]"
)
_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BYTES = "bytes:"  # before names that are no text, and before those that begin so themselves


# === To be shown ===


def shown(name: str, limit: int = 255) -> str:
    r"""Write a name so that it can stand in a line anywhere: in a plot, a table, a message.

    Args:
        name: any text; a file's may hold surrogates, which stand for bytes that are no UTF-8.
        limit: of letters; of a longer name beginning and end are left.

    Returns:
        One line without control characters and surrogates: those are written `\n`, `\x1b`, `\xe9`
        (a byte), `\ud800`. All other letters stay.
    """
    return _cut(_UNSAFE.sub(_escape, _cut(name, limit)), limit)


def printable(message: str) -> str:
    """Make a message safe for any terminal, as `shown` does, and keep it short.

    Args:
        message: its line breaks stay; of a line beyond 1,000 letters, and of a message beyond
            30,000, beginning and end are left.
    """
    return "\n".join(shown(line, _MAX_LINE) for line in _cut(message, _MAX_MESSAGE).split("\n"))


def quote(value: Any) -> str:
    """Write a value from data as Python's `repr` does; of what is long, beginning and end.

    Text takes up to 100 letters, a list up to six values.
    """
    return _SHORT.repr(value)


class _ShortRepr(Repr):
    """Python's own, with limits for what stands in a message."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 100
        self.maxlevel = 2

    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # Python writes no whole number of more than 4,300 digits
            return f"a whole number of {x.bit_length()} bits"


_SHORT = _ShortRepr()


def _cut(text: str, limit: int) -> str:
    """Leave beginning and end of a text that is longer than the limit."""
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def _escape(found: re.Match[str]) -> str:
    letter = found[0]
    if "\udc80" <= letter <= "\udcff":  # as Python decodes a byte of a file's name
        return f"\\x{ord(letter) - 0xDC00:02x}"
    code = ord(letter)
    return _SHORT_ESCAPES.get(letter) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


# === Of classes ===


def normalise_name(name: str) -> str:
    """Give composed and decomposed spellings of a letter (Linux, macOS) the same form, NFC."""
    return unicodedata.normalize("NFC", name)


def is_background(name: str) -> bool:
    """Tell whether a name is that of class 0, the background, in any case."""
    return name.casefold() in BACKGROUND_NAMES


def explain_class_name(name: str) -> str:
    """Say why a name cannot be a class's: what is expected and what to do, or "" where it can."""
    if is_background(name):
        return (
            "Class 0 is the background, which is wherever there is no box. Expected classes of "
            "objects only: rename this one, or take its boxes out."
        )
    if not name.strip():
        return "Expected a name that can be seen: rename the class."
    if found := _UNSAFE.search(name):
        return (
            f"It holds {_describe(found[0])}. Expected a name without control characters, line "
            "breaks and surrogates, since lists have a name a line: rename the class."
        )
    if len(name) > MAX_CLASS_NAME:
        return f"It has {len(name):,} letters. Expected at most {MAX_CLASS_NAME}: rename the class."
    return ""


def _describe(letter: str) -> str:
    r"""Name a letter that cannot be seen: `U+000A (\n)`."""
    return f"U+{ord(letter):04X} ({shown(letter)})"


# === In JSON ===


def is_file_name(name: str) -> bool:
    """Tell whether a name can be a file's: text, or bytes as Python decodes them."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == name
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False


def encode_file_name(name: str) -> str:
    """Write the name of a file so that any reader of JSON can keep it.

    Args:
        name: as Python decodes it (`os.fsdecode`), of which `is_file_name` is true.

    Returns:
        The name itself where it is text; else, such as for bytes in Latin-1, `bytes:` and the
        bytes as in a URL: `bytes:caf%E9.jpg`. `decode_file_name` gives the name back.
    """
    if _is_text(name) and not name.startswith(_BYTES):
        return name
    return _BYTES + quote_from_bytes(name.encode("utf-8", "surrogateescape"))


def decode_file_name(text: str) -> str:
    """Read a name that `encode_file_name` wrote."""
    if not text.startswith(_BYTES):
        return text
    return unquote_to_bytes(text.removeprefix(_BYTES)).decode("utf-8", "surrogateescape")


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
