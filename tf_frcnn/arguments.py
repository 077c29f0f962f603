"""What calls from Python are given: refused in the form of the options, by the arguments' names.

A configuration that such a call is given, such as a `TrainConfig`, is refused by the names of the
options, which are its fields, as its constructor does.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import Any

from tf_frcnn.errors import ConfigError, WeightsError


def check_whole_number(name: str, value: Any, least: int, expected: str = "") -> int:
    """See that an argument is a whole number, as Python's or NumPy's, below 2^31.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest number that will do.
        expected: what the message says in the place of "a whole number, LEAST or more".

    Raises:
        ConfigError: it is something else, such as True, "8" or 2.5, or below or above.
    """
    is_number = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_number or not least <= value < 2**31:  # TensorFlow takes it as int32
        expected = expected or f"a whole number, {least} or more"
        if is_number and value > least:
            expected += f", at most {2**31 - 1}"
        raise ConfigError(f"{name} = {value!r}: expected {expected}.")
    return int(value)


@contextmanager
def named_as_arguments(section: str, **names: str) -> Iterator[None]:
    """Let a `ConfigError` out of the block name arguments in the place of a section's options.

    Args:
        section: of the configuration: `data` turns `--data.short-side` into `short_side`.
        **names: of arguments that are not called as their field: `classes="class_names"`.

    Raises:
        ConfigError: what was raised in the block, in other words.
    """

    def name_argument(option: re.Match[str]) -> str:
        field = option[1].replace("-", "_")
        return names.get(field, field)

    try:
        yield
    except ConfigError as error:
        text = re.sub(rf"--{section}\.([a-z]+(?:-[a-z]+)*)", name_argument, str(error))
        raise ConfigError(text) from None


@contextmanager
def options_renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors out of the block name what their caller has in the place of some options.

    Args:
        names: option -> what stands for it: `{"--offline": "offline=True"}`. Of two that fit, as
            `--weights PATH` and `--weights`, the longer counts.

    Raises:
        ConfigError: what was raised in the block, in other words.
        WeightsError: likewise.
    """
    options = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    try:
        yield
    except (ConfigError, WeightsError) as error:
        text = re.sub(rf"({options})(?![\w-])", lambda found: names[found[0]], str(error))
        raise type(error)(text) from error.__cause__
