"""Faults in a data set: found one by one, told all at once."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from tf_frcnn.errors import DataError
from tf_frcnn.names import shown

logger = logging.getLogger(__name__)

MAX_LISTED = 20  # faults or names that one message spells out
_MAX_FAULT = 1000  # letters

FaultHandler = Callable[[str, Sequence[str]], None]
"""Is given what the faults were found in, and one message each; there may be none. Where it raises
nothing, the reader goes on without the objects and images that have faults."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: 1 fault, 2 faults; `plural` where it is not the noun + s.

    A verb goes with the noun: `counted(number, "image was", "images were")`.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def enumerate_names(names: Iterable[str]) -> str:
    """Join names by commas, safe to show; of more than `MAX_LISTED` the rest is only counted."""
    names = list(names)
    rest = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(map(shown, names[:MAX_LISTED])) + rest


def list_faults(faults: Sequence[str]) -> list[str]:
    """Get the first `MAX_LISTED` faults, each a line that is safe to show and not too long."""
    return [shown(fault, _MAX_FAULT) for fault in faults[:MAX_LISTED]]


def raise_faults(subject: str, faults: Sequence[str], skip: str = "--data.on-error skip") -> None:
    """Raise one error for all faults, if there are any.

    Args:
        subject: what they were found in; begins the message.
        faults: one message each; the first `MAX_LISTED` are spelled out, all are counted.
        skip: the option that goes on without them.

    Raises:
        DataError: there is at least one fault.
    """
    if faults:
        raise DataError(
            f"{_describe(subject, faults)}\n"
            "Mend these files, take them out of the data set, or go on without what is wrong: "
            f"`{skip}`."
        )


def log_faults(subject: str, faults: Sequence[str]) -> None:
    """Warn once of all faults, if there are any, and go on without what they are in.

    Args:
        subject: what they were found in; begins the message.
        faults: one message each; the first `MAX_LISTED` are spelled out, all are counted.
    """
    if faults:
        logger.warning("%s\nGoing on without these boxes and images.", _describe(subject, faults))


FAULT_HANDLERS: Mapping[str, FaultHandler] = {"stop": raise_faults, "skip": log_faults}
"""What to do about faults, by the names of `DataConfig.on_error`."""


def _describe(subject: str, faults: Sequence[str]) -> str:
    count = counted(len(faults), "fault")
    first = f"; the first {MAX_LISTED}" if len(faults) > MAX_LISTED else ""
    listed = "".join(f"\n  {fault}" for fault in list_faults(faults))
    return f"{subject}: {count} in the annotations and images{first}:{listed}"
