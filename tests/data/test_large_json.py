"""JSON in pieces: the same values and the same errors as in one piece, in less memory."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_frcnn.data import large_json
from tf_frcnn.data.large_json import read_json

NUMBERS = st.integers() | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
)


@pytest.fixture(params=[1, 7, 1 << 20])
def piece(request, monkeypatch):
    monkeypatch.setattr(large_json, "_PIECE", request.param)


@given(
    content=st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES | st.lists(VALUES)),
    piece=st.integers(1, 9),
    indent=st.sampled_from([None, 0, 2]),
    is_ascii=st.booleans(),
)
def test_the_values_are_those_of_the_library(tmp_path_factory, content, piece, indent, is_ascii):
    path = tmp_path_factory.mktemp("json") / "a.json"
    text = json.dumps(content, indent=indent, ensure_ascii=is_ascii)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(large_json, "_PIECE", piece)
        patched.setattr(large_json, "read_bytes", None)  # the other way is not taken
        assert read_json(path, {"a": list}) == content


def test_only_the_lists_of_these_keys_at_the_top_are_handed_over(tmp_path, piece):
    path = tmp_path / "a.json"
    path.write_text(' {"a" : [1, 23 ,{"a": [4]}] , "b": [5], "c": {"a": [6]}, "d": []}\n')
    readers = {"a": lambda entries: ("read", *entries), "d": lambda entries: ("read", *entries)}
    assert read_json(path, readers) == {
        "a": ("read", 1, 23, {"a": [4]}),
        "b": [5],
        "c": {"a": [6]},
        "d": ("read",),
    }
    path.write_text('{"a": 7}')
    assert read_json(path, readers) == {"a": 7}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_other_encodings_are_told_by_the_first_bytes(tmp_path, piece, encoding):
    path = tmp_path / "a.json"
    path.write_bytes('{"a": ["\u00e9\U0001f600"]}'.encode(encoding))
    assert read_json(path, {"a": list}) == {"a": ["\u00e9\U0001f600"]}


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "{",
        "{}x",
        '{"a": [1,, 2]}',
        '{"a": [1, 2',
        '{"a": [1 2]}',
        '{"a": [1,]}',
        '{"a": [,1]}',
        '{"a": 1,}',
        '{,"a": 1}',
        '{"a" 1}',
        '{"a": tru}',
        "{a: 1}",
        '{"a": ["\n"]}',
        '{"a": ' + "[" * 100_000,
    ],
)
def test_what_is_wrong_is_told_in_the_librarys_words(tmp_path, piece, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises((ValueError, RecursionError)) as expected:
        json.loads(text)
    with pytest.raises(expected.type) as caught:
        read_json(path, {"a": list})
    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("text", ["[1, 2]", '"a"', "3"])
def test_what_is_no_object_is_given_as_it_is(tmp_path, piece, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    assert read_json(path, {"a": list}) == json.loads(text)


def test_the_text_is_never_in_memory_as_a_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": [{"number": n, "long": "x" * 1000} for n in range(16_000)]}))
    assert path.stat().st_size > 16_000_000
    tracemalloc.start()
    try:
        content = read_json(path, {"a": lambda entries: sum(entry["number"] for entry in entries)})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert content == {"a": 16_000 * 15_999 // 2}
    # A piece of 2^20 letters, what is left of the one before, both joined, and the reader's own.
    assert peak < 8_000_000
