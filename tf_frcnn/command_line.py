"""From arguments to configuration: `train.py [PRESET] [--section.field VALUE ...]`."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tf_frcnn.config import Config, DataConfig
from tf_frcnn.presets import PRESETS

DEFAULT_PRESET = "quickstart"


@dataclass(frozen=True)
class TrainArguments(Config):
    """Everything `train.py` takes: the configuration, and what to do with an old run."""

    overwrite: bool = False
    """Move a run that is in the output folder to NAME.bak-TIME and start anew."""

    @property
    def config(self) -> Config:
        """The configuration alone."""
        fields = dataclasses.fields(Config)
        return Config(**{field.name: getattr(self, field.name) for field in fields})


@dataclass(frozen=True)
class EvaluateArguments:
    """Everything `evaluate.py` takes."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a training run."""
    data: DataConfig
    """Where the pictures and boxes are; when not given, the run's own."""
    output: Path | None = None
    """Folder for the figures; RUN/evaluation when not given."""
    overwrite: bool = False
    """Move an evaluation that is in the output folder to NAME.bak-TIME first."""


def parse_train_arguments(argv: Sequence[str] | None = None) -> TrainArguments:
    """Parse the arguments of `train.py`; a usage error exits with status 2.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        The preset's configuration with the options given applied, output folders filled in.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = DEFAULT_PRESET
    if arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
    if name not in PRESETS:
        _usage_error(f"no preset is named {name!r}: expected one of {', '.join(PRESETS)}.")
    preset = PRESETS[name]()
    default = TrainArguments(
        **{
            **{field.name: getattr(preset, field.name) for field in dataclasses.fields(Config)},
            "output": f"runs/{name}",
            "export_dir": f"saved_models/{name}",
        }
    )
    summaries = {key: (make.__doc__ or "").splitlines()[0] for key, make in PRESETS.items()}
    description = "\n\n".join(
        [
            "train.py [PRESET] [options]: train, evaluate and export a detector.",
            *(f"Preset {key}: {summary}" for key, summary in summaries.items()),
            f"The defaults below are those of {name}.",
        ]
    )
    return tyro.cli(
        TrainArguments,
        prog=f"train.py {name}",
        description=description,
        args=arguments,
        default=default,
    )


def parse_evaluate_arguments(argv: Sequence[str] | None, data: DataConfig) -> EvaluateArguments:
    """Parse the arguments of `evaluate.py`; a usage error exits with status 2.

    Args:
        argv: arguments without the program's name; the process's own when None.
        data: the run's own data configuration, whose values are the defaults.
    """
    default = EvaluateArguments(run=tyro.MISSING, data=data)
    return tyro.cli(
        EvaluateArguments,
        prog="evaluate.py",
        description="Evaluate a training run on a split of its own or of other data.",
        args=argv,
        default=default,
    )


def _usage_error(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
