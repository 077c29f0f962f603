"""What was found so far in many images, in a file, so that a long evaluation goes on after a stop.

The first line says of which model; every other line is an image: the hash of its pixels, and what
was found in it.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.data.faults import counted
from tf_frcnn.errors import UserError, advise
from tf_frcnn.evaluation.evaluator import Detect, Found
from tf_frcnn.files import whole_file
from tf_frcnn.given_files import read_text

logger = logging.getLogger(__name__)


@contextmanager
def keep_detections(detect: Detect, path: Path, model: Mapping[str, Any]) -> Iterator[Detect]:
    """Detect only in images that the file has no answer for, and write each answer down at once.

    Args:
        detect: finds objects in one image.
        path: the file; it stays when the block ends.
        model: what the answers depend on, as JSON has it. A file of another model begins anew.

    Yields:
        What answers as `detect` does, to the last bit.

    Raises:
        UserError: the file cannot be read or written.
    """
    head = json.dumps(model)
    try:
        kept = _read(path, head)
        if kept:
            done = counted(len(kept), "image was", "images were")
            logger.info("%s: going on, %s done before", path, done)
        # Whole lines only: what a kill has left of the last one would spoil the next.
        with whole_file(path) as partial:
            lines = [head, *(json.dumps([key, *_to_json(found)]) for key, found in kept.items())]
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise _not_kept(path, error) from None

    def detect_once(image: np.ndarray) -> Found:
        key = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        if key not in kept:
            kept[key] = detect(image)
            try:
                file.write(json.dumps([key, *_to_json(kept[key])]) + "\n")
                file.flush()
            except OSError as error:
                raise _not_kept(path, error) from None
        return kept[key]

    with file:
        yield detect_once


def _read(path: Path, head: str) -> dict[str, Found]:
    """Read the answers of a file with this first line; none where there is no such file."""
    if not path.exists():
        return {}
    lines = read_text(path, encoding="utf-8").split("\n")
    if lines[0] != head:
        logger.info("%s: is of another model or version, and begins anew", path)
        return {}
    try:
        # Behind the last line break is nothing, or a part of a line.
        return dict(_from_json(line) for line in lines[1:-1])
    except (ValueError, TypeError):
        logger.warning("%s: is damaged, and begins anew", path)
        return {}


def _from_json(line: str) -> tuple[str, Found]:
    key, boxes, scores, classes = json.loads(line)
    return key, (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int32),
    )


def _to_json(found: Found) -> list[list[Any]]:
    return [np.asarray(array).tolist() for array in found]


def _not_kept(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be read or written ({error.strerror}). It keeps what was found so far. "
        f"{advise(error)}, or give another --output."
    )
