"""report.html: its figures, plots and galleries, as text and in a real browser."""

import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.evaluation.images import found
from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import read_dataset
from tf_frcnn.evaluation.evaluator import evaluate
from tf_frcnn.reporting.page import format_figure, mark_code
from tf_frcnn.reporting.report import (
    confusion_rows,
    ranked_galleries,
    write_report,
    wrong_gallery,
)

NAMES = ("cat", "dog", "duck")
TITLE = "<b>a run & more</b>"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from tests.conftest import write_voc_folder

    root = write_voc_folder(tmp_path_factory.mktemp("data") / "voc")
    return read_dataset(DataConfig(root=str(root)), "train", NAMES, seed=0)


@pytest.fixture(scope="module")
def evaluation(dataset):
    """Find every box except those of train_1, and twice something that is not there."""
    records = [
        found(example.image_id, example.boxes, [0.8] * len(example.boxes), example.classes)
        for example in dataset.examples
    ]
    records[1] = found("train_1", [], [])
    nothing = [0, 60, 4, 90]  # in a corner above the boxes
    for index, score in ((3, 0.9), (4, 0.95)):
        record = records[index]
        records[index] = found(
            record.image_id,
            np.vstack([record.boxes, [nothing]]),
            [*record.scores, score],
            [*record.classes, 3],
        )
    return evaluate(dataset, records)


