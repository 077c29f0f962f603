"""The model that a command works on, and where the weights of a published one come from."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import tyro

from tf_frcnn.model_files import ModelFiles, find_model


@dataclass(frozen=True)
class WeightsOptions:
    """What goes with the name of a published detector."""

    weights: Path | None = field(default=None, kw_only=True)
    """Of a published detector: a file in the place of the published one, which is downloaded once
    (`tf-frcnn models`). Its layout is that of torchvision's same detector."""
    weights_classes: tuple[str, ...] = field(default=(), kw_only=True)
    """Names of the classes that --weights was trained for, in their order; COCO's when not
    given."""
    weights_epsilon: float | None = field(default=None, kw_only=True)
    """Epsilon of the batch normalisation that --weights was trained with, which is in no file; when
    not given, torch's 1e-5, and what is published of the published file itself."""
    offline: bool = field(default=False, kw_only=True)
    """Use no network: weights must be in the cache."""

    def find_model(self, path: Path | str) -> ModelFiles:
        """Find the model.

        Raises:
            ConfigError: a class name or the epsilon cannot be used.
            WeightsError: there is none, or options do not go together.
        """
        return find_model(
            path,
            self.weights,
            self.weights_classes,
            self.offline,
            epsilon=self.weights_epsilon,
        )

    @property
    def typed_options(self) -> list[str]:
        """Those of these options that were given, as they are typed."""
        return [
            f"--{option.name.replace('_', '-')}"
            for option in fields(WeightsOptions)
            if getattr(self, option.name) != option.default
        ]


@dataclass(frozen=True)
class ModelOptions(WeightsOptions):
    """A model, by its place or its name."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, checkpoint, SavedModel version folder, or its parent (newest version); or the
    name of a published detector (`tf-frcnn models`)."""


def typed_value(arguments: Sequence[str], option: str) -> str:
    """Find the value of an option that other defaults depend on; "" where it is not typed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(option, dest="value", nargs="?", default="")
    return parser.parse_known_args(list(arguments))[0].value or ""
