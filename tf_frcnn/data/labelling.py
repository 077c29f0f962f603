"""From images with annotations, as a reader finds them, to labelled images turned one way for all.

Whether boxes are in pixels of stored or of turned images is known when the sizes of all images are:
those with an EXIF orientation wait for it. The headers of images that were checked before are in
the cache; those of others are read in threads, since a disk, or a network, may take its time. No
TensorFlow here.
"""

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tf_frcnn.data.assembly import LabelledImage, LabelledObject, Objects
from tf_frcnn.data.image import read_image_header
from tf_frcnn.data.image_cache import ImageState, open_image_cache
from tf_frcnn.data.orientation import (
    UPRIGHT,
    ExifChoice,
    ExifPolicy,
    Orientations,
    Size,
    SizeOnDisk,
)
from tf_frcnn.errors import DataError

ObjectReader = Callable[[Size], tuple[Objects | Sequence[LabelledObject], list[str]]]
"""(height, width) of the image as it is used -> the valid objects, one message for each other."""


_CHUNK = 512  # images whose annotations may wait, parsed, for the headers to be read


@dataclass(frozen=True, eq=False, slots=True)
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
    """Labels the images of a data set, each once, in a `with` block.

    Args of `__init__`: the `policy` of `--data.exif`; the `faults`, to which what is wrong with
    images and objects is added, in the order of the images; until `finish`, with a delay.
    """

    def __init__(self, policy: ExifPolicy, faults: list[str]) -> None:
        self._policy = policy
        self._faults = faults
        self._sizes: dict[Hashable, SizeOnDisk | None] = {}  # None: its header cannot be read
        self._pending: list[tuple[int, Hashable, FoundImage]] = []  # with the faults before it
        self._waiting: dict[Hashable, FoundImage] = {}
        self._images: dict[Hashable, LabelledImage] = {}
        self._opened = ExitStack()

    def __enter__(self) -> "Labeller":
        self._cache = self._opened.enter_context(open_image_cache(is_only_asked=True))
        self._pool = self._opened.enter_context(ThreadPoolExecutor(os.cpu_count()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._sizes

    def add(self, key: Hashable, image: FoundImage) -> None:
        """Take an image, whose header will be read, and its objects if it is upright.

        Args:
            key: what it is asked for by later.
            image: with its annotation.
        """
        self._sizes[key] = None
        self._pending.append((len(self._faults), key, image))
        if len(self._pending) == _CHUNK:
            self._read_pending()

    def finish(self, subject: str) -> ExifChoice:
        """Choose, now that all images were added, and read the objects of those that wait.

        Args:
            subject: what the images are of; begins the line that says what was chosen.
        """
        self._read_pending()
        sizes = {key: size for key, size in self._sizes.items() if size}
        orientations = Orientations(self._policy, sizes.values())
        orientations.log(subject)
        for key, image in self._waiting.items():
            size = sizes[key]
            if problem := orientations.explain_contradiction(size):
                self._faults.append(f"{image.source}: {problem}")
            image_size, orientation = orientations.size_of(size), orientations.orientation_of(size)
            self._faults += self._label(key, image, image_size, orientation, bool(problem))
        self._waiting.clear()
        return orientations.choice

    def select(self, keys: Iterable[Hashable]) -> list[LabelledImage]:
        """Get those of these images that could be read, after `finish`."""
        return [image for key in keys if (image := self._images.get(key))]

    def _read_pending(self) -> None:
        """Read the headers of the images that were added, and put their faults in their places."""
        if not self._pending:
            return
        headers = self._read_headers([image.path for _, _, image in self._pending])
        first = place = self._pending[0][0]
        faults: list[str] = []
        for (num_before, key, image), header in zip(self._pending, headers, strict=True):
            faults += self._faults[place:num_before]
            place = num_before
            if isinstance(header, str):
                faults.append(header)
                continue
            stored, orientation = header
            self._sizes[key] = SizeOnDisk(stored, orientation, image.stated_size)
            if orientation == UPRIGHT:
                faults += self._label(key, image, stored, UPRIGHT)
            else:
                self._waiting[key] = image
        self._faults[first:] = [*faults, *self._faults[place:]]
        self._pending.clear()

    def _read_headers(self, paths: Sequence[Path]) -> list[tuple[Size, int] | str]:
        """Get (height, width) and orientation of stored images, or what is wrong with the file."""
        known = [self._find_known(path) for path in paths]
        unknown = [path for path, found in zip(paths, known, strict=True) if found is None]
        read = iter(self._pool.map(_read_header, unknown))
        return [next(read) if found is None else found for found in known]

    def _find_known(self, path: Path) -> tuple[Size, int] | None:
        """Look for the header of an image that was checked before."""
        try:
            found = self._cache.find(ImageState.of(path))
        except (OSError, ValueError):  # reading it will tell what is wrong
            return None
        if found is None or not os.access(path, os.R_OK):
            return None
        return (found.height, found.width), found.orientation

    def _label(
        self,
        key: Hashable,
        image: FoundImage,
        image_size: Size,
        orientation: int,
        is_unfit: bool = False,
    ) -> list[str]:
        """Read the objects of an image -> one message for each that is not valid."""
        try:
            # Whether boxes of an unfit image are right is told by the image that they belong to.
            objects, faults = ((), []) if is_unfit else image.read_objects(image_size)
        except DataError as error:
            return [str(error)]
        self._images[key] = LabelledImage(
            image.image_id,
            image.path,
            image_size,
            Objects.stack(objects),
            image.source,
            stated_size=image.stated_size,
            num_left_out=len(faults),
            orientation=orientation,
            is_unfit=is_unfit,
            coco_file=image.coco_file,
        )
        return faults


def _read_header(path: Path) -> tuple[Size, int] | str:
    try:
        header = read_image_header(path)
    except DataError as error:
        return str(error)
    return header.size, header.orientation
