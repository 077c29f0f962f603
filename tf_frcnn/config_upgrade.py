"""Older formats of the configuration, and the names that its options had then.

| format | what changed                                                            |
|--------|-------------------------------------------------------------------------|
| 1      | files without a number                                                  |
| 2      | `model.backbone` -> `model.architecture`; `model.backbone_weights` ->   |
|        | `train.start_from`: how weights start is no part of the network         |
| 3      | `data.exif`; runs of before took images as they are stored: `ignore`    |

A change of a field's name or meaning raises `FORMAT` and adds a step to `_STEPS`; a new field that
has a default needs neither. Options that were renamed are still taken: `rename_options`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tf_frcnn.errors import ConfigError

logger = logging.getLogger(__name__)

FORMAT = 3
RELEASE = "tf_frcnn"  # the key under which a file names the release that wrote it

_RENAMED_IN_2 = {  # section.field, before and now
    "model.backbone": "model.architecture",
    "model.backbone_weights": "train.start_from",
}


def upgrade_config(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Turn a configuration of any format that there has been into one of the current format.

    Args:
        values: a parsed config.json; fields that are wrong are left to be found by the validation.
        source: where it is from, for messages.

    Returns:
        The same configuration in format `FORMAT`; `values` itself is not changed.

    Raises:
        ConfigError: the format's number is none, or that of a later release.
    """
    number = values.get("format", 1)
    if not isinstance(number, int) or number < 1:
        raise ConfigError(f"{source}: format {number}: expected a whole number from 1 to {FORMAT}.")
    if number > FORMAT:
        release = values.get(RELEASE)
        named = f"{RELEASE} {release}" if release else f"a later release of {RELEASE}"
        raise ConfigError(
            f"{source}: format {number}: this release reads formats up to {FORMAT}. The file was "
            f"written by {named}: install that, or a later one."
        )
    upgraded = dict(values)
    for step in _STEPS[number - 1 :]:
        upgraded = step(upgraded)
    return {**upgraded, "format": FORMAT}


def _from_1_to_2(values: dict[str, Any]) -> dict[str, Any]:
    for old, new in _RENAMED_IN_2.items():
        (old_section, old_name), (new_section, new_name) = old.split("."), new.split(".")
        source, target = values.get(old_section), values.get(new_section, {})
        if isinstance(source, dict) and isinstance(target, dict) and old_name in source:
            rest = {name: value for name, value in source.items() if name != old_name}
            values = {**values, old_section: rest}
            values[new_section] = {**values.get(new_section, {}), new_name: source[old_name]}
    return values


def _from_2_to_3(values: dict[str, Any]) -> dict[str, Any]:
    data = values.get("data", {})
    return {**values, "data": {"exif": "ignore", **data}} if isinstance(data, dict) else values


_STEPS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_from_1_to_2, _from_2_to_3)


def rename_options(arguments: Sequence[str]) -> list[str]:
    """Write options of the command line that were renamed as they are called now, and say so.

    Args:
        arguments: as they were typed: `--model.backbone X`, `--model.backbone=X`, with `_` or `-`.
    """
    renamed = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        new = _RENAMED_IN_2.get(option.removeprefix("--").replace("-", "_"))
        if new is not None and option.startswith("--"):
            new_option = f"--{new.replace('_', '-')}"
            logger.warning("%s is called %s now.", option, new_option)
            argument = new_option + equals + value
        renamed.append(argument)
    return renamed
