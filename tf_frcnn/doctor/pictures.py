"""Every picture file looked at once: can it be decoded, what is its fingerprint."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from tf_frcnn.data.image import read_image
from tf_frcnn.data.orientation import UPRIGHT, read_orientation
from tf_frcnn.errors import DataError

GRID = 16  # cells of the difference hash in each direction
_LEAST_STEP = 4.0  # grey levels between neighbouring cells that are not noise of the compression


@dataclass(frozen=True, eq=False)
class PictureFacts:
    """What is known of one file.

    Attributes:
        fault: why it can't be decoded; "" where it can.
        digest: SHA-256 of the file, "" where it can't be read.
        steps: [2 * GRID * GRID] int8 difference hash, see `difference_hash`; None with a fault.
        orientation: of EXIF, 1 to 8; 1 is upright.
    """

    fault: str = ""
    digest: str = ""
    steps: np.ndarray | None = None
    orientation: int = UPRIGHT


def examine_pictures(paths: Iterable[Path]) -> dict[Path, PictureFacts]:
    """Decode pictures on all cores, with a bar on the terminal where there is one.

    Args:
        paths: of pictures; each file is read once.

    Returns:
        What is known of each file, in the order of the paths.
    """
    files = list(dict.fromkeys(paths))
    console = Console(stderr=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        examined = track(
            pool.map(_examine, files),
            "looking at pictures",
            total=len(files),
            console=console,
            disable=not console.is_terminal,
        )
        return dict(zip(files, examined, strict=True))


def difference_hash(image: np.ndarray) -> np.ndarray:
    """Describe a picture by where it gets lighter and darker, on a coarse grid of grey cells.

    Unlike the usual difference hash it keeps apart "about the same" from "darker", so that plain
    areas, where the sign is noise, neither make two pictures similar nor different.

    Args:
        image: [H, W, 3] uint8 RGB, of any size.

    Returns:
        [2 * GRID * GRID] int8: 1 where the right (first half) or lower (second half) neighbour is
        clearly lighter, -1 where it is clearly darker, 0 elsewhere.
    """
    small = Image.fromarray(image).convert("L").resize((GRID + 1, GRID + 1), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)  # [GRID + 1, GRID + 1]
    to_the_right, down = np.diff(grey[:GRID], axis=1), np.diff(grey[:, :GRID], axis=0)
    steps = np.concatenate([to_the_right.ravel(), down.ravel()])
    return (np.sign(steps) * (np.abs(steps) >= _LEAST_STEP)).astype(np.int8)


def _examine(path: Path) -> PictureFacts:
    try:
        content = path.read_bytes()
    except OSError as error:
        return PictureFacts(f"{path}: cannot be read ({error.strerror}). Expected a picture.")
    digest = hashlib.sha256(content).hexdigest()
    try:
        image = read_image(path)
    except DataError as error:
        return PictureFacts(str(error), digest)
    return PictureFacts("", digest, difference_hash(image), read_orientation(path))
