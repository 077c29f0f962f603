"""What kind of model a path names, and where its figures go."""

from pathlib import Path

import pytest

from tf_frcnn.config import Config, save_config
from tf_frcnn.errors import ConfigError, UserError, WeightsError
from tf_frcnn.model_files import check_versions_folder, find_model


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


def test_a_file_of_keras_is_told_what_to_do_with(folder):
    (folder / "mine.keras").touch()
    with pytest.raises(WeightsError, match=r"^mine\.keras: is a file of Keras, .*from_network\("):
        find_model("mine.keras")


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


# === What is known of a model ===


@pytest.mark.parametrize(
    ("given", "place", "found"),
    [
        ("run", "run", {"metrics.json": 1, "dataset.json": 2}),
        # The figures are those of the last step.
        ("run/checkpoints/step-00000002.h5", "run", {"dataset.json": 2}),
        ("models/mine", "models/mine/10/assets", {"metrics.json": 1, "dataset.json": 2}),
        ("models/mine/2", "models/mine/10/assets", {}),
    ],
)
def test_records_lie_beside_the_configuration(given, place, found, folder):
    (folder / place / "metrics.json").write_text("1")
    (folder / place / "dataset.json").write_text("2")
    assert find_model(given).load_records() == found


def test_a_broken_record_is_named(folder):
    (folder / "run/metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"run/metrics\.json: cannot be read \(.*Expected JSON"):
        find_model("run").load_records()


# === Where versions go ===


@pytest.mark.parametrize("name", ["models/mine", "models/new", "deep/er/new", "desktop", "killed"])
def test_versions_may_be_put_beside_others_and_where_nothing_is(name, folder):
    (folder / "desktop").mkdir()
    (folder / "desktop/.DS_Store").touch()
    (folder / "killed/.partial-1-abc").mkdir(parents=True)
    (folder / "models/mine/readme.txt").touch()
    before = sorted(folder.rglob("*"))
    check_versions_folder(folder / name, "--output")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models/mine/2", r"^--output .*mine/2: is a SavedModel itself\. Expected the folder of a"),
        ("run", r"^--output .*run: holds checkpoints, config\.json\. Expected the folder of a mod"),
        ("models", r"^--output .*models: holds mine\. Expected .* free: --output DIR/NAME\.$"),
        ("run/config.json", r"^--output .*config\.json: is a file\. Expected a folder"),
        ("run/config.json/x", r"^--output .*/x: the folder cannot be made \(Not a directory\)"),
    ],
)
def test_a_place_for_something_else_is_refused(name, message, folder):
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=message):
        check_versions_folder(folder / name, "--output")
    assert sorted(folder.rglob("*")) == before
