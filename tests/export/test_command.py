"""`tf-frcnn export`: versions, options, what travels along, and what is said of wrong input."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.step_checkpoints import save_checkpoint
from tf_frcnn import cli
from tf_frcnn.config import load_config, save_config
from tf_frcnn.inference import load_network
from tf_frcnn.model_files import find_model
from tf_frcnn.training.trainer import FasterRCNNTrainer


@pytest.fixture(scope="module")
def run(inference_model, tiny_config, tmp_path_factory):
    """Write a run of the model, with its figures and its data's fingerprint."""
    folder = tmp_path_factory.mktemp("run")
    save_config(tiny_config, folder / "config.json")
    trainer = FasterRCNNTrainer(inference_model.network, tiny_config.train)
    save_checkpoint(folder / "checkpoints", 4, inference_model.network, trainer.optimizer)
    (folder / "metrics.json").write_text('{"coco_ap": 0.5}')
    (folder / "dataset.json").write_text('{"root": "voc"}')
    return folder


@pytest.fixture(scope="module")
def versions(run, tmp_path_factory):
    """Export the run as it is, and a second time with other thresholds -> the folder of both."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    assert export(run, "--output", folder) == 0
    thresholds = ("--score-threshold", "0.3", "--nms-iou", "0.6", "--max-detections", "4")
    assert export(run, "--output", folder, *thresholds) == 0
    return folder


def export(*arguments):
    return cli.main(["export", *map(str, arguments)])


def records_of(version):
    paths = [version / "assets" / name for name in ("metrics.json", "dataset.json")]
    return {path.name: json.loads(path.read_text()) for path in paths if path.exists()}


def test_versions_count_up(versions):
    assert sorted(path.name for path in versions.iterdir()) == ["1", "2"]


def test_without_options_it_is_the_run_with_all_that_is_known_of_it(versions, run, tiny_config):
    assert find_model(versions / "1").load_config() == tiny_config
    assert records_of(versions / "1") == {
        "metrics.json": {"coco_ap": 0.5},
        "dataset.json": {"root": "voc"},
    }


def test_thresholds_are_those_that_were_asked_for(versions, batches, expected):
    model = load_config(versions / "2" / "assets" / "config.json").model
    assert (model.score_threshold, model.nms_iou, model.max_detections) == (0.3, 0.6, 4)
    serve = tf.saved_model.load(str(versions / "2")).signatures["serving_default"]
    answer = serve(images=tf.constant(batches["batch_3_50x70"]))
    scores = answer["detection_scores"].numpy()
    assert scores.shape == (3, 4) and answer["detection_boxes"].shape == (3, 4, 4)
    assert scores[scores > 0].min() > 0.3
    # The tests' network finds more than that, and less sure things, where it may.
    whole = expected["batch_3_50x70"]["detection_scores"]
    assert whole.shape == (3, 10) and whole.min() < 0.3


def test_figures_of_other_thresholds_stay_behind(versions):
    assert records_of(versions / "2") == {"dataset.json": {"root": "voc"}}


def test_soft_nms_and_the_mirror_image_can_be_had_of_a_finished_run(run, batches, tmp_path, capsys):
    options = ("--soft-nms-sigma", "0.5", "--flip-at-test", "True", "--score-threshold", "0.01")
    own = find_model(run).load_config().model.rpn_post_nms_top_k
    options = (*options, "--num-rois", own + 3)
    assert export(run, "--output", tmp_path / "soft", *options) == 0
    config = find_model(tmp_path / "soft").load_config()
    assert (config.model.soft_nms_sigma, config.model.flip_at_test) == (0.5, True)
    assert config.model.rpn_post_nms_top_k == own + 3
    serve = tf.saved_model.load(str(tmp_path / "soft" / "1")).signatures["serving_default"]
    images = tf.constant(batches["batch_3_50x70"])
    answer = serve(images=images)
    changed = load_network(find_model(run), config)
    assert changed.network.detection_layer.soft_nms_sigma == 0.5
    for name, expected in changed.detect(images).items():
        if expected.dtype != tf.string:
            np.testing.assert_allclose(answer[name], expected, atol=1e-3, err_msg=name)
    assert records_of(tmp_path / "soft" / "1") == {"dataset.json": {"root": "voc"}}
    # A limit of IoU has no part in it, which is told.
    capsys.readouterr()
    limit = ("--nms-iou", "0.6")
    assert export(tmp_path / "soft", "--output", tmp_path / "limit", *limit) == 0
    assert (
        "--nms-iou 0.6: has no part in soft-NMS (--soft-nms-sigma 0.5)" in capsys.readouterr().err
    )
    # And they can be taken back.
    back = ("--soft-nms-sigma", "0", "--flip-at-test", "False", "--score-threshold", "0.05")
    back = (*back, "--num-rois", own)
    assert export(tmp_path / "soft", "--output", tmp_path / "hard", *back) == 0
    assert find_model(tmp_path / "hard").load_config() == find_model(run).load_config()


def test_an_export_is_exported_again_and_frozen_but_a_frozen_one_is_not(versions, tmp_path, capsys):
    frozen = tmp_path / "frozen"
    assert export(versions / "1", "--output", frozen, "--freeze") == 0
    assert (frozen / "1" / "saved_model.pb").stat().st_size > 3_000_000  # convolutions are in it
    assert set(records_of(frozen / "1")) == {"metrics.json", "dataset.json"}
    capsys.readouterr()
    assert export(frozen, "--output", tmp_path / "again") == 2
    assert "1: is a frozen export" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_the_rank_of_the_head_travels_in_the_configuration(run, tmp_path, capsys):
    assert export(run, "--output", tmp_path / "low", "--head-rank", 7) == 0
    assert find_model(tmp_path / "low").load_config().model.head_rank == 7
    assert set(records_of(tmp_path / "low" / "1")) == {"dataset.json"}
    assert "metrics.json stays behind: its figures are those of other" in capsys.readouterr().err


# === What is wrong ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--score-threshold", "1.5"), "--score-threshold 1.5: expected a number from 0 to 1."),
        (("--nms-iou", "-0.1"), "--nms-iou -0.1: expected a number from 0 to 1."),
        (("--num-rois", "101"), "--num-rois 101: expected at most 100: NMS begins with the best"),
        (("--num-rois", "0"), "--num-rois 0: expected a number above 0."),
        (("--max-detections", "0"), "--max-detections 0: expected a number above 0."),
        (("--soft-nms-sigma", "-1"), "--soft-nms-sigma -1.0: expected 0 or more."),
        (("--head-rank", "0"), "--head-rank 0: expected a number from 1 on"),
        (("--head-rank", "512"), "--head-rank 512: expected a number from 1 to 511;"),
    ],
)
def test_an_option_out_of_range(options, message, run, tmp_path, capsys):
    assert export(run, "--output", tmp_path / "new", *options) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_model_that_is_none(tmp_path, capsys):
    assert export(tmp_path / "no", "--output", tmp_path / "new") == 2
    assert "no: there is no such file or folder. Expected the fol" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_place_that_is_something_else(run, capsys):
    before = sorted(run.rglob("*"))
    assert export(run, "--output", run) == 2
    assert f"error: --output {run}: holds checkpoints, config.json, " in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before


def test_a_disk_that_is_full(run, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    assert export(run, "--output", tmp_path / "new") == 2
    error = capsys.readouterr().err
    assert "new: the SavedModel cannot be written (No space left on device)" in error
    assert "give another --output." in error
    assert not (tmp_path / "new").exists()
