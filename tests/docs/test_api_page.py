"""The API page: made without warnings, with an entry and its arguments for every public name."""

import html
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tf_frcnn

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    pytest.importorskip("pdoc", reason="pdoc is not installed (extra [docs])")
    folder = tmp_path_factory.mktemp("api")
    command = [sys.executable, DOCS / "make_api.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def entry(page: str, name: str) -> str:
    """Cut what a page has of a name: from its heading up to the next one."""
    match = re.search(
        rf'<(section|div) id="{re.escape(name)}".*?(?=<(section|div) id=|\Z)', page, re.S
    )
    assert match, f"{name} has no entry"
    return html.unescape(re.sub(r"<[^>]+>", "", match[0]))


@pytest.mark.slow
def test_every_public_name_has_an_entry_with_its_arguments(pages):
    page = (pages / "tf_frcnn.html").read_text(encoding="utf-8")
    for name in tf_frcnn.__all__:
        value = getattr(tf_frcnn, name)
        text = entry(page, name)
        if inspect.isclass(value):
            assert inspect.getdoc(value).split("\n")[0] in text.replace("\n", " ")
            for method, function in vars(value).items():
                if method == "__call__" or not method.startswith("_"):
                    if callable(getattr(value, method)) and function.__doc__:
                        assert_told(entry(page, f"{name}.{method}"), getattr(value, method))
        elif callable(value):
            assert_told(text, value)


def assert_told(text: str, function) -> None:
    documented = inspect.getdoc(function)
    for name in inspect.signature(function).parameters:
        if name != "self":
            assert name in text, f"{function.__qualname__}: {name} is not on the page"
            assert "Args:" not in documented or f"{name}:" in text, (
                f"{function.__qualname__}: nothing is said of {name}"
            )


@pytest.mark.slow
def test_what_the_api_takes_and_gives_has_pages(pages):
    fields = (pages / "tf_frcnn" / "config.html").read_text(encoding="utf-8")
    assert "Square roots of the anchors" in entry(fields, "ModelConfig.anchor_sizes")
    assert 'id="ModelConfig.__init__"' not in fields  # tells nothing that fields do not
    prediction = (pages / "tf_frcnn" / "prediction.html").read_text(encoding="utf-8")
    assert "yxyx boxes in pixels" in entry(prediction, "Prediction")
    assert (pages / "tf_frcnn" / "errors.html").is_file()
    assert (pages / "tf_frcnn" / "data" / "example.html").is_file()
    start = (pages / "tf_frcnn.html").read_text(encoding="utf-8")
    assert 'id="Config.__init__"' not in start and 'id="Detector.__init__"' in start
    assert 'href="tf_frcnn/config.html"' in start  # from there, all others are a click away
