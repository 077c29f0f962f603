"""Every image decoded once before training, so that no failure waits for hour three.

Readers look at headers only. A file that is cut short or damaged further in shows when it is
decoded, which in training may be hours later. No TensorFlow here.
"""

import dataclasses
import logging
import os
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tf_frcnn.data.bit_depth import explain_unused_range
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, counted, raise_faults
from tf_frcnn.data.image import read_image_header, read_whole_image
from tf_frcnn.data.image_cache import DecodedImage, ImageCache, ImageState, open_image_cache
from tf_frcnn.errors import DataError
from tf_frcnn.progress import track

logger = logging.getLogger(__name__)

# Images handed to the threads at a time: what is under way and not yet in the cache stays small,
# whatever the size of the data set, and an interrupted check has kept all but the last of these.
_CHUNK = 256


def verify_images(
    datasets: Mapping[str, Dataset], on_faults: FaultHandler = raise_faults
) -> dict[str, Dataset]:
    """Decode every image of the data sets, each file once, on all cores.

    A file that was decoded by an earlier call and has not changed since is not decoded again.
    Memory does not grow with the number of images: each thread holds one image.

    Args:
        datasets: by role, as `read_datasets` gives them; images that were left out are checked too.
        on_faults: is told at once of all images that can't be decoded, or have other sizes than
            their headers say.

    Returns:
        The data sets; where `on_faults` does not raise, without those images, even if none is
        left.

    Raises:
        DataError: there is a fault.
    """
    image_sizes = {
        example.image_path: example.stored_size
        for dataset in datasets.values()
        for example in (*dataset.examples, *dataset.left_out)
    }
    images = list(image_sizes.items())
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    faults: dict[Path, str] = {}
    brightest: list[int | None] = []
    num_known = 0
    start_time = time.perf_counter()
    with open_image_cache() as cache, ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk in track(chunks, "checking images"):
            known = [_find_known(*image, cache) for image in chunk]
            unknown = [image for image, found in zip(chunk, known, strict=True) if found is None]
            num_known += len(chunk) - len(unknown)
            decoded = []
            outcomes = pool.map(lambda image: _decode(*image), unknown)
            for (path, _), outcome in zip(unknown, outcomes, strict=True):
                if isinstance(outcome, str):
                    faults[path] = outcome
                else:
                    decoded.append(outcome)
            cache.add(decoded)
            found_now = [*filter(None, known), *(image for _, image in decoded)]
            brightest += [image.brightest for image in found_now]
    _log_rate(len(images), num_known, time.perf_counter() - start_time)
    if remark := explain_unused_range(number for number in brightest if number is not None):
        logger.warning("%s", remark)
    on_faults(", ".join(datasets), list(faults.values()))
    return {role: without_images(dataset, faults) for role, dataset in datasets.items()}


def without_images(dataset: Dataset, paths: Collection[Path]) -> Dataset:
    """Leave images out of a data set, and count them as left out.

    Args:
        dataset: may hold none of them.
        paths: of the images' files.
    """
    kept = tuple(example for example in dataset.examples if example.image_path not in paths)
    num_left_out = dataset.num_images_left_out + len(dataset.examples) - len(kept)
    return dataclasses.replace(dataset, examples=kept, num_images_left_out=num_left_out)


def _find_known(path: Path, image_size: tuple[int, int], cache: ImageCache) -> DecodedImage | None:
    try:
        found = cache.find(ImageState.of(path))
    except OSError:  # decoding it will tell what is wrong
        return None
    return found if found and (found.height, found.width) == image_size else None


def _decode(path: Path, image_size: tuple[int, int]) -> tuple[ImageState, DecodedImage] | str:
    """Decode an image and compare its size -> (its file's state, what was found), or a fault."""
    try:
        state = ImageState.of(path)  # before decoding: a later change makes it unknown again
        pixels = read_whole_image(path)
        header = read_image_header(path)
    except DataError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}). Expected an image."
    height, width, _ = pixels.shape
    if (height, width) != image_size:
        return (
            f"{path}: has {height} rows of {width} pixels, and its header said "
            f"{image_size[0]} rows of {image_size[1]}. Expected one size: was the file changed "
            "while it was read?"
        )
    brightest = int(pixels.max()) if header.is_16_bit else None
    return state, DecodedImage(height, width, brightest, header.orientation)


def _log_rate(count: int, num_known: int, seconds: float) -> None:
    num_decoded = count - num_known
    rate = f", {num_decoded / seconds:.0f} images/s" if num_decoded else ""
    known = f"; {num_known} unchanged since an earlier check" if num_known else ""
    logger.info("checked %s in %.1f s%s%s", counted(count, "image"), seconds, rate, known)
