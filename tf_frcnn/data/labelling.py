"""From images with annotations, as a reader finds them, to labelled images turned one way for all.

Whether boxes are in pixels of stored or of turned images is known when the sizes of all images are:
those with an EXIF orientation wait for it. No TensorFlow here.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.data.assembly import LabelledImage, LabelledObject
from tf_frcnn.data.image import read_image_header
from tf_frcnn.data.orientation import (
    UPRIGHT,
    ExifChoice,
    ExifPolicy,
    Orientations,
    Size,
    SizeOnDisk,
)
from tf_frcnn.errors import DataError

ObjectReader = Callable[[Size], tuple[tuple[LabelledObject, ...], list[str]]]
"""(height, width) of the image as it is used -> the valid objects, one message for each other."""


@dataclass(frozen=True, eq=False)
class FoundImage:
    """An image whose annotation was found.

    Attributes:
        image_id: as in `LabelledImage`.
        path: the image's file.
        source: where its annotation is, for messages.
        read_objects: reads and checks the annotation; may raise a DataError.
        stated_size: (height, width) in the annotation; None where it states none.
        coco_file: as in `LabelledImage`.
    """

    image_id: str
    path: Path
    source: str
    read_objects: ObjectReader
    stated_size: Size | None = None
    coco_file: Path | None = None


class Labeller:
    """Labels the images of a data set, each once.

    Args of `__init__`: the `policy` of `--data.exif`; the `faults`, to which what is wrong with
    images and objects is added.
    """

    def __init__(self, policy: ExifPolicy, faults: list[str]) -> None:
        self._policy = policy
        self._faults = faults
        self._sizes: dict[Hashable, SizeOnDisk | None] = {}  # None: its header cannot be read
        self._waiting: dict[Hashable, FoundImage] = {}
        self._images: dict[Hashable, LabelledImage] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._sizes

    def add(self, key: Hashable, image: FoundImage) -> None:
        """Read the header of an image, and its objects if it is upright.

        Args:
            key: what it is asked for by later.
            image: with its annotation.
        """
        self._sizes[key] = None
        try:
            header = read_image_header(image.path)
        except DataError as error:
            self._faults.append(str(error))
            return
        size = SizeOnDisk(header.size, header.orientation, image.stated_size)
        self._sizes[key] = size
        if size.orientation == UPRIGHT:
            self._label(key, image, size.stored, UPRIGHT)
        else:
            self._waiting[key] = image

    def finish(self, subject: str) -> ExifChoice:
        """Choose, now that all images were added, and read the objects of those that wait.

        Args:
            subject: what the images are of; begins the line that says what was chosen.
        """
        sizes = {key: size for key, size in self._sizes.items() if size}
        orientations = Orientations(self._policy, sizes.values())
        orientations.log(subject)
        for key, image in self._waiting.items():
            size = sizes[key]
            if problem := orientations.explain_contradiction(size):
                self._faults.append(f"{image.source}: {problem}")
            image_size, orientation = orientations.size_of(size), orientations.orientation_of(size)
            self._label(key, image, image_size, orientation, is_unfit=bool(problem))
        self._waiting.clear()
        return orientations.choice

    def select(self, keys: Iterable[Hashable]) -> list[LabelledImage]:
        """Get those of these images that could be read, after `finish`."""
        return [image for key in keys if (image := self._images.get(key))]

    def _label(
        self,
        key: Hashable,
        image: FoundImage,
        image_size: Size,
        orientation: int,
        is_unfit: bool = False,
    ) -> None:
        try:
            # Whether boxes of an unfit image are right is told by the image that they belong to.
            objects, faults = ((), []) if is_unfit else image.read_objects(image_size)
        except DataError as error:
            self._faults.append(str(error))
            return
        self._faults += faults
        self._images[key] = LabelledImage(
            image.image_id,
            image.path,
            image_size,
            objects,
            image.source,
            stated_size=image.stated_size,
            num_left_out=len(faults),
            orientation=orientation,
            is_unfit=is_unfit,
            coco_file=image.coco_file,
        )
