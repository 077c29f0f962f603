"""Small COCO data sets on disk, and reading them, for the tests beside this file."""

import json
from xml.etree import ElementTree

import pytest
from PIL import Image

from tf_frcnn.data.coco import read_coco
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import DataError

SIZE = (100, 200)  # (height, width) of the images drawn below
CATEGORIES = {3: "cat", 7: "dog"}


def image(number, **fields):
    """Make an entry of `images`, for the image `pNUMBER.png`."""
    entry = {"id": number, "file_name": f"p{number}.png", "height": SIZE[0], "width": SIZE[1]}
    return {**entry, **fields}


def annotation(number, image, box, category=3, **fields):
    """Make an entry of `annotations`; the box is [x, y, width, height]."""
    entry = {"id": number, "image_id": image, "category_id": category, "bbox": box}
    return {**entry, "area": box[2] * box[3], "iscrowd": 0, **fields}


def content(images, annotations=(), categories=None):
    """Put a file's content together; categories are names by id."""
    return {
        "images": list(images),
        "annotations": list(annotations),
        "categories": [
            {"id": key, "name": name} for key, name in (categories or CATEGORIES).items()
        ],
    }


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def write_images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE[1], SIZE[0])).save(folder / name)


def write_coco(root, value, split="train", count=3):
    """Write a split's JSON and the images p0.png, p1.png, ... into `images`."""
    write_images(root / "images", *(f"p{number}.png" for number in range(count)))
    write_json(root / "annotations" / f"instances_{split}.json", value)
    return root


def read_train(root, class_names=()):
    return read_coco(root, ("train",), class_names, Divider(0))["train"]


def message_of(root, class_names=(), splits=("train",)):
    with pytest.raises(DataError) as caught:
        read_coco(root, splits, class_names, Divider(0))
    return str(caught.value)


def voc_to_coco(voc_root, root, class_names, splits):
    """Write a VOC data set in COCO form, by the definition of both; the images are linked.

    Category ids have gaps, image ids are over 2^32.
    """
    ids = {name: 5 * number + 2 for number, name in enumerate(class_names)}
    for split in splits:
        lines = (voc_root / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        images, annotations = [], []
        for number, name in enumerate(lines, start=2**32 + 1):
            xml = ElementTree.parse(voc_root / "Annotations" / f"{name}.xml").getroot()
            (path,) = (voc_root / "JPEGImages").glob(f"{name}.*")
            height, width = (int(xml.findtext(f"size/{side}")) for side in ("height", "width"))
            images.append({"id": number, "file_name": path.name, "height": height, "width": width})
            for item in xml.iter("object"):
                sides = ("xmin", "ymin", "xmax", "ymax")
                xmin, ymin, xmax, ymax = (float(item.findtext(f"bndbox/{side}")) for side in sides)
                box = [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]
                category = ids[item.findtext("name")]
                annotations.append(annotation(len(annotations) + 1, number, box, category))
        categories = {key: name for name, key in ids.items()}
        write_json(
            root / "annotations" / f"instances_{split}.json",
            content(images, annotations, categories),
        )
    (root / "images").symlink_to(voc_root / "JPEGImages", target_is_directory=True)
    return root
