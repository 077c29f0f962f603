"""JSON of half a gigabyte, read a piece at a time: its text is never in memory as a whole.

The top level is to be an object. Entries of its long lists are handed over one by one, so that
what is not needed of them is gone before the next ones come.
"""

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from tf_frcnn.given_files import open_file, read_bytes

ListReader = Callable[[Iterator[Any]], Any]
"""The entries of a list -> what takes its place."""

_PIECE = 1 << 20  # letters
_SPACE = re.compile(r"[ \t\n\r]*")
_AFTER_VALUE = {
    *" \t\n\r,:]}"
}  # a number that was cut off has something else behind it, or nothing
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")


def read_json(source: Path, list_readers: Mapping[str, ListReader]) -> Any:
    """Read a file.

    Args:
        source: the file, in UTF-8, UTF-16 or UTF-32.
        list_readers: for those keys of the top level whose lists are long.

    Returns:
        What `json.loads` gives; in an object, what its reader made of each of these lists.

    Raises:
        OSError: it cannot be read, is no ordinary file, or is empty.
        ValueError: it is no JSON; as `json.loads` says it.
        RecursionError: it is nested too deeply.
    """
    try:
        with open_file(source) as file:
            encoding = json.detect_encoding(file.read(4))
            file.seek(0)
            text = io.TextIOWrapper(file, encoding, "surrogatepass", newline="")
            return _Text(text).read_object(list_readers)
    except (ValueError, RecursionError):
        # What is wrong, and where, is for the library to say; or it is no object but is JSON.
        content = json.loads(read_bytes(source))
    if isinstance(content, dict):
        for key, read in list_readers.items():
            if isinstance(content.get(key), list):
                content[key] = read(iter(content[key]))
    return content


class _Text:
    """The text of a file from a place on, which moves through it. Where it errs: `ValueError`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._buffer, self._place = "", 0
        self._scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]

    def read_object(self, list_readers: Mapping[str, ListReader]) -> dict[str, Any]:
        """Read the object that is all of the file."""
        content: dict[str, Any] = {}
        self._take("{")
        while self._next() != "}":
            if content:
                self._take(",")
            if self._next() != '"':
                raise ValueError
            key = self._read_value()
            self._take(":")
            read = list_readers.get(key) if self._next() == "[" else None
            content[key] = read(self._read_list()) if read else self._read_value()
        self._take("}")
        if self._next():
            raise ValueError
        return content

    def _read_list(self) -> Iterator[Any]:
        self._take("[")
        is_at_end = self._next() == "]"
        while not is_at_end:
            yield self._read_value()
            comma = _COMMA.match(self._buffer, self._place)
            if comma and comma.end() < len(self._buffer):  # nearly always; the rest does the same
                self._place = comma.end()
            elif not (is_at_end := self._next() == "]"):
                self._take(",")
                self._next()
        self._take("]")

    def _read_value(self) -> Any:
        """Read a value that begins here; one that ends with the piece may go on in the next."""
        while True:
            start = self._place
            try:
                value, end = self._scan(self._buffer, start)
            except (ValueError, StopIteration):
                if not self._read_on():
                    raise ValueError from None
                continue
            if self._buffer[end : end + 1] in _AFTER_VALUE:
                self._place = end
                return value
            if not self._read_on():
                self._place = end - start
                return value

    def _next(self) -> str:
        """Go past white space -> the next letter, "" at the end."""
        while True:
            self._place = _SPACE.match(self._buffer, self._place).end()  # type: ignore[union-attr]
            if self._place < len(self._buffer):
                return self._buffer[self._place]
            if not self._read_on():
                return ""

    def _take(self, letter: str) -> None:
        if self._next() != letter:
            raise ValueError
        self._place += 1

    def _read_on(self) -> bool:
        """Drop what was read, and double what was not -> whether there was more."""
        rest = self._buffer[self._place :]
        more = self._file.read(max(_PIECE, len(rest)))
        self._buffer, self._place = rest + more, 0
        return bool(more)