@pytest.fixture(scope="module")
def page(dataset, evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    log = folder / "metrics.jsonl"
    log.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    write_report(folder / "report.html", dataset, evaluation, TITLE, log)
    log.unlink()
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return folder / "report.html"


def figure_of(text, key):
    return re.search(rf'data-figure="{key}">([^<]*)<', text).group(1)


# === The page ===


def test_the_figures_are_those_of_metrics_json(page, evaluation):
    text = page.read_text()
    for key in ("voc_ap50_area", "voc_ap50_11pt", "coco_ap", "coco_ap75", "f1"):
        assert figure_of(text, key) == f"{evaluation.metrics[key]:.3f}"
    assert figure_of(text, "coco_ap_large") == "–"  # no box is that large


def test_what_the_user_named_is_escaped(page):
    text = page.read_text()
    assert "<h1>&lt;b&gt;a run &amp; more&lt;/b&gt;</h1>" in text and TITLE not in text


def test_names_of_any_kind_are_shown_safely(dataset, tmp_path):
    # Bytes of Latin-1, an order to the terminal, and classes like a formula and like a tag.
    ids = ("caf\udce9", "a\x1b[31m", "{{ 7 }}")
    examples = [
        dataclasses.replace(example, image_id=name)
        for name, example in zip(ids, dataset.examples[:3], strict=True)
    ]
    renamed = dataclasses.replace(
        dataset, examples=tuple(examples), class_names=("US$_$", "<i>", "%s")
    )
    records = [found(example.image_id, [[0, 60, 4, 90]], [0.9]) for example in examples]
    write_report(tmp_path / "report.html", renamed, evaluate(renamed, records), "a run")
    text = (tmp_path / "report.html").read_bytes().decode("utf-8")
    assert r"<small>caf\xe9</small>" in text and r"<small>a\x1b[31m</small>" in text
    assert "<small>{{ 7 }}</small>" in text
    assert "<th>US$_$</th>" in text and "<th>&lt;i&gt;</th>" in text and "<th>%s</th>" in text


def test_it_loads_nothing(page):
    addresses = []

    class Addresses(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in ("script", "iframe", "object", "embed")
            names = ("src", "href", "xlink:href", "srcset", "data")
            addresses.extend(value for name, value in attrs if name in names)

    text = page.read_text()
    Addresses().feed(text)
    assert len(addresses) > 5
    assert [value for value in addresses if not value.startswith(("data:", "#"))] == []
    assert "@import" not in text and set(re.findall(r"url\((.)", text)) <= {"#"}


def test_every_class_with_boxes_has_a_curve(page):
    text = page.read_text()
    curves = text[text.index('id="curves"') : text.index('id="confusion"')]
    assert curves.count("<svg") == 3
    assert all(f"<figcaption>{name}<small>AP " in curves for name in NAMES)
    assert "<?xml" not in text and "stroke: #000000" not in text


def test_losses_are_shown_where_there_is_a_log(page, dataset, evaluation, tmp_path):
    assert 'id="training"' in page.read_text()
    write_report(tmp_path / "report.html", dataset, evaluation, TITLE)
    assert 'id="training"' not in (tmp_path / "report.html").read_text()


def test_nothing_found_makes_a_page_too(dataset, tmp_path):
    write_report(tmp_path / "report.html", dataset, evaluate(dataset, []), TITLE)
    text = (tmp_path / "report.html").read_text()
    assert figure_of(text, "f1") == "0.000" and text.count("None.") == 2  # no best, nothing wrong


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_it(page, evaluation, tmp_path):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path}", "--dump-dom", page.as_uri()]
    done = subprocess.run([BROWSER, *options], capture_output=True, timeout=120, check=True)
    dom = done.stdout.decode()
    for key in ("voc_ap50_area", "coco_ap"):
        assert figure_of(dom, key) == f"{evaluation.metrics[key]:.3f}"
    # Three curves, the kinds of mistakes and the losses; two wrong, three worst, three best.
    assert dom.count("<svg") == 5 and dom.count("<img") == 8
    assert dom.rstrip().endswith("</html>")


# === Its parts ===


def test_galleries(dataset, evaluation):
    # The images have 1, 2, 1, 2, 1, 2 boxes. F1 of train_1 is 0, of train_3 2*2/(3+2) = 0.8, of
    # train_4 2*1/(2+1) = 2/3; the others have 1, and train_5 most objects.
    best, worst = ranked_galleries(dataset, evaluation)
    assert [image.title for image in best] == [
        *("train_5", "train_0", "train_2", "train_3", "train_4")
    ]
    assert [image.title for image in worst] == ["train_1"]
    assert [image.caption for image in worst] == ["2 missed"]
    assert best[3].caption == "2 correct, 1 background"
    wrong = wrong_gallery(dataset, evaluation)
    assert [(image.title, image.caption) for image in wrong] == [
        ("train_4", "duck 0.95: background"),
        ("train_3", "duck 0.90: background"),
    ]
    assert wrong[0].source.startswith("data:image/jpeg;base64,/9j/")


def test_shares_of_the_confusion_matrix():
    rows = confusion_rows({"labels": ["cat", "background"], "counts": [[3, 1], [0, 0]]}, ["cat"])
    assert rows == [("cat", [(3, 0.75), (1, 0.25)]), ("background", [(0, 0.0), (0, 0.0)])]


@pytest.mark.parametrize(
    "table",
    [
        {"counts": [[3, 0, 1, 0], [0, 0, 0, 2], [0, 0, 5, 0], [4, 1, 0, 0]]},
        {
            "counts": None,
            "cells": [[0, 0, 3], [0, 2, 1], [1, 3, 2], [2, 2, 5], [3, 0, 4], [3, 1, 1]],
        },
    ],
)
def test_the_confusion_matrix_of_some_classes(table):
    labels = ["ant", "bee", "cat", "background"]
    # Of bee: two missed. Of the background: five detections, one of which is no column here.
    assert confusion_rows({"labels": labels, **table}, ["bee", "cat"]) == [
        ("bee", [(0, 0.0), (0, 0.0), (2, 1.0)]),
        ("cat", [(0, 0.0), (5, 1.0), (0, 0.0)]),
        ("background", [(1, 0.2), (0, 0.0), (0, 0.0)]),
    ]


def test_very_many_classes_have_a_page_of_those_with_most_mistakes(dataset, tmp_path):
    names = (*NAMES, *(f"class {number}" for number in range(1200)))
    many = dataclasses.replace(dataset, class_names=names)
    write_report(tmp_path / "report.html", many, evaluate(many, []), TITLE)
    text = (tmp_path / "report.html").read_text()
    assert "the 100 classes with most mistakes, of\n1203" in text
    assert text.count("<tr><th>class 1199</th>") == 2  # its figures, and its kinds of mistakes
    assert len(text) < 3_000_000
    curves = text[text.index('id="curves"') : text.index('id="confusion"')]
    assert curves.count("<svg") == 3


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.12345, "0.123"), (7, "7")])
def test_format_figure(value, text):
    assert format_figure(value) == text


def test_options_and_backticks_become_code_and_text_stays_escaped():
    text = "<b> & --data.exif apply: give `--model.x 1 2`; a--b, -- and (`p << 4`)."
    assert str(mark_code(text)) == (
        '&lt;b&gt; &amp; <code class="option">--data.exif</code> apply: give <code><code '
        'class="option">--model.x</code> 1 2</code>; a--b, -- and (<code>p &lt;&lt; 4</code>).'
    )
