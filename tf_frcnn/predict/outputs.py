"""What `tf-frcnn predict` writes: a drawing of each image, and COCO results."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.errors import UserError, advise
from tf_frcnn.given_files import reason_of
from tf_frcnn.names import encode_file_name
from tf_frcnn.prediction import Prediction
from tf_frcnn.visualization import draw_detections

_MIN_LONG_SIDE = 480  # smaller images are enlarged, or their labels would not be readable
_MAX_LONG_SIDE = 65_500  # the JPEG library writes no larger ones
_JPEG_QUALITY = 95
_MAX_BYTES = 255 - len(".partial")  # of a file's name


def coco_results(
    file_name: str,
    prediction: Prediction,
    frame: int | None = None,
    category_ids: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Write detections as objects of the COCO results format.

    Args:
        file_name: what the image or video is called in them.
        prediction: of the image, or of one frame.
        frame: number of the frame in its video, from 0; None for an image.
        category_ids: of classes 1..N; the ids of the classes when None.

    Returns:
        An object each: `file_name` as `encode_file_name` writes it, `frame` in a video,
        `category_name`, `category_id`, `bbox` [x, y, width, height] in pixels, 0-based and
        half-open, `score`.
    """
    source: dict[str, Any] = {"file_name": encode_file_name(file_name)}
    if frame is not None:
        source["frame"] = frame
    class_ids = prediction.class_ids
    if category_ids is not None:
        class_ids = np.array([0, *category_ids])[class_ids]
    corners, sizes = prediction.boxes[:, :2], prediction.boxes[:, 2:] - prediction.boxes[:, :2]
    return [
        {
            **source,
            "category_name": prediction.class_names[index],
            "category_id": int(class_ids[index]),
            "bbox": [*corners[index, ::-1].tolist(), *sizes[index, ::-1].tolist()],
            "score": float(prediction.scores[index]),
        }
        for index in range(len(prediction))
    ]


def describe_counts(counts: Mapping[str, int]) -> str:
    """List how many of each class were found, in the order of the mapping."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"


def drawing_paths(file_names: Iterable[str], extension: str) -> dict[str, str]:
    """Choose a path for each drawing: for a.jpg and a.png they are a.jpg and a-2.jpg.

    Args:
        file_names: of the images or videos, below a folder, with slashes.
        extension: of the drawings, with its dot.

    Returns:
        File name -> the drawing's, below the output folder. No two of them are the same file, even
        where A.jpg and a.jpg are. A name that is too long for a file with this extension, a number
        and what marks a file as not yet whole is cut.
    """
    drawings: dict[str, str] = {}
    taken: set[str] = set()
    for file_name in file_names:
        stem = Path(file_name).with_suffix("").as_posix()
        endings = (f"-{number}{extension}" for number in itertools.count(2))
        names = (_join(stem, ending) for ending in itertools.chain([extension], endings))
        drawings[file_name] = next(name for name in names if name.casefold() not in taken)
        taken.add(drawings[file_name].casefold())
    return drawings


def _join(stem: str, ending: str) -> str:
    """Put an ending behind a path, whose last part is cut to what a file system takes."""
    folders, slash, name = stem.rpartition("/")
    while len(os.fsencode(name + ending)) > _MAX_BYTES:
        name = name[:-1]
    return folders + slash + name + ending


def write_drawing(path: Path, image: np.ndarray, found: Prediction) -> None:
    """Draw detections on an image and write the drawing as JPEG.

    Args:
        path: a file that does not exist; its folder is made.
        image: [H, W, 3] uint8 RGB; a small one is enlarged, for its labels to be readable.
        found: the detections.

    Raises:
        UserError: it cannot be written.
    """
    side = min(max(*image.shape[:2], _MIN_LONG_SIDE), _MAX_LONG_SIDE)
    drawing = draw_detections(image, found, fit_size=(side, side))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.save(path, quality=_JPEG_QUALITY)
    except OSError as error:
        raise not_written(path, error) from None


def not_written(path: Path, error: Exception) -> UserError:
    """Make the error of an output that cannot be written."""
    return UserError(
        f"{path}: cannot be written ({reason_of(error)}). {advise(error)}, or give "
        "another --output."
    )
