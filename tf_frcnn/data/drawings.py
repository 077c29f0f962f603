"""The quickstart's data set: drawn images of cats, dogs and ducks, in Pascal VOC's layout.

It stands in for a folder of one's own: small, free, different for every seed, the same for the
same seed, and with boxes that are right to the pixel because they come from the drawn shapes.
Image k of a split depends on the seed, the split and k only. No TensorFlow here.
"""

import io
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tf_frcnn.data.drawn.animals import CLASS_NAMES
from tf_frcnn.data.drawn.image import IMAGE_SIZE, Drawing, draw_scene
from tf_frcnn.data.voc_writer import VocObject, format_annotation
from tf_frcnn.errors import DataError
from tf_frcnn.files import move_aside

logger = logging.getLogger(__name__)

RECIPE = 1  # raised whenever the same seed would give other images
SPLITS = ("train", "val", "test")
DEFAULT_COUNTS: Mapping[str, int] = MappingProxyType({"train": 1200, "val": 100, "test": 100})

_JPEG_QUALITY = 90
_SOURCE = "tf_frcnn drawings"
_README = """\
Drawn images of {classes}, in the layout of Pascal VOC.
A folder of your own that looks like this one can be trained on in the same way.

JPEGImages/NAME.jpg          the images
Annotations/NAME.xml         one file for each image: its size and its objects; each object has a
                             class name and a box of pixels, counted from 1: xmin and ymin are the
                             first column and row of the object, xmax and ymax the last ones.
                             An image without objects has a file without <object>.
ImageSets/Main/train.txt     the NAMEs of the images to train on, one a line; val.txt names those
                             for validation, test.txt those for the evaluation
recipe.json                  which version of the drawings this is, its seed and its numbers of
                             images; a folder of your own needs neither it nor this file
"""


def draw_image(seed: int, split: str, index: int) -> Drawing:
    """Draw image `index` of a split; it depends on nothing but these three.

    Args:
        seed: seed of the data set, 0 or more.
        split: one of `SPLITS`.
        index: number of the image in its split, from 0.

    Returns:
        The image with its boxes and class names.

    Raises:
        DataError: the split is none of `SPLITS`, or a number is negative.
    """
    if split not in SPLITS:
        raise DataError(f"split {split!r} of the drawings: expected one of {', '.join(SPLITS)}.")
    if seed < 0 or index < 0:
        raise DataError(f"drawings: seed {seed}, image {index}: expected 0 or more of both.")
    return draw_scene(np.random.default_rng([seed, SPLITS.index(split), index]))


def ensure_drawings(
    root: str | Path, seed: int, counts: Mapping[str, int] = DEFAULT_COUNTS
) -> bool:
    """Draw the data set into `root`, unless it is there already.

    A folder that is there but is not this data set (drawings of another seed, too) is moved aside,
    to `NAME.bak-DATE-TIME`, which is logged, and never overwritten. The images are drawn into a
    folder beside `root` that gets its name when it is complete, so a half-drawn data set is never
    taken for a whole one.

    Args:
        root: folder of the data set; its parents are made.
        seed: seed of the images, 0 or more.
        counts: number of images of each split; a split that is not named gets an empty list.

    Returns:
        True when the data set was drawn now, False when one of the same recipe, seed and counts
        was there.

    Raises:
        DataError: a seed or count that cannot be, or a place that cannot be written to.
        UserError: what is there cannot be moved aside.
    """
    _check_request(seed, counts)
    counts = {split: counts.get(split, 0) for split in SPLITS}
    place = Path(root).resolve()  # a link stays one: the data set comes to where it points
    try:
        if _is_complete(place, seed, counts):
            logger.info("%s: the drawings of seed %d are there", root, seed)
            return False
        place.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{place.name}.drawing-", dir=place.parent))
        try:
            # One level down: mkdtemp's own folder could be read by nobody else.
            _write_dataset(workshop / place.name, seed, counts)
            if _is_complete(place, seed, counts):  # another process was faster
                return False
            _make_way(place, seed)
            try:
                (workshop / place.name).rename(place)
            except OSError:
                if _is_complete(place, seed, counts):  # it was, a moment later
                    return False
                raise
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{root}: the drawings cannot be put there ({error.strerror or error}). Expected a "
            "place that can be written to, with some 25 MB free: mend that, or choose another "
            "folder with --data.root."
        ) from error
    return True


