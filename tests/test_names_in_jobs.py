"""Whole tiny jobs on data with any names: check-data, two steps, report, export, predict."""

import io
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import markupsafe
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

import train
from tests.conftest import TINY_OPTIONS
from tests.data.coco_writer import annotation, content, write_json
from tests.test_names import is_safe
from tf_frcnn import cli
from tf_frcnn.errors import run_command
from tf_frcnn.inference import InferenceModel
from tf_frcnn.names import decode_file_name, normalise_name, shown
from tf_frcnn.run_folder import RunFolder
from tf_frcnn.training.trainer import FasterRCNNTrainer

SIZE = 24
NUM_NAMES = 30
SMALL = (
    *("--data.short-side", "32", "--data.long-side", "32", "--data.on-error", "skip"),
    *("--train.steps", "2", "--data.val-split", "none"),
)
HARMFUL = [
    *("US$_$", r"\$", "[red]", "[/b]", ":dog:", "<b>&amp;", "{{ 7 }}", "%s", "mean", "items", "_x"),
    *("Background", "caf\u00e9", "a\nb", "a\x1b[31m", "a\u2028b", "\u202egpj", "\ud83d", "x" * 300),
]
HARMFUL_FILES = [
    *(b"caf\xe9", b"a: images[9] (b)", b"a\nb", b"\x1b[31m", b"x" * 251, b"[red]", b"--help"),
    *(b"bytes:1", b"C:\\a", b"a b ", b"%d", b"cafe\xcc\x81"),
]


def as_class(name):
    return normalise_name(name.strip())


def as_file(stem):
    return normalise_name(os.fsdecode(stem))


LETTERS = st.characters(exclude_categories=())
CLASS_NAMES = st.lists(
    st.text(LETTERS, max_size=12) | st.sampled_from(HARMFUL),
    min_size=NUM_NAMES,
    max_size=NUM_NAMES,
    unique_by=as_class,
).filter(lambda names: all(as_class(name) not in ("", "cat") for name in names))
FILE_STEMS = st.lists(
    st.binary(min_size=1, max_size=40).filter(
        lambda stem: not stem.startswith(b".") and not set(stem) & set(b"/\0")
    )
    | st.sampled_from(HARMFUL_FILES),
    min_size=NUM_NAMES,
    max_size=NUM_NAMES,
    unique_by=lambda stem: as_file(stem).casefold(),
)


def png():
    """Encode an image with a red square; all images of a job are the same."""
    image = Image.new("RGB", (SIZE, SIZE), (90, 100, 90))
    image.paste((220, 60, 40), (4, 4, 16, 16))
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def write_images(folder, stems):
    folder.mkdir(parents=True)
    for stem in stems:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + stem + b".png")).write_bytes(png())


def write_voc(root, names, stems):
    """Write an XML file an image: an object of its own class, and a cat."""
    write_images(root / "JPEGImages", stems)
    (root / "Annotations").mkdir()
    for name, stem in zip(names, stems, strict=True):
        element = ElementTree.Element("annotation")
        for class_name, low in ((name, 5), ("cat", 8)):
            item = ElementTree.SubElement(element, "object")
            ElementTree.SubElement(item, "name").text = class_name
            box = ElementTree.SubElement(item, "bndbox")
            for field in ("xmin", "ymin", "xmax", "ymax"):
                number = low if "min" in field else 16
                ElementTree.SubElement(box, field).text = str(number)
        path = os.fsencode(root / "Annotations") + b"/" + stem + b".xml"
        Path(os.fsdecode(path)).write_bytes(ElementTree.tostring(element, "utf-8"))


def write_coco(root, names, stems):
    """Write one JSON file, with the same objects."""
    write_images(root / "images", stems)
    images, annotations = [], []
    for number, stem in enumerate(stems, start=1):
        name = os.fsdecode(stem) + ".png"
        images.append({"id": number, "file_name": name, "height": SIZE, "width": SIZE})
        for category, low in ((number, 4), (NUM_NAMES + 1, 7)):
            box = [low, low, 16 - low, 16 - low]
            annotations.append(annotation(len(annotations) + 1, number, box, category))
    categories = dict(enumerate([*names, "cat"], start=1))
    write_json(root / "annotations.json", content(images, annotations, categories))


def in_xml(name):
    """Tell whether XML can hold a name: no control characters, no surrogates."""
    return is_safe(name) and not set(name) & {"\ufffe", "\uffff"}


