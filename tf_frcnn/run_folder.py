"""The folder of a training run: what is in it, and whether it is finished.

| file               | what it holds                                             |
|--------------------|-----------------------------------------------------------|
| `config.json`      | the configuration, classes and `data.exif` filled in      |
| `splits.json`      | which image is in which split, where they were made     |
| `dataset.json`     | the fingerprint of the data                               |
| `metrics.jsonl`    | a line every few steps: losses, rate, seconds a step      |
| `events/`          | the same for TensorBoard                                  |
| `checkpoints/`     | the last few, and the best by validation                  |
| `non_finite/`      | steps whose loss or gradient was not finite, to be replayed |
| `curves.png`       | losses over steps                                         |
| `detections.json`  | what was found in the evaluated split, as COCO's results  |
| `detections.png`   | images of that split with what was found                |
| `report.html`      | all figures, plots and galleries on one page              |
| `metrics.json`     | the figures; written last: a run that has it is finished  |
| `.lock`            | held by the training that writes here; nothing is in it   |
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from tf_frcnn.config import Config, config_to_dict, load_config
from tf_frcnn.errors import ConfigError, UserError
from tf_frcnn.files import write_json
from tf_frcnn.given_files import read_text, reason_of
from tf_frcnn.names import decode_file_name, encode_file_name, quote

TRAIN_ANEW = "train anew (training's --overwrite keeps the old folder as NAME.bak-TIME)"
"""The way out of a damaged run, said by every command that reads one."""


class RunFolder:
    """Names the files of a run.

    Args of `__init__`: `path` of the folder, which need not exist; whether this process
    `is_writer`: if not, another one writes the files, and here they are only read.
    """

    def __init__(self, path: Path | str, is_writer: bool = True) -> None:
        self.path = Path(path)
        self.is_writer = is_writer
        self.config_file = self.path / "config.json"
        self.splits_file = self.path / "splits.json"
        self.dataset_file = self.path / "dataset.json"
        self.metrics_log = self.path / "metrics.jsonl"
        self.metrics_file = self.path / "metrics.json"
        self.events = self.path / "events"
        self.checkpoints = self.path / "checkpoints"
        self.non_finite = self.path / "non_finite"
        self.curves = self.path / "curves.png"
        self.lock_file = self.path / ".lock"

    def list_contents(self) -> set[Path]:
        """List what is in the folder, but for its lock; nothing where there is no folder."""
        there = set(self.path.iterdir()) if self.path.is_dir() else set()
        return there - {self.lock_file}

    def is_finished(self, config: Config) -> bool:
        """Whether the run has its figures, and is not to be longer than it was then.

        Args:
            config: of the run.
        """
        if not self.metrics_file.is_file():
            return False
        try:
            metrics = self.load_metrics()
        except UserError:
            return True  # it had them
        planned = metrics.get("planned_steps", metrics.get("steps", config.train.steps))
        return planned >= config.train.steps

    @property
    def has_started(self) -> bool:
        """Whether there is something to go on with: a configuration, and steps that were done."""
        steps_done = self.metrics_log.is_file() or any(self.checkpoints.glob("step-*"))
        return self.config_file.is_file() and steps_done

    def load_config(self) -> Config:
        """Read the configuration.

        Raises:
            ConfigError: the folder is no run, or its config.json can't be read.
        """
        if not self.config_file.is_file():
            raise ConfigError(
                f"{self.path}: is no training run: expected a folder with config.json, as "
                "training makes (runs/quickstart after `tf-frcnn train`)."
            )
        return load_config(self.config_file)

    def load_division(self) -> dict[str, list[str]] | None:
        """Read which image is in which split; None where the data set has splits of its own.

        Raises:
            UserError: splits.json is there and is not what a run writes.
        """
        if not self.splits_file.is_file():
            return None
        try:
            text = read_text(self.splits_file, encoding="utf-8")
            written = pydantic.TypeAdapter(dict[str, list[str]]).validate_json(text)
            division = {split: list(map(decode_file_name, ids)) for split, ids in written.items()}
            problem = _explain_overlap(division)
            if not problem:
                return division
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            problem = f"{field}: {first['msg']}"
        except (OSError, UnicodeDecodeError) as error:
            problem = reason_of(error)
        raise UserError(
            f"{self.splits_file}: {problem}. Expected the names of each split's images, each once, "
            f"as training wrote them: restore the file from a backup, or {TRAIN_ANEW}."
        )

    def load_dataset_record(self) -> dict[str, Any]:
        """Read the fingerprint of the data that the run was started with.

        Raises:
            UserError: dataset.json is no JSON object.
        """
        try:
            record = json.loads(read_text(self.dataset_file, encoding="utf-8"))
            if isinstance(record, dict):
                return record
        except (OSError, ValueError):
            pass
        raise UserError(
            f"{self.dataset_file}: cannot be read. Expected the fingerprint of the data, as "
            "training writes it: restore the file, give the data's old --data.root, or --overwrite "
            "to start anew."
        )

    def load_metrics(self) -> dict[str, Any]:
        """Read the figures of a finished run.

        Raises:
            UserError: metrics.json is no JSON object.
        """
        try:
            metrics = json.loads(read_text(self.metrics_file, encoding="utf-8"))
            if isinstance(metrics, dict):
                return metrics
        except (OSError, ValueError):
            pass
        raise UserError(
            f"{self.metrics_file}: cannot be read. Expected the figures as training writes them. "
            "Remove the file to evaluate and export the run again from its last checkpoint, or "
            "give --overwrite to start anew."
        )


def _explain_overlap(division: Mapping[str, Sequence[str]]) -> str:
    """Say which image is in two splits, or twice in one; "" where there is none."""
    splits: dict[str, str] = {}
    for split, names in division.items():
        for name in names:
            if name in splits:
                there = f"in {splits[name]} too" if splits[name] != split else "there twice"
                return f"{split}: {quote(name)} is {there}"
            splits[name] = split
    return ""


def with_classes(config: Config, class_names: tuple[str, ...]) -> Config:
    """Fill in the class names that the data turned out to have."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, classes=class_names))


def with_exif(config: Config, exif: Literal["apply", "ignore"]) -> Config:
    """Fill in what was chosen for the EXIF orientations of the data."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, exif=exif))


def start_run(
    folder: RunFolder,
    config: Config,
    division: Mapping[str, Sequence[str]] | None = None,
    dataset_record: Mapping[str, Any] | None = None,
) -> None:
    """Write what is known before the first step: configuration, splits, fingerprint of the data.

    The splits that were made are those of the run's first start.

    Args:
        folder: of the run; nothing is written where another process writes.
        config: classes filled in; of a run that goes on, its folders may be others than before.
        division: the names of each split's images; None where the data set has its own splits.
        dataset_record: the fingerprint, if there is one.
    """
    if not folder.is_writer:
        return
    if not folder.config_file.is_file() and division is not None:
        written = {name: list(map(encode_file_name, ids)) for name, ids in division.items()}
        write_json(folder.splits_file, written)
    write_json(folder.config_file, config_to_dict(config))
    if dataset_record is not None:
        write_json(folder.dataset_file, dataset_record)
