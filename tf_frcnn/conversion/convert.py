"""From a data set of another tool to a folder that the readers here take, checked by reading it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_frcnn.conversion.foreign import (
    DEFAULT_SPLIT,
    ForeignImage,
    ForeignSet,
    check_images,
    name_splits,
)
from tf_frcnn.conversion.formats import FORMATS
from tf_frcnn.conversion.quiet import errors_only
from tf_frcnn.conversion.writers import WRITERS, order_classes, split_in
from tf_frcnn.data.assembly import clip_box
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import (
    counted,
    enumerate_names,
    list_faults,
    log_faults,
    raise_faults,
)
from tf_frcnn.data.folders import describe_folder, index_tree, is_folder
from tf_frcnn.data.formats import DATASETS
from tf_frcnn.data.image import IMAGE_EXTENSIONS
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import DataError, UserError, advise
from tf_frcnn.files import whole_folder
from tf_frcnn.given_files import reason_of
from tf_frcnn.names import shown

_TOLERANCE = 1e-3  # pixels: float32 and six digits


@dataclass(frozen=True, eq=False)
class Conversion:
    """What was written.

    Attributes:
        splits: the images of each.
        class_names: in the order of their ids.
        found: what the source holds: faults, if they were skipped, and what was left out.
        classes_without_boxes: declared, and left out.
        num_clipped: boxes that are partly outside of their image; the readers clip them.
        other_images: image files in the source that no annotation names.
    """

    splits: Mapping[str, Sequence[ForeignImage]]
    class_names: Sequence[str]
    found: ForeignSet
    classes_without_boxes: Sequence[str]
    num_clipped: int
    other_images: Sequence[Path]

    def describe(self) -> str:
        """Write down all counts, a line each."""
        images = [image for some in self.splits.values() for image in some]
        objects = [item for image in images for item in image.objects]
        lines = [f"{counted(len(images), 'image')}, {counted(len(objects), 'box', 'boxes')}"]
        for split, some in self.splits.items():
            number = sum(len(image.objects) for image in some)
            boxes = counted(number, "box", "boxes")
            if list(self.splits) == [DEFAULT_SPLIT]:
                lines.append("no splits: training divides the images 80/10/10")
            else:
                lines.append(f"split {split}: {counted(len(some), 'image')}, {boxes}")
        counts = Counter(item.name for item in objects)
        classes = enumerate_names(f"{name} {counts[name]}" for name in self.class_names)
        lines.append(f"{counted(len(self.class_names), 'class', 'classes')}: {classes}")
        if self.classes_without_boxes:
            names = enumerate_names(self.classes_without_boxes)
            lines.append(f"classes without a box, left out: {names}")
        if ignored := sum(item.is_ignored for item in objects):
            lines.append(f"crowds and difficult boxes, not trained on: {ignored}")
        if self.found.boxes_of:
            lines.append(f"boxes around other shapes: {_list(self.found.boxes_of)}")
        if self.found.left_out:
            lines.append(f"left out, being no boxes: {_list(self.found.left_out)}")
        if self.num_clipped:
            lines.append(f"boxes partly outside of their image: {self.num_clipped}")
        if self.found.faults:
            lines.append(f"left out for their faults: {len(self.found.faults)}, told above")
        if self.other_images:
            lines.append(
                f"image files that no annotation names, not taken: {len(self.other_images)}; the "
                f"first: {shown(str(self.other_images[0]), 1000)}"
            )
        return "".join(f"{line}\n" for line in lines)


def convert(source: Path, output: Path, name: str, to: str, skip_faults: bool) -> Conversion:
    """Convert a data set; what is written has been read and compared before it gets its name.

    Args:
        source: folder of the data set; an annotation file where its format allows.
        output: a folder that is not there, or empty.
        name: a key of `FORMATS`.
        to: a key of `WRITERS`.
        skip_faults: leave out images and boxes with faults; else they stop the conversion.

    Raises:
        ConfigError: what reads the format is not installed.
        DataError: the source is none of that format, is empty or has faults; or what was written
            cannot be read. Nothing is left of it then.
        UserError: the output cannot be written.
    """
    if not source.exists():
        raise DataError(f"{source}: {describe_folder(source)}. Expected a data set's folder.")
    try:
        found = FORMATS[name].read(source)
    except DataError as error:
        raise DataError(f"{error} Expected {FORMATS[name].what}.") from None
    images = check_images(found)
    if skip_faults:
        log_faults(str(source), found.faults)
    else:
        raise_faults(str(source), found.faults, "--on-error skip")
    if not any(image.objects for image in images):
        there = f"in {counted(len(images), 'image')}" if images else "and no image"
        raise DataError(f"{source}: no box {there}. Expected {FORMATS[name].what}.")
    splits = name_splits(images)
    class_names, without_boxes = order_classes(found.class_names, splits)
    taken = {image.content for image in images}
    # Before there is an output, which may lie in the source.
    every = index_tree(source, IMAGE_EXTENSIONS).values() if is_folder(source) else ()
    others = [path for paths in every for path in paths if path not in taken]
    try:
        with whole_folder(output) as folder:
            WRITERS[to](folder, splits, class_names, f"converted from {name}: {source.name}")
            num_clipped = _verify(folder, to, splits, class_names)
    except DataError as error:
        text = str(error).replace(str(folder), str(output))
        raise DataError(
            f"{source}: what would be written cannot be used, so nothing was written. {text}"
        ) from None
    except OSError as error:  # also of a name that is too long
        where = f"; {error.filename}" if error.filename else ""
        raise UserError(
            f"{output}: cannot be written ({reason_of(error)}{where}). {advise(error)}, or choose "
            "another place, then run the same command again."
        ) from None
    return Conversion(splits, class_names, found, without_boxes, num_clipped, others)


def _verify(
    root: Path,
    to: str,
    splits: Mapping[str, Sequence[ForeignImage]],
    class_names: Sequence[str],
) -> int:
    """Read what was written and compare all of it -> the number of boxes that were clipped.

    Raises:
        DataError: it has faults, or says something else than the source.
    """
    names = {split: split_in(to, split) for split in splits}
    with errors_only("tf_frcnn.data"):  # it would tell of a folder that nobody sees
        datasets = DATASETS[to].read(
            *(root, tuple(names.values()), tuple(class_names), Divider(0)),
            *(_refuse, None, "auto"),
        )
    for split, images in splits.items():
        dataset = datasets[names[split]]
        if len(dataset.examples) != len(images) or not _is_same(dataset, images):
            raise DataError(
                f"{root}: split {split} is read otherwise than it was written. That is a fault of "
                "convert-data: please report it."
            )
    return sum(dataset.num_clipped for dataset in datasets.values())


def _refuse(subject: str, faults: Sequence[str]) -> None:
    """Raise one error for all faults of what was written: a `FaultHandler`."""
    if faults:
        listed = "".join(f"\n  {fault}" for fault in list_faults(faults))
        raise DataError(f"{subject}: {counted(len(faults), 'fault')}:{listed}")


def _is_same(dataset: Dataset, images: Sequence[ForeignImage]) -> bool:
    """Tell whether the boxes, classes and flags of a split are those of its images, in order."""
    for example, image in zip(dataset.examples, images, strict=True):
        clipped = [clip_box(item.box, example.image_size)[0] for item in image.objects]
        if len(clipped) != len(example.boxes) or any(box is None for box in clipped):
            return False
        expected = np.array(clipped, np.float64).reshape(-1, 4)
        found_names = [dataset.class_names[number - 1] for number in example.classes]
        if (
            np.abs(expected - example.boxes).max(initial=0) > _TOLERANCE
            or found_names != [item.name for item in image.objects]
            or example.is_trained_on.tolist() != [not item.is_ignored for item in image.objects]
        ):
            return False
    return True


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items())
