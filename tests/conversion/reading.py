"""What `tf-frcnn convert-data` wrote, read without the project's readers."""

import json
from xml.etree import ElementTree

from tf_frcnn.cli import main

SIDES = ("xmin", "ymin", "xmax", "ymax")


def convert(name, source, output, *options):
    """Run the command in this process -> exit status."""
    return main(["convert-data", "--from", name, str(source), str(output), *options])


def boxes_in_coco(root):
    """Read {split: {file name: [(class, x, y, width, height, iscrowd)]}}."""
    splits = {}
    for path in (root / "annotations").iterdir():
        content = json.loads(path.read_text())
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        boxes = {entry["id"]: [] for entry in content["images"]}
        for entry in content["annotations"]:
            values = (names[entry["category_id"]], *entry["bbox"], entry["iscrowd"])
            boxes[entry["image_id"]].append(values)
        files = {entry["id"]: entry["file_name"] for entry in content["images"]}
        split = path.stem.removeprefix("instances_")
        splits[split] = {files[key]: values for key, values in boxes.items()}
    return splits


def boxes_in_voc(root):
    """Read {split: {name: [(class, xmin, ymin, xmax, ymax, difficult)]}}."""
    splits = {}
    for path in (root / "ImageSets" / "Main").iterdir():
        names = path.read_text().splitlines()
        trees = {name: ElementTree.parse(root / "Annotations" / f"{name}.xml") for name in names}
        splits[path.stem] = {
            name: [
                (
                    item.findtext("name"),
                    *(float(item.findtext(f"bndbox/{side}")) for side in SIDES),
                    int(item.findtext("difficult")),
                )
                for item in tree.iter("object")
            ]
            for name, tree in trees.items()
        }
    return splits
