"""Names and values from data, made safe to show and to keep: examples, and any text at all."""

import json
import os
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tf_frcnn.names import (
    MAX_CLASS_NAME,
    decode_file_name,
    encode_file_name,
    explain_class_name,
    is_background,
    is_file_name,
    normalise_name,
    printable,
    quote,
    shown,
)

# Letters of all kinds, surrogates too; and more often those that do harm.
LETTERS = st.characters(exclude_categories=()) | st.sampled_from("\n\r\0\x1b\x85\u2028\u202e\ud800")
TEXT = st.text(LETTERS, max_size=60)
FILE_NAMES = st.binary(min_size=1, max_size=60).map(os.fsdecode)


def is_safe(text):
    """Tell whether no letter breaks a line, steers a terminal, turns text round or is no text."""
    return all(
        unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp")
        and unicodedata.bidirectional(letter)
        not in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for letter in text
    )


# === Shown ===


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("US$_$", "US$_$"),  # plots take text for text
        ("größe 猫 🐱", "größe 猫 🐱"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("caf\udce9.jpg", r"caf\xe9.jpg"),  # bytes of Latin-1, as Python decodes them
        ("\ud800", r"\ud800"),
        ("gpj.\u202etac", r"gpj.\u202etac"),
        ("", ""),
    ],
)
def test_a_name_is_shown_in_a_line(name, expected):
    assert shown(name) == expected


def test_of_a_long_name_beginning_and_end_are_shown():
    # (25 - 5) // 2 = 10 letters each, and " ... " between them.
    assert shown("a" * 20 + "b" * 20, limit=25) == "a" * 10 + " ... " + "b" * 10
    assert shown("a" * 25, limit=25) == "a" * 25


@given(name=TEXT, limit=st.integers(15, 60))
@settings(max_examples=500)
def test_any_name_is_shown_safely_in_a_line(name, limit):
    text = shown(name, limit)
    assert is_safe(text) and len(text) <= limit
    assert len(text.splitlines()) <= 1
    text.encode("utf-8")
    assert shown(text, limit) == text
    if is_safe(name) and len(name) <= limit and "\ufffe" not in name and "\uffff" not in name:
        # But for marks that turn the letters beside them, which cannot be seen either.
        assert text == name or any(mark in name for mark in "\u061c\u200e\u200f")


@given(message=TEXT)
@settings(max_examples=500)
def test_a_message_keeps_its_lines(message):
    text = printable(message)
    assert text.count("\n") == message.count("\n")
    assert is_safe(text.replace("\n", ""))


@pytest.mark.parametrize(
    "message",
    ["9" * 3_000_000, "\n" * 3_000_000, "a b\n" * 10_000],
    ids=["a line", "empty lines", "lines"],
)
def test_a_message_is_short_whatever_it_holds(message):
    assert len(printable(message)) <= 30_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cat", "'cat'"),
        ("a\n\udce9", r"'a\n\udce9'"),
        ([1, 2.5, None], "[1, 2.5, None]"),
        (10**5000, "a whole number of 16610 bits"),  # 5000 / log10(2) = 16609.6
    ],
    ids=["text", "not shown", "list", "number"],
)
def test_a_value_is_quoted_as_python_writes_it(value, expected):
    assert quote(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "9" * 3_000_000,
        10**400,
        [10**400] * 4,
        list(range(10**6)),
        {str(i): "x" * 999 for i in range(99)},
    ],
    ids=["text", "number", "box", "list", "object"],
)
def test_a_quoted_value_is_short(value):
    assert len(quote(value)) < 1000


# === Classes ===


@pytest.mark.parametrize("name", ["background", "Background", "BACKGROUND", "__Background__"])
def test_the_backgrounds_name_is_reserved_in_any_case(name):
    assert is_background(name)
    assert "Class 0 is the background" in explain_class_name(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a\nb", r"It holds U+000A (\n). Expected a name without control characters"),
        ("a\x7f", r"It holds U+007F (\x7f)."),
        ("a\ud83db", r"It holds U+D83D (\ud83d)."),
        ("a\u2028b", r"It holds U+2028 (\u2028)."),
        ("\u3000", "Expected a name that can be seen"),
        ("x" * 256, "It has 256 letters. Expected at most 255"),
    ],
)
def test_what_no_class_can_be_called(name, problem):
    assert problem in explain_class_name(name)
    assert "rename the class" in explain_class_name(name)


@pytest.mark.parametrize("name", ["cat", "US$_$", "traffic light", "[red]", "<b>", "猫", "x" * 255])
def test_what_a_class_can_be_called(name):
    assert explain_class_name(name) == ""


@given(names=st.lists(TEXT, min_size=1, max_size=4))
@settings(max_examples=500)
@example(names=["a\x85b"])
@example(names=["a", "\x1c"])
def test_classes_stand_a_line_each(names):
    names = [name for name in names if not explain_class_name(name)]
    labels = "".join(f"{name}\n" for name in names)
    assert labels.encode("utf-8").decode("utf-8").splitlines() == names
    assert all(is_safe(name) and 0 < len(name) <= MAX_CLASS_NAME for name in names)


@given(name=TEXT)
@settings(max_examples=500)
def test_both_forms_of_a_letter_are_one_name(name):
    forms = [normalise_name(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")]
    assert forms[0] == forms[1] == normalise_name(name)


# === Files ===


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("größe.jpg", "größe.jpg"),
        (os.fsdecode("café 1.jpg".encode("latin-1")), "bytes:caf%E9%201.jpg"),
        ("bytes:1.jpg", "bytes:bytes%3A1.jpg"),  # else it would be read as bytes
        ("a\nb.jpg", "a\nb.jpg"),  # JSON has its own way to write it
    ],
)
def test_a_files_name_in_json(name, expected):
    assert encode_file_name(name) == expected
    assert decode_file_name(expected) == name


@given(name=FILE_NAMES | TEXT.filter(is_file_name))
@settings(max_examples=500)
def test_any_files_name_comes_back_from_json(name):
    assert is_file_name(name)
    written = json.dumps(encode_file_name(name), ensure_ascii=False).encode("utf-8")
    assert decode_file_name(json.loads(written)) == name


@pytest.mark.parametrize("name", ["\ud800.jpg", "a\udfff", "\udce2\udc82\udcac"])
def test_a_surrogate_that_stands_for_no_byte_is_in_no_files_name(name):
    assert not is_file_name(name)  # the last are the bytes of €, which Python decodes as that
