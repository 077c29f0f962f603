"""Writes images with boxes as COCO or Pascal VOC have them, so that the readers here find them."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_frcnn.conversion.foreign import DEFAULT_SPLIT, ForeignImage
from tf_frcnn.data.image import read_image_header
from tf_frcnn.data.orientation import UPRIGHT
from tf_frcnn.data.voc_writer import VocObject, format_annotation
from tf_frcnn.progress import track

Splits = Mapping[str, Sequence[ForeignImage]]


def write_coco(root: Path, splits: Splits, class_names: Sequence[str], origin: str) -> None:
    """Write `annotations/instances_SPLIT.json` and `images/SPLIT`, or `images` without splits.

    Args:
        root: a folder that is there and empty.
        splits: the images of each.
        class_names: of all objects.
        origin: what is said of where the data set comes from.
    """
    ids = {name: number for number, name in enumerate(class_names, start=1)}
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    (root / "annotations").mkdir()
    for split, images in splits.items():
        folder = root / "images" / ("" if split == DEFAULT_SPLIT else split)
        entries: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, image in enumerate(track(images, f"writing {split}"), start=1):
            _write_image(image, folder)
            size = _state_size(image)
            sides = {} if size is None else {"height": size[0], "width": size[1]}
            entries.append({"id": number, "file_name": image.name, **sides})
            for item in image.objects:
                ymin, xmin, ymax, xmax = item.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": ids[item.name],
                        "bbox": [xmin, ymin, round(xmax - xmin, 9), round(ymax - ymin, 9)],
                        "area": round(item.area, 9),
                        "iscrowd": int(item.is_ignored),
                    }
                )
        content = {"info": {"description": origin}, "images": entries}
        content |= {"annotations": annotations, "categories": categories}
        path = root / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8")


def write_voc(root: Path, splits: Splits, class_names: Sequence[str], origin: str) -> None:
    """Write JPEGImages, Annotations and the lists of ImageSets/Main; see `write_coco`."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, images in splits.items():
        prefix = f"{split}/" if len(splits) > 1 else ""
        names = []
        for image in track(images, f"writing {split}"):
            path = _write_image(image, root / "JPEGImages" / prefix)
            name = path.relative_to(root / "JPEGImages").with_suffix("").as_posix()
            names.append(name)
            objects = [
                VocObject(item.name, item.box, difficult=item.is_ignored) for item in image.objects
            ]
            size = _state_size(image) or (0, 0)  # VOC's field has to be there; 0 says nothing
            target = root / "Annotations" / f"{name}.xml"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(format_annotation(path.name, size, objects, origin))
        text = "".join(f"{name}\n" for name in names)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(text, encoding="utf-8")


def split_in(data_format: str, split: str) -> str:
    """Get the name by which the reader of a written data set takes a whole split."""
    return f"annotations/instances_{split}.json" if data_format == "coco" else split


WRITERS: Mapping[str, Callable[[Path, Splits, Sequence[str], str], None]] = {
    "coco": write_coco,
    "voc": write_voc,
}


def order_classes(declared: Iterable[str], splits: Splits) -> tuple[list[str], list[str]]:
    """List the classes in the order of their declaration -> (those with boxes, those without)."""
    used = {item.name for images in splits.values() for one in images for item in one.objects}
    names = list(dict.fromkeys(declared))
    return [name for name in names if name in used], [name for name in names if name not in used]


def _write_image(image: ForeignImage, folder: Path) -> Path:
    """Copy an image as it is."""
    path = folder / image.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image.content, bytes):
        path.write_bytes(image.content)
    else:
        shutil.copyfile(image.content, path)
    return path


def _state_size(image: ForeignImage) -> tuple[int, int] | None:
    """Give the size to state: the source's own, as it tells in whose pixels the boxes are.

    Where it states none, an upright image leaves nothing open, and a turned one must not state any.
    """
    if image.stated_size is not None:
        return image.stated_size
    header = read_image_header(image.content)
    return header.size if header.orientation == UPRIGHT else None
