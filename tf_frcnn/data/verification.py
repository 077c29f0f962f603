"""Every picture decoded once before training, so that no failure waits for hour three.

Readers look at headers only. A file that is cut short or damaged further in shows when it is
decoded, which in training may be hours later. No TensorFlow here.
"""

import dataclasses
import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, raise_faults
from tf_frcnn.data.image import read_image
from tf_frcnn.data.picture_cache import PictureCache, PictureState, open_picture_cache
from tf_frcnn.errors import DataError
from tf_frcnn.progress import show_progress

logger = logging.getLogger(__name__)

# Pictures handed to the threads at a time: what is under way and not yet in the cache stays small,
# whatever the size of the data set, and an interrupted check has kept all but the last of these.
_CHUNK = 256

Chunk = Sequence[tuple[Path, tuple[int, int]]]


@dataclass(frozen=True)
class _Outcome:
    """What came of one picture: a fault or, where it was decoded, what the cache may keep."""

    path: Path
    fault: str = ""
    decoded: tuple[PictureState, tuple[int, int]] | None = None
    known: bool = False


def verify_pictures(
    datasets: Mapping[str, Dataset], on_faults: FaultHandler = raise_faults
) -> dict[str, Dataset]:
    """Decode every picture of the data sets, each file once, on all cores.

    A file that was decoded by an earlier call and has not changed since is not decoded again.
    Memory does not grow with the number of pictures: each thread holds one picture.

    Args:
        datasets: by role, as `read_datasets` gives them.
        on_faults: is told at once of all pictures that can't be decoded, or have other sizes than
            their headers say.

    Returns:
        The data sets; where `on_faults` does not raise, without those pictures, even if none is
        left.

    Raises:
        DataError: there is a fault.
    """
    image_sizes = {
        example.image_path: example.image_size
        for dataset in datasets.values()
        for example in dataset.examples
    }
    pictures = list(image_sizes.items())
    chunks = [pictures[start : start + _CHUNK] for start in range(0, len(pictures), _CHUNK)]
    faults: dict[Path, str] = {}
    num_known = 0
    start_time = time.perf_counter()
    with open_picture_cache() as cache, ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk in show_progress(chunks, "checking pictures"):
            outcomes = _verify_chunk(chunk, cache, pool)
            faults |= {outcome.path: outcome.fault for outcome in outcomes if outcome.fault}
            num_known += sum(outcome.known for outcome in outcomes)
    _log_rate(len(pictures), num_known, time.perf_counter() - start_time)
    on_faults(", ".join(datasets), list(faults.values()))
    return {role: without_pictures(dataset, faults) for role, dataset in datasets.items()}


def without_pictures(dataset: Dataset, paths: Collection[Path]) -> Dataset:
    """Leave pictures out of a data set, and count them as left out.

    Args:
        dataset: may hold none of them.
        paths: of the pictures' files.
    """
    kept = tuple(example for example in dataset.examples if example.image_path not in paths)
    num_left_out = dataset.num_pictures_left_out + len(dataset.examples) - len(kept)
    return dataclasses.replace(dataset, examples=kept, num_pictures_left_out=num_left_out)


def _verify_chunk(chunk: Chunk, cache: PictureCache, pool: ThreadPoolExecutor) -> list[_Outcome]:
    """Look pictures up in the cache, decode the others in the pool, and keep their sizes."""
    known = {path for path, image_size in chunk if _look_up(path, image_size, cache)}
    others = [picture for picture in chunk if picture[0] not in known]
    outcomes = list(pool.map(_decode, *zip(*others, strict=True))) if others else []
    cache.add([outcome.decoded for outcome in outcomes if outcome.decoded is not None])
    return outcomes + [_Outcome(path, known=True) for path in known]


def _look_up(path: Path, image_size: tuple[int, int], cache: PictureCache) -> bool:
    try:
        return cache.find(PictureState.of(path)) == image_size
    except OSError:  # decoding it will tell what is wrong
        return False


def _decode(path: Path, image_size: tuple[int, int]) -> _Outcome:
    """Decode one picture and compare its size with that of its header."""
    try:
        state = PictureState.of(path)  # before decoding: a later change makes it unknown again
        height, width, _ = read_image(path).shape
    except DataError as error:
        return _Outcome(path, str(error))
    except OSError as error:
        return _Outcome(path, f"{path}: cannot be read ({error.strerror}). Expected a picture.")
    if (height, width) != image_size:
        return _Outcome(
            path,
            f"{path}: has {height} rows of {width} pixels, and its header said "
            f"{image_size[0]} rows of {image_size[1]}. Expected one size: was the file changed "
            "while it was read?",
        )
    return _Outcome(path, decoded=(state, (height, width)))


def _log_rate(count: int, num_known: int, seconds: float) -> None:
    num_decoded = count - num_known
    rate = f", {num_decoded / seconds:.0f} pictures/s" if num_decoded else ""
    known = f"; {num_known} unchanged since an earlier check" if num_known else ""
    logger.info("checked %d pictures in %.1f s%s%s", count, seconds, rate, known)
