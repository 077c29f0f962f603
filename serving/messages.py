"""Requests to TensorFlow Serving and its answers, as pure functions that the clients share.

The REST API is described at https://www.tensorflow.org/tfx/serving/api_rest. Requests are in its
row format, one instance per image; the answer then has one row per image. gRPC answers with
tensors that have a batch dimension; their rows are the same.
"""

import base64
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_frcnn.errors import UserError
from tf_frcnn.prediction import Prediction

SIGNATURE = "serve_encoded"
INPUT = "image_bytes"
OUTPUTS = (
    "detection_boxes",
    "detection_scores",
    "detection_classes",
    "detection_names",
    "num_detections",
)

_REMEDY = "Serve a model that `tf-frcnn export` wrote, or name another one: --model."


def to_request(images: Sequence[bytes]) -> dict[str, Any]:
    """Write the body of a REST request.

    Args:
        images: the contents of JPEG or PNG files, of any sizes.

    Returns:
        The body, to be sent as JSON.
    """
    instances = [{INPUT: {"b64": base64.b64encode(content).decode()}} for content in images]
    return {"signature_name": SIGNATURE, "instances": instances}


def from_response(rows: Any, num_images: int, server: str) -> list[Prediction]:
    """Read what the server answered.

    Args:
        rows: the value of `predictions` in an answer of REST, or the rows of gRPC's tensors; it may
            be anything, and is checked.
        num_images: how many were sent.
        server: its address, for messages.

    Returns:
        One prediction per image, without the padding.

    Raises:
        UserError: the rows are not `OUTPUTS` for as many images as were sent.
    """
    if not isinstance(rows, list) or len(rows) != num_images:
        there = f"{len(rows)} rows" if isinstance(rows, list) else f"{type(rows).__name__}, no rows"
        raise UserError(
            f"{server}: the answer has {there}. Expected one per image, {num_images}. {_REMEDY}"
        )
    return [
        _read_row(row, f"{server}: row {number} of the answer")
        for number, row in enumerate(rows, start=1)
    ]


def _read_row(row: Any, source: str) -> Prediction:
    names = row if isinstance(row, Mapping) else {}
    missing = [name for name in OUTPUTS if name not in names]
    if missing:
        raise UserError(
            f"{source}: lacks {', '.join(missing)}. Expected {', '.join(OUTPUTS)}. {_REMEDY}"
        )
    try:
        boxes = np.asarray(row["detection_boxes"], np.float32)
        scores = np.asarray(row["detection_scores"], np.float32)
        classes = np.asarray(row["detection_classes"])
        labels = [_to_text(name) for name in row["detection_names"]]
        count = operator.index(row["num_detections"])
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{source}: holds values of another type ({error}). Expected numbers in all outputs "
            f"but detection_names. {_REMEDY}"
        ) from None
    _check_shapes(boxes, scores, classes, len(labels), count, source)
    boxes, scores, classes = boxes[:count], scores[:count], classes[:count]
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise UserError(
            f"{source}: a box or a score is not finite. Expected finite numbers: a model that "
            "gives others has diverged; train it with a lower rate."
        )
    return Prediction(boxes, scores, classes.astype(np.int32), tuple(labels[:count]))


def _to_text(name: Any) -> str:
    """Read a name: REST's strings are text, those of a tensor are bytes."""
    if isinstance(name, bytes):
        return name.decode("utf-8")
    if not isinstance(name, str):
        raise TypeError(f"a name is {type(name).__name__}")
    return name


def _check_shapes(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    num_names: int,
    count: int,
    source: str,
) -> None:
    """Raise a `UserError` unless all outputs of a row are for the same number of detections."""
    size = len(scores) if scores.ndim == 1 else 0
    fit = boxes.shape == (size, 4) and classes.shape == (size,) and num_names == size
    if not fit or not 0 <= count <= size:
        raise UserError(
            f"{source}: boxes, scores and classes have the shapes {boxes.shape}, {scores.shape} "
            f"and {classes.shape} beside {num_names} names, and num_detections is {count}. "
            f"Expected (D, 4), (D,), (D,), D names and 0 to D for one number D. {_REMEDY}"
        )
    if classes.dtype.kind not in "iu" or (classes[:count] < 1).any():
        raise UserError(
            f"{source}: detection_classes are {classes[:count].tolist()}. Expected whole numbers "
            f"from 1. {_REMEDY}"
        )
