"""Opening a set of TensorFlow Datasets: names, preparing, features, and what is said of each."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.data.tfds_writer import box, features, item, record, tfds, unchecked_boxes, write_set
from tf_frcnn.data import tfds_set
from tf_frcnn.data.tfds_set import open_set
from tf_frcnn.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def message_of(name):
    with pytest.raises(DataError) as caught:
        open_set(Path(name))
    return str(caught.value)


ONE = {"train": [record(0, item(box(1, 2, 30, 40)))]}


@pytest.mark.parametrize("name", ["toy", "toy:1.0.0", "toy:1.*.*"])
def test_a_prepared_set_is_opened_without_its_code(data_dir, name):
    write_set(data_dir, ONE)
    opened = open_set(Path(name))
    assert opened.name == "toy/1.0.0" and opened.class_names == ("dog", "cat", "ant")
    assert opened.count_images("train") == 1 and not opened.counts_from_one


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ConfigError) as caught:
        open_set(Path("voc/2007"))
    assert "--data.format tfds: " in str(caught.value)
    assert "`python -m pip install -e '.[tfds]'`" in str(caught.value)


def test_a_package_that_did_not_load_is_told_as_such(monkeypatch):
    # TensorFlow Datasets logs what went wrong in its import, and leaves an empty module.
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", ModuleType("tensorflow_datasets"))
    with pytest.raises(ConfigError, match=r"in part only.*A new env.*-e '\.\[addons,tfds\]'"):
        open_set(Path("voc/2007"))


# === Names ===


def test_a_name_that_is_no_set_has_the_closest_ones(data_dir):
    message = message_of("vocc/2007")
    assert "vocc/2007: TensorFlow Datasets cannot open it (Dataset vocc not found)" in message
    assert f"or that is in {data_dir}; the closest: voc" in message
    assert "\n" not in message
    write_set(data_dir, ONE, name="drawn_animals")
    assert message_of("drawn_animal").endswith("; the closest: drawn_animals.")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("voc/2009", ["(BuilderConfig 2009 not found", "configurations of voc: 2007, 2012."]),
        ("voc/2007:1.0.0", ["(Dataset voc cannot be loaded at version 1.0.0, only: 5."]),
        ("toy:2.0.0", ["(Dataset toy not found)", "/toy: the folder holds 1.0.0/."]),
        ("/abs/path", ["Parsing builder name string /abs/path failed"]),
        ("../toy", ["Parsing builder name string ../toy failed"]),
    ],
)
def test_other_names_that_open_nothing(data_dir, name, words):
    write_set(data_dir, ONE)
    message = message_of(name)
    for word in ["Expected NAME, NAME/CONFIG or NAME/CONFIG:VERSION", *words]:
        assert word in message
    assert "\n" not in message


# === Preparing ===


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("HTTPSConnectionPool(host='example.org'): Max retries exceeded"),
        AssertionError("Manual directory does not exist.\nCreate it and put the files there."),
        ModuleNotFoundError("No module named 'apache_beam'"),
    ],
)
def test_a_set_that_cannot_be_prepared_names_set_folder_and_ways_out(
    data_dir, monkeypatch, capsys, caplog, error
):
    def fail(builder, _):
        raise error

    monkeypatch.setattr(tfds.builder_cls("voc"), "_split_generators", fail)
    with caplog.at_level("INFO"):
        message = message_of("voc/2007")
    assert f"prepares it in {data_dir}" in caplog.text
    assert message.startswith("voc/2007/5.")
    assert f"cannot download and prepare it in {data_dir} ({type(error).__name__}: " in message
    assert " ".join(str(error).split()) in message
    assert "a network" in message and "TFDS_DATA_DIR" in message
    assert capsys.readouterr().out == ""  # TFDS prints where it downloads to


def test_a_folder_that_cannot_be_written_is_told(data_dir):
    data_dir.write_text("a file")
    assert f"prepare it in {data_dir} (" in message_of("voc/2007")


# === Features ===


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": tfds.features.Scalar(np.int64)},
        {"bbox": tfds.features.BBoxFeature(bbox_format="XYXY")},
        {"bbox": tfds.features.Tensor(shape=(5,), dtype=np.float32)},
        {"objects": tfds.features.Text()},
        {"objects": tfds.features.Sequence(tfds.features.BBoxFeature())},
        {"image": tfds.features.Tensor(shape=(1, 1, 3), dtype=np.uint8)},
    ],
    ids=lambda wrong: repr(wrong),
)
def test_sets_without_boxes_are_told_what_they_have(data_dir, wrong):
    builder = write_set(data_dir, ONE)
    top = {name: wrong[name] for name in ("objects", "image") if name in wrong}
    inner = {name: feature for name, feature in wrong.items() if name not in top}
    builder.info._features = features(**inner, **top)
    with pytest.raises(DataError) as caught:
        tfds_set.TfdsSet(builder)
    message = str(caught.value)
    assert message.startswith("toy/1.0.0: has the features FeaturesDict(")
    assert "Expected those of a set for detection, such as voc/2007: image (Image)" in message


def test_a_set_that_is_no_detection_set_is_told_before_it_is_downloaded(data_dir):
    message = message_of("mnist")
    assert message.startswith("mnist/3.") and "has the features FeaturesDict({ 'image'" in message
    assert not data_dir.exists()


# === Reading ===


def test_records_hold_what_was_written_and_the_image_is_not_decoded(data_dir):
    objects = [item([0.5, 0.25, 1, 0.75], "ant", True), item([-1, 2, 3, 4])]
    content = b"whatever the file holds"
    write_set(
        data_dir,
        {"train": [record(0, *objects, image=content), record(1)]},
        features(bbox=unchecked_boxes()),
    )
    first, second = open_set(Path("toy")).records("train")
    assert (first.content, first.file_name, first.image_id) == (content, "p0.png", "")
    assert first.key == "toy-train.tfrecord-00000-of-00001__0"
    np.testing.assert_array_equal(first.boxes, [[0.5, 0.25, 1, 0.75], [-1, 2, 3, 4]])
    assert first.labels == [2, 1] and first.difficult.tolist() == [True, False]
    assert second.boxes.shape == (0, 4) and second.labels == []


def test_a_damaged_file_is_told(data_dir):
    write_set(data_dir, ONE)
    (path,) = data_dir.glob("toy/1.0.0/*.tfrecord*")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError) as caught:
        list(open_set(Path("toy")).records("train"))
    message = str(caught.value)
    folder = data_dir / "toy" / "1.0.0"
    assert f"toy/1.0.0, split train: cannot be read from {folder} (DataLossError: " in message
    assert "Expected TFRecord files" in message and "prepared anew" in message


def test_files_of_another_format_are_told(data_dir):
    write_set(data_dir, ONE, file_format="array_record")
    with pytest.raises(DataError, match="NotImplementedError: .*Expected TFRecord files"):
        list(open_set(Path("toy")).records("train"))


def test_a_gpu_is_not_filled_by_reading(data_dir, monkeypatch):
    import tensorflow as tf

    asked_for = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind} 0"])
    monkeypatch.setattr(
        tf.config.experimental,
        "set_memory_growth",
        lambda device, grow: asked_for.append((device, grow)),
    )
    write_set(data_dir, ONE)
    open_set(Path("toy"))
    assert asked_for == [("GPU 0", True)]