def _check_request(seed: int, counts: Mapping[str, int]) -> None:
    """Raise a `DataError` for a seed or counts from which no data set can be drawn."""
    if seed < 0:
        raise DataError(f"seed {seed} of the drawings: expected 0 or more.")
    for split, count in counts.items():
        if split not in SPLITS or count < 0:
            raise DataError(
                f"counts of the drawings: {split!r}: {count}: expected the splits "
                f"{', '.join(SPLITS)} with 0 or more images each."
            )


def _recipe(seed: int, counts: Mapping[str, int]) -> dict[str, object]:
    """Return what the images depend on, as recipe.json holds it."""
    return {"recipe": RECIPE, "seed": seed, "counts": dict(counts)}


def _is_complete(place: Path, seed: int, counts: Mapping[str, int]) -> bool:
    """Tell whether this very data set is there, with all the files that its lists name."""
    try:
        if json.loads((place / "recipe.json").read_text(encoding="utf-8")) != _recipe(seed, counts):
            return False
        for split, names in _names(counts).items():
            listed = (place / "ImageSets" / "Main" / f"{split}.txt").read_text(encoding="utf-8")
            if listed.split() != names:
                return False
            if not all(file.is_file() for name in names for file in _files(place, name)):
                return False
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no JSON, no UTF-8
        return False
    return True


def _make_way(place: Path, seed: int) -> None:
    """Make way for the new data set, whatever is at `place`."""
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()
    elif place.exists():
        found = _describe(place, seed)
        kept = move_aside(place)
        logger.warning(
            "%s: what was there (%s) is kept under %s; drawings of seed %d take its place",
            *(place, found, kept, seed),
        )


def _describe(place: Path, seed: int) -> str:
    """Say what is at `place`, which is not the data set of this seed that was asked for."""
    try:
        found = json.loads((place / "recipe.json").read_text(encoding="utf-8"))["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        return "something that is no set of drawings"
    if found != seed:
        return f"drawings of seed {found}"
    return f"drawings of seed {seed} in other numbers or of another release, or changed ones"


def _names(counts: Mapping[str, int]) -> dict[str, list[str]]:
    """List the names of each split's images, numbered through all splits from 000001."""
    names, first = {}, 1
    for split in SPLITS:
        names[split] = [f"{number:06d}" for number in range(first, first + counts[split])]
        first += counts[split]
    return names


def _files(root: Path, name: str) -> tuple[Path, Path]:
    """Return where the image and the annotation of this name are."""
    return root / "JPEGImages" / f"{name}.jpg", root / "Annotations" / f"{name}.xml"


def _write_dataset(root: Path, seed: int, counts: Mapping[str, int]) -> None:
    """Draw all images and write the whole data set into `root`, which is not there yet."""
    logger.info("drawing %d images of %s", sum(counts.values()), ", ".join(CLASS_NAMES))
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, listed in _names(counts).items():
        for index, name in enumerate(listed):
            drawing = draw_image(seed, split, index)
            image_path, annotation_path = _files(root, name)
            encoded = io.BytesIO()  # Pillow's own writing hides the reason when it fails
            drawing.image.save(encoded, "JPEG", quality=_JPEG_QUALITY)
            image_path.write_bytes(encoded.getvalue())
            annotation_path.write_bytes(_annotation(drawing, image_path.name))
        lines = "".join(f"{name}\n" for name in listed)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_bytes(lines.encode())
    (root / "README.txt").write_bytes(_README.format(classes=", ".join(CLASS_NAMES)).encode())
    (root / "recipe.json").write_bytes(
        (json.dumps(_recipe(seed, counts), indent=2) + "\n").encode()
    )


def _annotation(drawing: Drawing, filename: str) -> bytes:
    """Write a drawing's boxes as VOC does."""
    objects = zip(drawing.classes, drawing.boxes, drawing.truncated, strict=True)
    return format_annotation(filename, IMAGE_SIZE, [VocObject(*item) for item in objects], _SOURCE)
