"""Remove from the logs of a killed run the steps that will be done again.

Then each step is logged once, and no half line that the kill left breaks a reader.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from tf_frcnn.errors import UserError
from tf_frcnn.files import whole_file


@contextmanager
def log_errors(path: Path) -> Iterator[None]:
    """Turn errors of reading or writing a log inside the block into a `UserError`."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
        raise UserError(
            f"{path}: the log of the training cannot be read or written ({reason}). Free some "
            "space or mend the permissions, then run the same command again: it goes on from the "
            "last checkpoint."
        ) from None


def cut_lines(path: Path, last_step: int) -> None:
    """Cut metrics.jsonl after a step.

    Args:
        path: the log; need not exist.
        last_step: lines of later steps are removed, and so are broken lines.

    Raises:
        UserError: the file cannot be read or written.
    """
    with log_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        lines = [line for line in text.splitlines() if _step_of(line) <= last_step]
        kept = "".join(f"{line}\n" for line in lines)
        if kept != text:
            with whole_file(path) as partial:
                partial.write_text(kept, encoding="utf-8")


def cut_events(folder: Path, last_step: int) -> None:
    """Cut TensorBoard's event files after a step.

    Args:
        folder: of the event files; need not exist.
        last_step: events of later steps are removed, and what follows a broken record.

    Raises:
        UserError: a file cannot be read or written.
    """
    for path in sorted(folder.glob("*.tfevents.*")):
        with log_errors(path):
            if path.suffix == ".partial":  # left by a kill during this function
                path.unlink(missing_ok=True)  # or used since, to cut the file that it is of
                continue
            records, whole = _read_records(path)
            event = tf.compat.v1.Event
            kept = [record for record in records if event.FromString(record).step <= last_step]
            if whole and len(kept) == len(records):
                continue
            with whole_file(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
                for record in kept:
                    writer.write(record)


def _step_of(line: str) -> float:
    """Read the step of a line; infinite if the line is broken."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return float("inf")


def _read_records(path: Path) -> tuple[list[bytes], bool]:
    """Read the records of an event file up to the first broken one -> (records, all whole)."""
    records: list[bytes] = []
    try:
        records.extend(record.numpy() for record in tf.data.TFRecordDataset(str(path)))
    except tf.errors.DataLossError:
        return records, False
    return records, True
