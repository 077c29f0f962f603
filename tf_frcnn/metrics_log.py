"""metrics.jsonl of a run: a JSON object a line, with `step` and any other numbers."""

import json
import logging
import math
from pathlib import Path

from tf_frcnn.errors import DataError
from tf_frcnn.given_files import open_text

logger = logging.getLogger(__name__)

SKIPPED_STEPS = "skipped_steps"
"""Key of the number of steps left out so far, in the line of each step that was left out."""

NUM_VALIDATED = "num_val_pictures"
NUM_IN_SPLIT = "num_val_pictures_in_split"
"""Keys of the number of images that were validated on and of those in the split, where they are
not the same: in the lines of validations."""


def read_metrics(metrics_jsonl: Path) -> dict[int, dict[str, float]]:
    """Read the log of a run as one record a step.

    A run that was killed may leave half a line, and a run that was resumed logs some steps again:
    broken lines are left out, and the later value of a step wins.

    Args:
        metrics_jsonl: one JSON object a line, with `step` and any other numbers.

    Returns:
        For each step, in rising order, its finite numbers by name; training and validation lines
        of a step together.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with open_text(metrics_jsonl, "utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise DataError(
            f"{metrics_jsonl}: cannot be read ({error.strerror}). Expected the metrics.jsonl that "
            "training writes into its output folder."
        ) from None
    records: dict[int, dict[str, float]] = {}
    num_broken = 0
    for line in filter(str.strip, lines):
        values = _parse_line(line)
        if values is None:
            num_broken += 1
        else:
            records.setdefault(int(values.pop("step")), {}).update(values)
    if num_broken:
        logger.warning("%s: broken lines, left out: %d", metrics_jsonl, num_broken)
    return dict(sorted(records.items()))


def count_skipped(metrics_jsonl: Path, last_step: int) -> int:
    """Count the steps that were left out because they were not finite.

    Args:
        metrics_jsonl: the log; need not exist.
        last_step: later steps do not count; a run that was killed may have logged some that it
            will do again.
    """
    records = read_metrics(metrics_jsonl) if metrics_jsonl.is_file() else {}
    counts = [
        values[SKIPPED_STEPS]
        for step, values in records.items()
        if SKIPPED_STEPS in values and step <= last_step
    ]
    return int(counts[-1]) if counts else 0


def _parse_line(line: str) -> dict[str, float] | None:
    """Read the finite numbers of one line; None if it is broken or has no step."""
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(values, dict):
        return None
    numbers = {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    return numbers if "step" in numbers else None
