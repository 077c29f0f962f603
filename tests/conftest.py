"""Fixtures that several test files share."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

VOC_CLASS_COLOURS = {"cat": (220, 60, 40), "dog": (40, 160, 220), "duck": (240, 210, 50)}
VOC_SPLIT_COUNTS = {"train": 6, "val": 2, "test": 2}


def voc_xml(size, objects, filename="unused.png"):
    """Write a VOC annotation.

    Args:
        size: (height, width).
        objects: (name, xmin, ymin, xmax, ymax) or these and difficult; coordinates as they stand
            in the file, 1-based and inclusive.
        filename: content of the field.
    """
    lines = [f"<annotation><filename>{filename}</filename>"]
    height, width = size
    lines.append(f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>")
    for name, xmin, ymin, xmax, ymax, *difficult in objects:
        flag = "".join(f"<difficult>{value}</difficult>" for value in difficult)
        lines.append(
            f"<object><name>{name}</name>{flag}<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin>"
            f"<xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>"])


@pytest.fixture
def voc_folder(tmp_path) -> Path:
    """Write ten pictures, 72 x 96, with one or two coloured rectangles each, in VOC layout."""
    root = tmp_path / "voc"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    class_names = list(VOC_CLASS_COLOURS)
    for split, count in VOC_SPLIT_COUNTS.items():
        names = [f"{split}_{number}" for number in range(count)]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for number, name in enumerate(names):
            picture = Image.new("RGB", (96, 72), (90, 100, 90))
            first, second = class_names[number % 3], class_names[(number + 1) % 3]
            objects = [(first, 4 + 3 * number, 6, 40 + 3 * number, 30 + 2 * number)]
            if number % 2:
                objects.append((second, 50, 45, 90, 68))
            for class_name, xmin, ymin, xmax, ymax in objects:
                ImageDraw.Draw(picture).rectangle(
                    (xmin - 1, ymin - 1, xmax - 1, ymax - 1), fill=VOC_CLASS_COLOURS[class_name]
                )
            picture.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
            annotation = voc_xml((72, 96), objects, f"{name}.jpg")
            (root / "Annotations" / f"{name}.xml").write_text(annotation)
    return root
