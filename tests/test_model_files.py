"""What kind of model a path names, and where its figures go."""

from pathlib import Path

import pytest

from tf_frcnn.config import Config, save_config
from tf_frcnn.errors import ConfigError, WeightsError
from tf_frcnn.model_files import find_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Write a run, a SavedModel in two versions, and one without; all but the network is there."""
    for name in ("run/checkpoints", "models/mine/2/assets", "models/mine/10/assets", "bare/assets"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run/checkpoints/step-00000002.h5").touch()
    for name in ("run", "models/mine/2/assets", "models/mine/10/assets", "bare/assets"):
        save_config(Config(output=name), tmp_path / name / "config.json")
    for name in ("models/mine/2", "models/mine/10", "bare"):
        (tmp_path / name / "saved_model.pb").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "kind", "path", "config", "evaluation"),
    [
        ("run", "run", "run", "run", "run/evaluation"),
        (
            *("run/checkpoints/step-00000002.h5", "checkpoint", "run/checkpoints/step-00000002.h5"),
            *("run", "run/step-00000002-evaluation"),
        ),
        (
            *("models/mine/2", "saved_model", "models/mine/2"),
            *("models/mine/2/assets", "models/mine-2-evaluation"),
        ),
        (
            *("models/mine", "saved_model", "models/mine/10"),
            *("models/mine/10/assets", "models/mine-10-evaluation"),
        ),
        ("bare", "saved_model", "bare", "bare/assets", "bare-evaluation"),
    ],
)
def test_every_kind_is_found(given, kind, path, config, evaluation, folder):
    for start in (Path(), folder):
        model = find_model(start / given)
        assert (model.kind, model.path) == (kind, start / path)
        assert model.config_file.resolve() == folder / config / "config.json"
        assert model.load_config().output == config
        assert model.evaluation_folder.resolve() == folder / evaluation
        log = start / "run" / "metrics.jsonl" if kind == "run" else None
        assert model.metrics_log == log


@pytest.mark.parametrize(
    ("inside", "given", "evaluation"),
    [
        ("models/mine/2", ".", "models/mine-2-evaluation"),
        ("models/mine", "10", "models/mine-10-evaluation"),
        ("run/checkpoints", "step-00000002.h5", "run/step-00000002-evaluation"),
        ("run", ".", "run/evaluation"),
    ],
)
def test_a_name_alone_is_enough(inside, given, evaluation, folder, monkeypatch):
    monkeypatch.chdir(folder / inside)
    assert find_model(given).evaluation_folder.resolve() == folder / evaluation


def test_a_run_that_also_has_numbered_folders_is_a_run(folder):
    (folder / "run/3").mkdir()
    (folder / "run/3/saved_model.pb").touch()
    assert find_model("run").kind == "run"


@pytest.mark.parametrize("given", ["nothing", "models", "run/config.json", "run/checkpoints"])
def test_what_is_no_model(given, folder):
    with pytest.raises(WeightsError, match=rf"^{given}: .* Expected the folder of a training run"):
        find_model(given)


def test_a_broken_configuration_is_named(folder):
    (folder / "bare/assets/config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"bare/assets/config\.json: "):
        find_model("bare").load_config()


def test_a_run_and_its_checkpoints_know_how_the_data_were_divided(folder):
    (folder / "run" / "splits.json").write_text('{"train": ["a"], "val": [], "test": ["b"]}')
    division = {"train": ["a"], "val": [], "test": ["b"]}
    for given in ("run", "run/checkpoints/step-00000002.h5"):
        assert find_model(given).load_division() == division
    assert find_model("models/mine").load_division() is None
