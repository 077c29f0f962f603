"""Tiny data sets in the formats of other tools, written by hand, for the tests beside this file.

Each has the images of `SIZE`, whose boxes are told by the tests in numbers.
"""

import json

from PIL import Image

SIZE = (100, 200)  # (height, width) of the images


def write_image(path, size=SIZE, colour=(90, 100, 90), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], colour).save(path, **options)
    return path


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# === CVAT for images 1.1 ===


def cvat_image(number, name, *shapes, size=SIZE):
    height, width = size
    inner = "".join(shapes)
    return f'<image id="{number}" name="{name}" width="{width}" height="{height}">{inner}</image>'


def cvat_shape(kind, label="cat", **attributes):
    fields = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<{kind} label="{label}" source="manual" occluded="0"{fields}></{kind}>'


def cvat_box(xtl, ytl, xbr, ybr, label="cat", **others):
    return cvat_shape("box", label, xtl=xtl, ytl=ytl, xbr=xbr, ybr=ybr, z_order=0, **others)


def write_cvat(root, *images, tracks="", labels=("cat", "dog"), name="annotations"):
    """Write a task's XML beside the folder `images`."""
    listed = "".join(
        f"<label><name>{label}</name><attributes></attributes></label>" for label in labels
    )
    size = f"<original_size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></original_size>"
    write_text(
        root / f"{name}.xml",
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
        f"<id>1</id><name>pets</name><labels>{listed}</labels>{size}</task></meta>"
        f"{''.join(images)}{tracks}</annotations>",
    )
    return root


# === LabelMe's XML ===


def labelme_object(number, name, points, deleted=0, is_box=False):
    corners = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
    kind = "<type>bounding_box</type>" if is_box else ""
    return (
        f"<object><name>{name}</name><deleted>{deleted}</deleted><occluded>no</occluded>"
        f"<attributes></attributes><id>{number}</id>{kind}<polygon><username>me</username>{corners}"
        "</polygon></object>"
    )


def write_labelme(root, folder, name, *objects):
    """Write an image and its annotation in the folders of LabelMe's collection."""
    write_image(root / "Images" / folder / f"{name}.jpg")
    write_text(
        root / "Annotations" / folder / f"{name}.xml",
        f"<annotation><filename>{name}.jpg</filename><folder>{folder}</folder><imagesize>"
        f"<nrows>{SIZE[0]}</nrows><ncols>{SIZE[1]}</ncols></imagesize>{''.join(objects)}"
        "</annotation>",
    )
    return root


# === Open Images ===

_OPEN_IMAGES_COLUMNS = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,"
    "IsDepiction,IsInside"
)


def write_open_images(root, boxes, splits=("train", "validation")):
    """Write boxes, (image, label, xmin, xmax, ymin, ymax, is_group) of each split."""
    folder = root / "annotations"
    write_text(folder / "class-descriptions-boxable.csv", "/m/01yrx,Cat\n/m/0bt9lr,Dog\n/m/9,Ant\n")
    for split in splits:
        rows = [
            f"{image},xclick,{label},1,{xmin},{xmax},{ymin},{ymax},0,0,{int(is_group)},0,0"
            for image, label, xmin, xmax, ymin, ymax, is_group in boxes[split]
        ]
        text = "\n".join([_OPEN_IMAGES_COLUMNS, *rows])
        write_text(folder / f"{split}-annotations-bbox.csv", text)
        for image in {box[0] for box in boxes[split]}:
            write_image(root / "images" / split / f"{image}.jpg")
    return root


# === Datumaro's own ===


def datumaro_item(name, *annotations, size=SIZE, extension=".png"):
    image = {"path": f"{name}{extension}", "size": list(size)}
    return {"id": name, "attr": {}, "image": image, "annotations": list(annotations)}


def datumaro_shape(kind, label=0, number=0, group=0, **fields):
    entry = {"id": number, "type": kind, "attributes": {}, "group": group, "label_id": label}
    return {**entry, "z_order": 0, **fields}


def write_datumaro(root, splits, labels=("cat", "dog")):
    """Write a JSON file a split, and its images."""
    categories = [{"name": name, "parent": "", "attributes": []} for name in labels]
    for split, items in splits.items():
        value = {
            "infos": {},
            "categories": {"label": {"labels": categories, "attributes": []}},
            "items": items,
        }
        write_text(root / "annotations" / f"{split}.json", json.dumps(value))
        for item in items:
            write_image(root / "images" / split / item["image"]["path"])
    return root


# === WIDER FACE ===


def write_wider(root, splits):
    """Write the lists and images of splits: name of an image -> lines of its faces."""
    for split, images in splits.items():
        lines = []
        for name, faces in images.items():
            write_image(root / f"WIDER_{split}" / "images" / name)
            lines += [name, str(len(faces)), *(faces or ["0 0 0 0 0 0 0 0 0 0"])]
        write_text(
            root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt", "\n".join(lines) + "\n"
        )
    return root


# === LabelMe's JSON ===


def labelme_shape(label, kind, *points, group=None):
    return {"label": label, "points": list(points), "shape_type": kind, "group_id": group}


def labelme_content(image, *shapes, **fields):
    size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    return {"version": "5.5.0", "shapes": list(shapes), "imagePath": image, **size, **fields}


# === VoTT ===


def write_vott(root, name, images, tags=("cat", "dog")):
    """Write the JSON export of a project: image -> (tag, left, top, width, height), ..."""
    sides = ("left", "top", "width", "height")
    assets = {}
    for number, (image, regions) in enumerate(images.items()):
        write_image(root / image)
        assets[str(number)] = {
            "asset": {"name": image, "path": f"file:/home/me/{image}"},
            "regions": [
                {"id": str(k), "tags": [tag], "boundingBox": dict(zip(sides, box, strict=True))}
                for k, (tag, *box) in enumerate(regions)
            ],
        }
    value = {"name": name, "tags": [{"name": tag} for tag in tags], "assets": assets}
    write_text(root / f"{name}-export.json", json.dumps(value))
    return root


# === KITTI ===


def write_kitti(root, split, images):
    """Write `image_2` and `label_2`: name -> lines (class, xmin, ymin, xmax, ymax)."""
    for name, boxes in images.items():
        write_image(root / split / "image_2" / f"{name}.png")
        lines = [
            f"{kind} 0.00 0 -1.57 {xmin} {ymin} {xmax} {ymax} 1.6 1.6 3.9 1.0 1.7 13.2 -1.6"
            for kind, xmin, ymin, xmax, ymax in boxes
        ]
        write_text(root / split / "label_2" / f"{name}.txt", "\n".join(lines))
    return root
