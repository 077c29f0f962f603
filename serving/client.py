"""A client of a served model, whatever the protocol: images in, drawings and results out."""

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import tyro

from tf_frcnn.data.faults import counted, enumerate_names
from tf_frcnn.data.image import read_image_as
from tf_frcnn.data.orientation import ExifPolicy
from tf_frcnn.errors import EXIT_FINDINGS, EXIT_OK, DataError, UserError
from tf_frcnn.files import make_writable_folder, write_json
from tf_frcnn.predict.inputs import common_folder, find_inputs, relative_name
from tf_frcnn.predict.outputs import (
    coco_results,
    describe_counts,
    drawing_paths,
    write_drawing,
)
from tf_frcnn.prediction import Prediction

logger = logging.getLogger("tf_frcnn.serving")  # below the package's, which is sent to the terminal

DETECTIONS_FILE = "detections.json"
_FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of JPEG and PNG


class Server(Protocol):
    """A served model, over one of the protocols.

    Attributes:
        address: where it is, for messages.
    """

    address: str

    def prepare(self, images: Sequence[bytes]) -> Any:
        """Write the request for JPEG or PNG images; it may be sent more than once."""

    def detect(self, request: Any, num_images: int) -> list[Prediction]:
        """Send a request for a number of images; read the answer, or raise a `UserError`."""


@dataclass(frozen=True)
class ClientArguments:
    """What the clients take, whatever the protocol."""

    output: Path
    """New or empty folder for detections.json and the drawings."""
    # Not required, so that `check` tells what is missing, in the same words for every tyro.
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")] = ()
    """JPEG and PNG files; folders, of which those directly inside are taken; globs in quotes."""
    model: str = "quickstart"
    """Name that the model is served by, MODEL_NAME of serving/compose.yaml."""
    version: int | None = None
    """Its version; the newest that the server has when not given."""
    score: float = 0.5
    """Detections below this score are left out."""
    batch_size: int = 1
    """Images a request; the server refuses more than max_batch_size in
    serving/batching_parameters.txt."""
    exif: Literal["apply", "ignore"] = "apply"
    """What the served model does with an EXIF orientation, so that drawings fit: `data.exif` in its
    assets/config.json, `ignore` where that names none."""
    timeout: float = 60.0
    """Seconds to wait for an answer."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: a number is out of its range, or no input was given.
        """
        if not 0.0 <= self.score <= 1.0:
            raise UserError(f"--score {self.score}: expected a number from 0 to 1.")
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size}: expected 1 or more.")
        check_timeout(self.timeout)
        if not self.inputs:
            raise UserError("no IMAGE was given: expected files, folders or globs.")


@dataclass(frozen=True)
class _Image:
    """An image to be sent: its file, the file's `content`, and `image` [H, W, 3] uint8 RGB."""

    path: Path
    content: bytes
    image: np.ndarray


def run_client(arguments: ClientArguments, server: Server) -> int:
    """Send images, draw what comes back, and write `detections.json`.

    Args:
        arguments: the options, checked.
        server: the model.

    Returns:
        The exit status: `EXIT_FINDINGS` if an image could not be read.

    Raises:
        UserError: there are no images, an output cannot be written, or the server fails; what
            was found until then is kept.
    """
    paths, problems = find_images(arguments.inputs)
    output = arguments.output
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"--output {output}: there is something already. Give another folder.")
    make_writable_folder(output, "--output")
    folder = common_folder(paths)
    drawings = drawing_paths([relative_name(path, folder) for path in paths], ".jpg")
    results: list[dict[str, Any]] = []
    num_done = 0
    images = _read_images(paths, arguments.exif)
    try:
        while batch := list(itertools.islice(images, arguments.batch_size)):
            for image, answer in zip(batch, _send(server, batch), strict=True):
                file_name = relative_name(image.path, folder)
                found = answer.select(np.flatnonzero(answer.scores >= arguments.score))
                _write(image, found, file_name, output / drawings[file_name], results)
                num_done += 1
    except (UserError, KeyboardInterrupt):
        if num_done:
            write_json(output / DETECTIONS_FILE, results)
            logger.warning("%s holds what was found until then", output / DETECTIONS_FILE)
        raise
    write_json(output / DETECTIONS_FILE, results)
    logger.info("%s in %s", counted(len(results), "detection"), output / DETECTIONS_FILE)
    if num_done < len(paths):
        logger.warning("%d of %d images were not sent.", len(paths) - num_done, len(paths))
    return EXIT_FINDINGS if problems or num_done < len(paths) else EXIT_OK


def find_images(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Find the files that a client is asked for, as `tf-frcnn predict` does.

    Args:
        inputs: files, folders and globs.

    Returns:
        The files, and a message for each input that matches nothing, which is logged.

    Raises:
        UserError: none of the inputs matches a file.
    """
    paths, problems = find_inputs(inputs)
    if not paths:
        raise UserError("\n".join(problems))
    for problem in problems:
        logger.warning("%s", problem)
    return paths, problems


def check_timeout(seconds: float) -> None:
    """Raise a `UserError` unless a timeout is finite and above 0."""
    if not 0.0 < seconds < float("inf"):
        raise UserError(f"--timeout {seconds}: expected a number of seconds above 0.")


def read_encoded(path: Path) -> bytes:
    """Read a file as it is sent.

    Args:
        path: of an image.

    Raises:
        DataError: it cannot be read, or is neither JPEG nor PNG by its first bytes.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Expected an image.") from None
    if not content.startswith(_FIRST_BYTES):
        raise DataError(
            f"{path}: begins with {content[:8]!r}, neither as JPEG nor as PNG does, and the server "
            "decodes nothing else. Convert the image first."
        )
    return content


def _read_images(paths: Iterable[Path], exif: ExifPolicy) -> Iterator[_Image]:
    """Read images one at a time; warn of those that cannot be read, and go on."""
    for path in paths:
        try:
            content = read_encoded(path)
            # Needed for the drawing; and one broken image would fail the request for all others.
            image = read_image_as(path, exif)
        except DataError as error:
            logger.warning("skipped: %s", error)
            continue
        yield _Image(path, content, image)


def _send(server: Server, batch: Sequence[_Image]) -> list[Prediction]:
    """Send images in one request; an error names them, since the server only counts them."""
    try:
        return server.detect(server.prepare([image.content for image in batch]), len(batch))
    except UserError as error:
        names = enumerate_names(str(image.path) for image in batch)
        raise UserError(f"{error}\nThe request was for {names}.") from None


def _write(
    image: _Image,
    found: Prediction,
    file_name: str,
    drawing: Path,
    results: list[dict[str, Any]],
) -> None:
    """Draw what was found in an image, add it to the results, and say so."""
    write_drawing(drawing, image.image, found)
    results += coco_results(file_name, found)
    counts = describe_counts(Counter(found.class_names))
    logger.info("%s: %s -> %s", image.path, counts, drawing)
