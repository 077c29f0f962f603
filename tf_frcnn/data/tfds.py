"""Reader for TensorFlow Datasets: a set by its name, such as `voc/2007`, boxes as fractions.

What the package itself does is in `tfds_set`. Images stay encoded as they are and become files
in the user's cache, so that memory does not grow with the set and everything else goes on with
paths. A set is read from its beginning to its end each time: its records can't be looked up.
"""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from tf_frcnn.data.assembly import LabelledImage, Objects, assemble_datasets, order_declared_classes
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, raise_faults
from tf_frcnn.data.image import IMAGE_EXTENSIONS, read_image_header
from tf_frcnn.data.kept_images import keep_image, kept_folder
from tf_frcnn.data.orientation import ExifPolicy, Orientations, SizeOnDisk
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.tfds_record import Record, read_objects
from tf_frcnn.data.tfds_set import TfdsSet, open_set
from tf_frcnn.errors import ConfigError, DataError
from tf_frcnn.names import shown
from tf_frcnn.progress import track

logger = logging.getLogger(__name__)

LAYOUT = "TensorFlow Datasets: with `--data.format tfds`, the name of a set such as voc/2007"


def detect_tfds(root: Path) -> bool:
    """Tell that no folder is of this format: a set goes by its name, and the format is given."""
    return False


def explain_missing_tfds_split(root: Path, split: str, image_folder: Path | None = None) -> str:
    """Say what is there instead of a split: one message, or "" where the split is there.

    An image folder is refused when the set is read.

    Raises:
        ConfigError: the package is not installed.
        DataError: the set cannot be opened; see `open_set`.
    """
    return open_set(root).explain_missing_split(split)


def read_tfds(
    root: Path,
    splits: Iterable[str],
    class_names: tuple[str, ...],
    divider: Divider,
    on_faults: FaultHandler = raise_faults,
    image_folder: Path | None = None,
    exif: ExifPolicy = "auto",
) -> dict[str, Dataset]:
    """Read splits of a set of TensorFlow Datasets.

    Args:
        root: name of the set.
        splits: names, or slices such as `train[:80%]`; `val` stands for `validation` too.
        class_names: names of classes 1..N; when empty, all of the set's labels in their order,
            with or without boxes; those found, sorted, where its labels are texts.
        divider: not needed, as a set has splits of its own.
        on_faults: is told all faults at once.
        image_folder: has to be None: a set has its images in it.
        exif: what is done about EXIF orientations. A set states no sizes.

    Returns:
        One `Dataset` a split, under the split's real name, all with the same class names; images
        in the order in which TFDS stores them. Boxes that were partly outside of their image are
        clipped; an image without objects has boxes of shape [0, 4].

    Raises:
        ConfigError: the package is not installed, or there is an image folder.
        DataError: the set, a split, an image or a class is missing or wrong, or an image cannot
            be written. All faults of the splits are collected; the message lists the first 20 and
            says how many there are.
    """
    if image_folder is not None:
        raise ConfigError(
            f"--data.images {image_folder}: a set of TensorFlow Datasets has its images in it. "
            "Leave the option out."
        )
    splits = tuple(dict.fromkeys(splits))
    tfds_set = open_set(root)
    for split in splits:
        if problem := tfds_set.explain_missing_split(split):
            raise DataError(problem)
    names = {split: tfds_set.find_split(split) for split in splits}
    logger.info("%s: images are kept in %s", tfds_set.name, _folder_of(tfds_set))
    reader = _Reader(tfds_set, exif)
    images = {name: reader.read_split(name) for name in dict.fromkeys(names.values())}
    orientations = Orientations(exif, reader.sizes)
    orientations.log(tfds_set.name)
    datasets = assemble_datasets(
        root,
        images,
        class_names
        or order_declared_classes(
            tfds_set.class_names, [item for found in images.values() for item in found]
        ),
        reader.faults,
        clipping_hint="are the boxes fractions of the image's sides, from 0 to 1?",
        on_faults=on_faults,
        num_left_out={
            name: tfds_set.count_images(name) - len(found) for name, found in images.items()
        },
        exif=orientations.choice,
    )
    for name, dataset in datasets.items():
        if dataset.examples and not any(len(example.boxes) for example in dataset.examples):
            logger.warning(
                "%s, split %s: no image has an object, as in test splits whose boxes are not "
                "published; figures on it stay empty",
                tfds_set.name,
                name,
            )
    return {split: datasets[name] for split, name in names.items()}


# === Images ===


class _Reader:
    """Reads the splits of a set, each record once, whether or not splits overlap.

    Args of `__init__`: the set; what is done about EXIF orientations.

    Attributes:
        faults: one message each.
        sizes: of all images that could be read.
    """

    def __init__(self, tfds_set: TfdsSet, exif: ExifPolicy) -> None:
        self.faults: list[str] = []
        self.sizes: list[SizeOnDisk] = []
        self._orientations = Orientations(exif, ())  # no sizes are stated that could say more
        self._set = tfds_set
        self._images: dict[str, LabelledImage | None] = {}  # None: it has a fault

    def read_split(self, split: str) -> list[LabelledImage]:
        """Read the images of a split that can be used; the others' faults are collected.

        Raises:
            DataError: the split cannot be read, or an image cannot be written.
        """
        folder = _folder_of(self._set) / re.split(r"[^\w-]", split)[0]  # train of train[:80%]
        found: dict[str, LabelledImage] = {}
        records, total = self._set.records(split), self._set.count_images(split)
        for record in track(records, f"reading {split}", total):
            if record.key not in self._images:
                self._images[record.key] = self._read_image(record, split, folder)
            if image := self._images[record.key]:
                found[record.key] = image
        return _with_unique_ids(found)

    def _read_image(self, record: Record, split: str, folder: Path) -> LabelledImage | None:
        place = f"{self._set.name}, split {split}, {shown(record.file_name or record.key)}"
        try:
            header = read_image_header(record.content)
        except DataError as error:
            self.faults.append(f"{place}: {error}")
            return None
        size = SizeOnDisk(header.size, header.orientation)
        self.sizes.append(size)
        image_size = self._orientations.size_of(size)
        objects, object_faults = read_objects(
            record, place, self._set.class_names, image_size, self._set.counts_from_one
        )
        self.faults += object_faults
        return LabelledImage(
            record.image_id or _without_extension(record.file_name) or record.key,
            keep_image(folder, record.file_name, record.key, record.content),
            image_size,
            Objects.stack(objects),
            place,
            num_left_out=len(object_faults),
            orientation=self._orientations.orientation_of(size),
        )


def _folder_of(tfds_set: TfdsSet) -> Path:
    return kept_folder("tfds", *tfds_set.name.split("/"))


def _without_extension(file_name: str) -> str:
    """Name an image as VOC's lists do, but with the folders that its name may have."""
    path = PurePosixPath(file_name)
    return str(path.with_suffix("")) if path.suffix.lower() in IMAGE_EXTENSIONS else file_name


def _with_unique_ids(images: Mapping[str, LabelledImage]) -> list[LabelledImage]:
    """Call images that share an id by TFDS's keys instead."""
    counts = Counter(image.image_id for image in images.values())
    return [
        image if counts[image.image_id] == 1 else dataclasses.replace(image, image_id=key)
        for key, image in images.items()
    ]
