"""Images to measure with: those that int8 finds its ranges in, and the one of the report."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tf_frcnn.data.image import IMAGE_EXTENSIONS, read_image, read_image_as
from tf_frcnn.data.loading import read_dataset
from tf_frcnn.data.orientation import ExifPolicy
from tf_frcnn.errors import DataError, UserError
from tf_frcnn.model_files import ModelFiles

logger = logging.getLogger(__name__)

MAX_IMAGES = 100


def find_images(folder: Path | None, model: ModelFiles) -> list[Path]:
    """Find images like those that the model will see.

    Args:
        folder: with images directly in it; the training images of the model's run when None.
        model: what was trained on them.

    Returns:
        At most `MAX_IMAGES` files, spread evenly over those that are there; at least one. Of the
        training images those that cannot be read are left out: the run may have skipped them.

    Raises:
        UserError: there is none.
    """
    if folder is not None:
        return _thin_out(_images_in(folder))
    readable = [path for path in _thin_out(_training_images(model)) if _is_readable(path)]
    if not readable:
        raise _no_training_images(model, "none of them is an image that can be decoded")
    return readable


def _thin_out(paths: Sequence[Path]) -> list[Path]:
    count = min(len(paths), MAX_IMAGES)
    return [paths[index * len(paths) // count] for index in range(count)]


def _is_readable(path: Path) -> bool:
    try:
        read_image(path)
    except DataError as error:
        logger.warning("left out: %s", error)
        return False
    return True


def read_resized(path: Path, size: tuple[int, int], exif: ExifPolicy) -> np.ndarray:
    """Read an image at the size that a TFLite file takes, whatever shape it has.

    What is made smaller is antialiased, as with `--data.antialias`; docs/tflite.md says what else
    there is.

    Args:
        path: the file.
        size: (height, width) in pixels.
        exif: of the model's data, `config.data.exif`.

    Returns:
        [height, width, 3] uint8 RGB.

    Raises:
        DataError: it cannot be read.
    """
    height, width = size
    image = Image.fromarray(read_image_as(path, exif))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _images_in(folder: Path) -> Sequence[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if _is_image(path))
    except OSError as error:
        raise UserError(
            f"--calibration {folder}: cannot be listed ({error.strerror}). Expected a folder of "
            "images."
        ) from None
    if not paths:
        extensions = ", ".join(sorted(IMAGE_EXTENSIONS))
        raise UserError(
            f"--calibration {folder}: there is no image directly in this folder. Expected files "
            f"that end in {extensions}, like those that the model will see."
        )
    return paths


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in IMAGE_EXTENSIONS and not hidden and path.is_file()


def _training_images(model: ModelFiles) -> Sequence[Path]:
    config = model.load_config()
    data = config.data
    try:
        dataset = read_dataset(
            data, data.train_split, data.classes, config.train.seed, model.load_division()
        )
    except UserError as error:
        raise _no_training_images(model, str(error)) from None
    return [example.image_path for example in dataset.examples]


def _no_training_images(model: ModelFiles, reason: str) -> UserError:
    return UserError(
        f"no images to find the ranges of int8 in: those that {model.path} was trained on cannot "
        f"be read ({reason}). Give a folder with a hundred images like those that the model will "
        "see: --calibration DIR."
    )
