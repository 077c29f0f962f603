"""Where a trained model lies: a run, a checkpoint, a SavedModel, published weights by name.

No TensorFlow here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tf_frcnn.arguments import options_renamed
from tf_frcnn.config import Config, load_config
from tf_frcnn.data.faults import counted
from tf_frcnn.errors import UserError, WeightsError
from tf_frcnn.files import check_writable_folder
from tf_frcnn.given_files import check_file, read_text, reason_of
from tf_frcnn.names import normalise_name, quote
from tf_frcnn.pretrained.detectors import (
    CLASSES_OPTION,
    DETECTORS,
    EPSILON_OPTION,
    WEIGHTS_OPTION,
    PublishedDetector,
    find_detector,
    is_detector,
)
from tf_frcnn.pretrained.trunks import IMAGENET, TRUNKS, TrunkFile, find_trunk
from tf_frcnn.run_folder import RunFolder

METRICS_FILE = "metrics.json"
DATASET_FILE = "dataset.json"
"""What a run and an export know of the model beside its configuration: its figures, and the
fingerprint of the data that it was trained on."""

MODEL_TEXT = (
    "Expected the folder of a training run (config.json and checkpoints/), a checkpoint in it "
    "(RUN/checkpoints/step-XXXXXXXX.h5), a SavedModel (a folder with saved_model.pb), the "
    "folder of its versions (saved_models/quickstart after `tf-frcnn train`), or the name of a "
    "detector (`tf-frcnn models` lists them)."
)

TORCH_SUFFIXES = (".pth", ".pt")
"""Of files that torch wrote."""

LABELS_FILE = "labels.txt"
"""The names of the classes among a SavedModel's assets, a line each."""

_START_EPSILON_OPTION = "--train.start-from-epsilon"
_SAVED_MODEL_FILE = "saved_model.pb"
_COPY_AGAIN = "Expected the files of one export: copy the whole folder again, or export anew."
_LISTED_NAMES = 5


@dataclass(frozen=True)
class ModelFiles:
    """A model that `find_model` found.

    Attributes:
        kind: what it is; of a run the latest checkpoint counts, or the best where its
            configuration says so.
        path: the folder of the run, the file of the checkpoint or of the published weights, or the
            SavedModel's version folder.
        config_file: configuration of the run that trained it; None of published weights.
        published: what is known of published weights; None of others.
    """

    kind: Literal["run", "checkpoint", "saved_model", "published"]
    path: Path
    config_file: Path | None
    published: PublishedDetector | None = None

    def load_config(self) -> Config:
        """Read the configuration of the run that trained it.

        Raises:
            ConfigError: the file cannot be read.
            WeightsError: the names of the classes in a SavedModel's labels.txt are others.
        """
        if self.published is not None:
            return self.published.config
        config = load_config(self._run_config_file)
        if self.kind == "saved_model":
            _check_labels(self._run_config_file, config.data.classes)
        return config

    def load_division(self) -> dict[str, list[str]] | None:
        """Read how its run divided a data set without splits; None where nothing tells.

        Raises:
            UserError: the run's splits.json cannot be read.
        """
        if self.kind in ("saved_model", "published"):
            return None
        return RunFolder(self._run_config_file.parent).load_division()

    def load_records(self) -> dict[str, Any]:
        """Read what is known of it beside its configuration.

        Returns:
            File name -> JSON value, of `METRICS_FILE` and `DATASET_FILE` where they are there. The
            figures of a run are those of its end: no checkpoint's, and not of a run that is being
            made longer.

        Raises:
            UserError: one of them is no JSON.
        """
        if self.kind == "published":
            return {}
        has_figures = self.kind == "saved_model" or (
            self.kind == "run" and RunFolder(self.path).is_finished(self.load_config())
        )
        names = (DATASET_FILE, METRICS_FILE) if has_figures else (DATASET_FILE,)
        paths = [self._run_config_file.with_name(name) for name in names]
        return {path.name: _load_json(path) for path in paths if path.is_file()}

    @property
    def _run_config_file(self) -> Path:
        if self.config_file is None:
            raise ValueError(f"{self.path}: published weights come from no run.")
        return self.config_file

    @property
    def metrics_log(self) -> Path | None:
        """The log of the training, where it ends with this model: metrics.jsonl of a run."""
        return RunFolder(self.path).metrics_log if self.kind == "run" else None

    @property
    def evaluation_folder(self) -> Path:
        """Where its figures go by default: into a run, and beside what must hold models only.

        RUN/evaluation; RUN/STEP-evaluation of RUN/checkpoints/STEP.h5; MODELS/NAME-1-evaluation of
        MODELS/NAME/1, because servers watch MODELS/NAME; MODELS/NAME-evaluation of MODELS/NAME
        that is a SavedModel without a version.
        """
        if self.kind == "run":
            return self.path / "evaluation"
        path = self.path.resolve()
        if self.published is not None:
            return Path(f"{self.published.name}-evaluation")
        if self.kind == "checkpoint":
            return path.parent.parent / f"{path.stem}-evaluation"
        if path.name.isdecimal():
            return path.parent.parent / f"{path.parent.name}-{path.name}-evaluation"
        return path.parent / f"{path.name}-evaluation"