def run_job(folder, data_format, names, stems):
    """Run all commands, each of which says what is wrong or works, and look at what they leave."""
    root = folder / "data"
    if data_format == "voc":
        names = [name if in_xml(name) else f"class {number}" for number, name in enumerate(names)]
        write_voc(root, names, stems)
    else:
        write_coco(root, names, stems)
    usable = [
        name
        for name in map(as_class, (*names, "cat"))
        if is_safe(name)
        and not set(name) & set("\u061c\u200e\u200f\ufffe\uffff")
        and len(name) <= 255
        and name.casefold() not in ("background", "__background__")
    ]
    classes = sorted(usable) if data_format == "voc" else usable
    checked = folder / "checked"
    status = cli.main(["check-data", "--data.root", str(root), "--output", str(checked)])
    assert status == (1 if len(classes) <= NUM_NAMES else 0)
    report = json.loads((checked / "check_data.json").read_text())
    assert report["class_names"] == classes
    assert report["faults"]["count"] == NUM_NAMES + 1 - len(classes)

    run, exported = RunFolder(folder / "run"), folder / "exported"
    options = [*TINY_OPTIONS, *SMALL, "--data.root", str(root), "--output", str(run.path)]
    assert run_command(lambda: train.main([*options, "--export-dir", str(exported)])) == 0
    trained = run.load_config().data.classes
    # Those of the three images that VOC's val split has are not seen.
    assert set(trained) <= set(classes) and len(trained) >= len(classes) - 3
    assert data_format == "voc" or trained == tuple(classes)
    ids = sorted(map(as_file, stems) if data_format == "voc" else map(str, range(1, 31)))
    assert sorted(name for split in run.load_division().values() for name in split) == ids
    json.loads(run.splits_file.read_bytes().decode("utf-8"))
    page = (run.path / "report.html").read_bytes().decode("utf-8")
    assert all(str(markupsafe.escape(shown(name))) in page for name in trained)
    labels = (exported / "1" / "assets" / "labels.txt").read_bytes().decode("utf-8")
    assert labels.splitlines() == list(trained)

    if data_format == "coco":  # which knows its classes without being told
        options = ["--detections", str(run.path / "detections.json"), "--data.root", str(root)]
        options += ["--data.on-error", "skip", "--output", str(folder / "judged")]
        assert cli.main(["evaluate", *options]) == 0
        figures = [path / "metrics.json" for path in (run.path, folder / "judged")]
        ours, again = (json.loads(path.read_text())["per_class"] for path in figures)
        assert ours == again

    found = folder / "found"
    images = next(root.glob("*/*.png")).parent
    options = ["predict", str(exported), str(images), "--output", str(found), "--score", "0"]
    assert cli.main(options) == 0
    results = json.loads((found / "detections.json").read_bytes().decode("utf-8"))
    names_of_files = [decode_file_name(item["file_name"]) for item in results]
    assert set(names_of_files) == {os.fsdecode(stem) + ".png" for stem in stems}
    assert {item["category_name"] for item in results} <= set(trained)
    assert len(list(found.glob("*.jpg"))) == NUM_NAMES


@pytest.fixture
def no_network(monkeypatch):
    """Leave out the network, whose tracing takes most of a job's time.

    Steps only give losses, and every class is found in every image, in the exported model too.
    """

    def give_losses(trainer, batch, may_update=True):
        return {name: tf.constant(1.0) for name in ("loss", *trainer.loss_names)}

    def find_all(model, images):
        shape = tf.stack([tf.shape(images)[0], len(model.class_names)])
        classes = tf.zeros(shape, tf.int32) + tf.range(1, len(model.class_names) + 1)
        return {
            "detection_boxes": tf.zeros([*tf.unstack(shape), 4]) + [4.0, 4.0, 16.0, 16.0],
            "detection_scores": tf.zeros(shape) + 0.9,
            "detection_classes": classes,
            "detection_names": tf.gather(tf.constant(["", *model.class_names]), classes),
            "num_detections": tf.fill(shape[:1], len(model.class_names)),
        }

    monkeypatch.setattr(FasterRCNNTrainer, "train_step", give_losses)
    monkeypatch.setattr(InferenceModel, "detect", find_all)


def draw_jobs(count, start):
    """Draw the names of jobs; the first that hypothesis makes are too simple."""
    drawn = []

    @seed(start)
    @settings(
        max_examples=count + 10,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(names=CLASS_NAMES, stems=FILE_STEMS)
    def draw(names, stems):
        drawn.append((names, stems))

    draw()
    return drawn[-count:]


@pytest.fixture(scope="module")
def jobs():
    """Draw class names and file names, 30 of each a job: of 3 jobs for every run of the tests."""
    return draw_jobs(3, start=0)


@pytest.fixture(scope="module")
def more_jobs():
    """Draw those of 20 others."""
    return draw_jobs(20, start=1)


@pytest.fixture
def any_names(tmp_path):
    """Skip where the file system takes text for names only."""
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9")).touch()
    except OSError as error:
        pytest.skip(f"names of files that are no text: {error}")


@pytest.mark.parametrize("number", range(3))
def test_a_job_with_any_names(number, jobs, any_names, no_network, tmp_path):
    run_job(tmp_path, ("voc", "coco")[number % 2], *jobs[number])


@pytest.mark.release
@pytest.mark.parametrize("number", range(18))
def test_more_jobs_with_any_names(number, more_jobs, any_names, no_network, tmp_path):
    run_job(tmp_path, ("voc", "coco")[number % 2], *more_jobs[number])


@pytest.mark.parametrize(
    "number",
    [pytest.param(18, marks=pytest.mark.slow), pytest.param(19, marks=pytest.mark.release)],
)
def test_a_job_with_any_names_and_its_network(number, more_jobs, any_names, tmp_path):
    run_job(tmp_path, ("voc", "coco")[number % 2], *more_jobs[number])
