"""`tf-frcnn tflite`: the files it writes, and what is said of what cannot be done."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.step_checkpoints import save_checkpoint
from tests.tflite.conftest import build_inference_model, noise
from tf_frcnn import cli, inference
from tf_frcnn.commands import tflite as command
from tf_frcnn.config import load_config, save_config
from tf_frcnn.errors import WeightsError
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.model import STAGES
from tf_frcnn.tflite import conversion, timing
from tf_frcnn.tflite.file import read_metadata
from tf_frcnn.tflite.interpreter import FileRunner
from tf_frcnn.training.trainer import FasterRCNNTrainer


@pytest.fixture
def run(tmp_path, tiny_config, voc_folder):
    """Write the configuration of a run on `voc_folder`."""
    data = dataclasses.replace(tiny_config.data, root=str(voc_folder))
    model = dataclasses.replace(tiny_config.model, rpn_min_size=2.0)  # some size is too small
    config = dataclasses.replace(tiny_config, data=data, model=model)
    (tmp_path / "run").mkdir()
    save_config(config, tmp_path / "run" / "config.json")
    return tmp_path / "run"


@pytest.fixture
def converted(monkeypatch, inference_model, float_content):
    """Spare the slow parts: loading, converting (the float32 file stands for all), measuring."""
    monkeypatch.setattr(inference, "load_network", lambda *_: inference_model)
    monkeypatch.setattr(conversion.Converter, "convert", lambda self, *_: float_content)
    monkeypatch.setattr(timing, "NUM_RUNS", 1)


def tflite(run, *options):
    """Run `tf-frcnn tflite RUN OPTIONS` in this process -> exit status."""
    return cli.main(["tflite", str(run), *map(str, options)])


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# === What is written ===


@pytest.mark.slow
def test_a_run_becomes_an_int8_file(
    run, inference_model, tiny_config, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(timing, "NUM_RUNS", 1)
    trainer = FasterRCNNTrainer(inference_model.network, tiny_config.train)
    save_checkpoint(run / "checkpoints", 2, inference_model.network, trainer.optimizer)
    output = tmp_path / "out" / "m.tflite"
    assert tflite(run, "--output", output, "--quantize", "int8", "--size", "40x61") == 0
    assert names_in(output.parent) == ["labels.txt", "m.report.json", "m.tflite"]
    assert (output.parent / "labels.txt").read_text() == "cat\ndog\nduck\n"
    boxes, scores, classes = FileRunner(output.read_bytes()).detect(noise((40, 61)))
    assert len(boxes) == len(scores) == len(classes) <= 10
    report = json.loads((output.parent / "m.report.json").read_text())
    assert report["model"] == str(run) and report["quantize"] == "int8"
    assert report["picture_size"] == [40, 61] == report["inputs"][0]["shape"][1:3]
    assert report["bytes"] == output.stat().st_size
    assert list(report["stages"]) == list(STAGES)
    assert report["operators"]["CONV_2D"] == 16
    times = [stage["milliseconds"] for stage in report["stages"].values()]
    assert report["milliseconds"] == pytest.approx(sum(times)) and report["milliseconds"] > 0
    assert report["milliseconds_by_operator"] is None
    assert report["deviation"]["picture"].endswith("train_0.jpg")
    said = capsys.readouterr()
    printed = "".join(said.out.split())  # lines are broken anywhere, in long paths too
    assert "CONV_2D16" in printed and "roi_pooling" in printed and "train_0.jpg:" in printed
    assert "finding the ranges of int8 in 6 images" in said.err
    assert "XNNPACK" not in said.err and "MLIR" not in said.err


@pytest.mark.slow
def test_a_saved_model_becomes_a_file_that_answers_as_it_does(
    inference_model, run, tmp_path, monkeypatch
):
    monkeypatch.setattr(timing, "NUM_RUNS", 1)
    config = dataclasses.replace(
        load_config(run / "config.json"), model=inference_model.network.config
    )
    version = export_saved_model(inference_model, config, tmp_path / "saved")
    assert tflite(version, "--output", tmp_path / "m.tflite", "--size", "50x70") == 0
    image = noise((50, 70))
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    answer = {name: value[0].numpy() for name, value in serve(images=image[None]).items()}
    count = answer["num_detections"]
    assert count > 3, "the comparison needs detections"
    boxes, scores, classes = FileRunner((tmp_path / "m.tflite").read_bytes()).detect(image)
    np.testing.assert_array_equal(classes, answer["detection_classes"][:count])
    np.testing.assert_allclose(boxes, answer["detection_boxes"][:count], atol=0.5)
    np.testing.assert_allclose(scores, answer["detection_scores"][:count], atol=1e-3)


@pytest.mark.usefixtures("converted")
def test_the_report_says_how_far_it_is_off(run, tmp_path, capsys):
    assert tflite(run, "--output", tmp_path / "m.tflite", "--size", "50x70") == 0
    report = json.loads((tmp_path / "m.report.json").read_text())
    deviation = report["deviation"]
    assert deviation["num_found"] == deviation["num_expected"] > 0 == deviation["num_unmatched"]
    assert 0.0 <= deviation["max_box_difference"] < 0.5
    assert 0.0 <= deviation["max_score_difference"] < 1e-3
    assert sum(stage["bytes"] for stage in report["stages"].values()) + report[
        "bytes_of_graph"
    ] == len((tmp_path / "m.tflite").read_bytes())
    # The file says what is to be done to an image first; its answers above are those with it.
    preparation = {"exif": "apply", "antialias": False}
    assert read_metadata((tmp_path / "m.tflite").read_bytes()) == preparation
    assert {name: report[name] for name in preparation} == preparation
    assert "0 without a partner" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.usefixtures("converted")
def test_without_images_the_report_is_on_noise(run, tmp_path, voc_folder, monkeypatch):
    voc_folder.rename(tmp_path / "moved")
    assert tflite(run, "--output", tmp_path / "m.tflite", "--size", "50x70") == 0
    report = json.loads((tmp_path / "m.report.json").read_text())
    assert report["deviation"]["picture"].startswith("noise (no image of the run can be read")


def test_the_default_size_is_that_of_3_to_4(run, tmp_path, monkeypatch):
    sizes = []

    def look(inference_model, size):
        sizes.append(size)
        raise KeyboardInterrupt

    monkeypatch.setattr(inference, "load_network", lambda model: None)
    monkeypatch.setattr(conversion, "Converter", look)
    assert tflite(run, "--output", tmp_path / "m.tflite") == 130
    assert sizes == [(64, 85)]  # short side 64; 64 * 4 / 3 = 85.3
    assert not (tmp_path / "m.tflite").exists()


def test_fewer_rois_are_compared_with_the_model_itself(
    run, tmp_path, monkeypatch, inference_model, float_content
):
    seen = []

    def load(model, config=None):
        return inference_model if config is None else build_inference_model(config.model)

    def convert(self, *_):
        seen.append(self.model.network.proposal_layer.post_nms_top_k)
        return float_content

    monkeypatch.setattr(inference, "load_network", load)
    monkeypatch.setattr(conversion.Converter, "convert", convert)
    monkeypatch.setattr(timing, "NUM_RUNS", 1)
    output = tmp_path / "m.tflite"
    assert tflite(run, "--output", output, "--size", "50x70", "--num-rois", 5) == 0
    report = json.loads((tmp_path / "m.report.json").read_text())
    assert seen == [5] and report["num_rois"] == 5
    # The file, a stand-in, is that of all RoIs, and so is the model that it is compared with.
    assert report["deviation"]["num_unmatched"] == 0 < report["deviation"]["num_found"]


# === What is there already ===


@pytest.mark.usefixtures("converted")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m.tflite", "there is something already. Give another --output"),
        ("m.report.json", "there is something already. Give another --output"),
        # Another FILE.tflite in the same folder would meet the same labels.txt.
        ("labels.txt", "there are other class names already. Give an --output in another folder"),
    ],
)
def test_nothing_is_overwritten(run, tmp_path, name, message, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / name).write_text("mine")
    options = ("--output", output / "m.tflite", "--size", "50x70")
    assert tflite(run, *options) == 2
    assert f"{name}: {message}" in capsys.readouterr().err
    assert names_in(output) == [name] and (output / name).read_text() == "mine"
    assert tflite(run, *options, "--overwrite") == 0
    (backup,) = output.glob("*.bak-*")
    assert backup.name.startswith(name) and backup.read_text() == "mine"


@pytest.mark.usefixtures("converted")
def test_files_of_one_model_share_their_labels(run, tmp_path):
    for name in ("a", "b"):
        assert tflite(run, "--output", tmp_path / "out" / f"{name}.tflite", "--size", "50x70") == 0
    assert not list((tmp_path / "out").glob("*.bak-*"))


@pytest.mark.usefixtures("converted")
@pytest.mark.parametrize("name", ["m.tflite", "m.report.json"])
def test_a_full_disk_leaves_nothing(name, run, tmp_path, capsys, monkeypatch):
    write_bytes = type(tmp_path).write_bytes

    def fill(path, content):
        if path.name.startswith(name):
            write_bytes(path, content[:100])
            raise OSError(28, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(type(tmp_path), "write_bytes", fill)
    output = tmp_path / "out" / "m.tflite"
    assert tflite(run, "--output", output, "--size", "50x70") == 2
    assert f"{name}: cannot be written (No space left on device)" in capsys.readouterr().err
    assert names_in(output.parent) == []


# === What cannot be done ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--output", "OUT/m.pb"), "m.pb: expected the name of a file, FILE.tflite"),
        (("--output", "OUT/m.tflite", "--size", "64"), "--size 64: expected height and width"),
        (
            ("--output", "OUT/m.tflite", "--size", "2x900"),
            "nothing could be found. Expected --size",
        ),
        (
            ("--output", "OUT/m.tflite", "--num-rois", "0"),
            "--num-rois 0: expected a number from 1 to 20",
        ),
        (
            ("--output", "OUT/m.tflite", "--num-rois", "21"),
            "--num-rois 21: expected a number from 1 to 20",
        ),
        (("--output", "/proc/out/m.tflite"), "--output /proc/out: the folder cannot be made"),
        (
            ("--output", "OUT/m.tflite", "--calibration", "OUT"),
            "there is no image directly in this folder",
        ),
    ],
)
def test_what_cannot_work_is_told_before_tensorflow_is_loaded(
    run, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.setattr(command, "set_up_tensorflow", lambda: pytest.fail("TensorFlow is loaded"))
    (tmp_path / "OUT").mkdir()
    options = [option.replace("OUT", str(tmp_path / "OUT")) for option in options]
    assert tflite(run, *options) == 2
    assert message in capsys.readouterr().err
    assert names_in(tmp_path / "OUT") == []


@pytest.mark.parametrize("field", [{"flip_at_test": True}, {"roi_op": "roi_pool"}])
def test_a_network_that_cannot_be_converted_moves_no_files_away(
    run, tmp_path, monkeypatch, capsys, field
):
    monkeypatch.setattr(command, "set_up_tensorflow", lambda: pytest.fail("TensorFlow is loaded"))
    config = load_config(run / "config.json")
    model = dataclasses.replace(config.model, **field)
    save_config(dataclasses.replace(config, model=model), run / "config.json")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "m.tflite").write_bytes(b"an older one")
    assert tflite(run, "--output", tmp_path / "out" / "m.tflite", "--overwrite") == 2
    assert f"model.{next(iter(field))} " in capsys.readouterr().err
    assert names_in(tmp_path / "out") == ["m.tflite"]


def test_int8_without_images(run, tmp_path, voc_folder, capsys):
    voc_folder.rename(tmp_path / "moved")
    assert tflite(run, "--output", tmp_path / "m.tflite", "--quantize", "int8") == 2
    assert "Give a folder with a hundred images" in capsys.readouterr().err


def test_a_model_that_is_not_there(tmp_path, capsys):
    assert tflite(tmp_path / "no", "--output", tmp_path / "out" / "m.tflite") == 2
    assert "no: there is no such file or folder. Expected the folder" in capsys.readouterr().err
    assert names_in(tmp_path) == []


def test_a_frozen_export_is_refused(run, tmp_path, monkeypatch, capsys):
    def refuse(model):
        raise WeightsError("1: is a frozen export")

    monkeypatch.setattr(inference, "load_network", refuse)
    assert tflite(run, "--output", tmp_path / "out" / "m.tflite") == 2
    assert "is a frozen export" in capsys.readouterr().err
    assert names_in(tmp_path / "out") == []