def find_model(
    path: str | Path,
    weights: Path | None = None,
    class_names: Sequence[str] = (),
    offline: bool = False,
    any_classes: bool = False,
    epsilon: float | None = None,
) -> ModelFiles:
    """Find out what kind of model a path or a name stands for.

    Args:
        path: a published detector's name, whose weights are downloaded once; folder of a run; a
            checkpoint of a run; a SavedModel's version folder; or its parent, of which the highest
            number is taken.
        weights: of a published detector: a file in the place of the published one.
        class_names: that such a file was trained for; COCO's when not given.
        offline: use no network.
        any_classes: as for `find_detector`.
        epsilon: as for `find_detector`.

    Raises:
        ConfigError: a class name or the epsilon cannot be used.
        WeightsError: there is no model.
    """
    if str(path) in DETECTORS:
        if Path(path).exists():
            raise WeightsError(
                f"{path}: is the name of a published detector, and here is a folder or file of "
                f"that name. Give its whole path ({Path(path).absolute()}), or rename it to have "
                "the published one."
            )
        found = find_detector(str(path), weights, class_names, offline, any_classes, epsilon)
        return ModelFiles("published", found.path, None, found)
    given = {
        WEIGHTS_OPTION: weights is not None,
        CLASSES_OPTION: bool(class_names),
        EPSILON_OPTION: epsilon is not None,
    }
    if option := next((option for option, is_given in given.items() if is_given), ""):
        raise WeightsError(
            f"{option}: goes with the name of a published detector, and {path} is none. Expected "
            f"one of {', '.join(DETECTORS)}, or no {option}."
        )
    path = Path(path)
    if path.is_file():
        return _find_checkpoint(path)
    if not path.is_dir():
        raise WeightsError(f"{path}: {_explain_no_file(path)}. {MODEL_TEXT}")
    if (path / _SAVED_MODEL_FILE).is_file():
        return _find_saved_model(path)
    run = RunFolder(path)
    if run.config_file.is_file():
        return ModelFiles("run", path, run.config_file)
    version = newest_version(path)
    if version is None:
        raise WeightsError(f"{path}: holds {_listing(path)}. {MODEL_TEXT}")
    return _find_saved_model(version)


def _explain_no_file(path: Path) -> str:
    """Say why a path is neither an ordinary file nor a folder."""
    try:
        check_file(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        return reason_of(error)
    return "there is no such file or folder"


def find_start(
    source: str, architecture: str, epsilon: float | None = None
) -> ModelFiles | TrunkFile | None:
    """Find the detector, or the trunk of one, that a training is to start from.

    Args:
        source: as in `train.start_from`: a published detector's name; `imagenet`; a file that torch
            wrote, which ends in .pth or .pt; or a path as in `find_model`.
        architecture: of the network that is to be trained, and of a file of torch.
        epsilon: as `train.start_from_epsilon`.

    Returns:
        None where it is neither, but weights of VGG16, or nothing.

    Raises:
        WeightsError: there is no such detector or trunk, or it cannot be read; or there is an
            epsilon, and the source is no file of torch with a detector in it.
    """
    is_torch = source not in DETECTORS and Path(source).suffix in TORCH_SUFFIXES
    if epsilon is not None and not (
        is_torch and architecture in DETECTORS and is_detector(Path(source).expanduser())
    ):
        raise WeightsError(
            f"{_START_EPSILON_OPTION} {epsilon:g}: tells of a detector in a file of torch, and "
            f"--train.start-from {source} is none; of all else it is known. Leave it out."
        )
    if source in DETECTORS:
        by_path = f"--train.start-from PATH --model.architecture {source}"
        with options_renamed({f"{WEIGHTS_OPTION} PATH": by_path}):
            return find_model(source)
    if source == IMAGENET and architecture in TRUNKS:
        return find_trunk(architecture)
    path = Path(source).expanduser()
    if path.suffix in TORCH_SUFFIXES:
        if architecture not in TRUNKS:
            raise WeightsError(
                f"--train.start-from {source}: is a file of torch, and {architecture} takes none. "
                f"Give --model.architecture {'|'.join(TRUNKS)}."
            )
        if not is_detector(path) or architecture not in DETECTORS:
            return TrunkFile(TRUNKS[architecture], path, source)
        with options_renamed({WEIGHTS_OPTION: "--train.start-from"}):
            found = find_detector(
                *(architecture, path),
                any_classes=True,
                epsilon=epsilon,
                epsilon_option=_START_EPSILON_OPTION,
            )
        return ModelFiles("published", path, None, found)
    if path.is_dir() or (path.suffix == ".h5" and _run_of(path).config_file.is_file()):
        return find_model(path)
    return None


def _run_of(checkpoint: Path) -> RunFolder:
    return RunFolder(checkpoint.absolute().parent.parent)


def _find_checkpoint(path: Path) -> ModelFiles:
    run = _run_of(path)
    if path.suffix == ".keras":
        raise WeightsError(
            f"{path}: is a file of Keras, which knows no class names and no sizes of images. Load "
            "it with keras.saving.load_model and wrap it: tf_frcnn.Detector.from_network(network, "
            "class_names); what its method export writes can be used here."
        )
    if path.suffix != ".h5" or not run.config_file.is_file():
        raise WeightsError(
            f"{path}: is a file, but no checkpoint in the folder of a run ({run.config_file} must "
            f"tell of which network it is). {MODEL_TEXT}"
        )
    return ModelFiles("checkpoint", path, run.config_file)


def _find_saved_model(folder: Path) -> ModelFiles:
    config_file = folder / "assets" / "config.json"
    if not config_file.is_file():
        raise WeightsError(
            f"{folder}: is a SavedModel without assets/config.json, not one of this project. "
            f"{MODEL_TEXT}"
        )
    return ModelFiles("saved_model", folder, config_file)


def _check_labels(config_file: Path, class_names: Sequence[str]) -> None:
    """See that the assets of a SavedModel have one list of classes: its users read either."""
    path = config_file.with_name(LABELS_FILE)
    if not path.is_file():
        return
    try:
        lines = read_text(path, encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: cannot be read ({reason_of(error)}). {_COPY_AGAIN}") from None
    names = tuple(map(normalise_name, lines))  # as those of a configuration are
    if names != tuple(class_names):
        raise WeightsError(
            f"{path}: names {explain_difference(names, class_names)} in {config_file.name} beside "
            f"it. {_COPY_AGAIN}"
        )


def explain_difference(names: Sequence[str], others: Sequence[str]) -> str:
    """Say how two lists of classes that should be one differ: "A, and there are B".

    Args:
        names: the first list; the sentence goes on with where the others are.
        others: not the same.
    """
    if len(names) != len(others):
        return f"{counted(len(names), 'class', 'classes')}, and there are {len(others)}"
    number = next(n for n, pair in enumerate(zip(names, others, strict=True)) if len({*pair}) > 1)
    return f"class {number + 1} {quote(names[number])}, and it is {quote(others[number])}"


def newest_version(folder: Path) -> Path | None:
    """Find the version folder of a SavedModel with the highest number; None where there is none.

    Args:
        folder: of the versions; need not exist.
    """
    versions = [
        path
        for path in _entries(folder)
        if path.name.isdecimal() and (path / _SAVED_MODEL_FILE).is_file()
    ]
    return max(versions, key=lambda path: int(path.name), default=None)


def check_versions_folder(folder: Path, option: str) -> None:
    """See that a folder is one of a model's versions, or can be made; nothing is left behind.

    Args:
        folder: saved_models/NAME.
        option: that named it, for messages.

    Raises:
        UserError: it is a version, a run or another folder with something in it; or it cannot be
            made or written to.
    """
    advice = f"Expected the folder of a model's versions, or a name that is free: {option} DIR/NAME"
    if (folder / _SAVED_MODEL_FILE).is_file():
        raise UserError(
            f"{option} {folder}: is a SavedModel itself. {advice}, in which 1, 2, ... are made."
        )
    # What a killed export left begins with a dot, and so do the files of desktops.
    names = [path for path in _entries(folder) if not path.name.startswith(".")]
    if names and newest_version(folder) is None:
        raise UserError(f"{option} {folder}: holds {_listing(folder)}. {advice}.")
    check_writable_folder(folder, option)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _load_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path, encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({reason_of(error)}). Expected JSON as training writes it; "
            "restore the file, or move it away to go on without it."
        ) from None


def _listing(folder: Path) -> str:
    """Name the first few things in a folder."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "nothing"
    more = f" and {len(names) - _LISTED_NAMES} more" if len(names) > _LISTED_NAMES else ""
    return ", ".join(names[:_LISTED_NAMES]) + more
