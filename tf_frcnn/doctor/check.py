"""Everything that check-data finds out about a data set, as numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.config import DataConfig, ModelConfig
from tf_frcnn.data.bit_depth import explain_unused_range
from tf_frcnn.data.class_names import similar_names
from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.faults import MAX_LISTED, counted, list_faults
from tf_frcnn.data.formats import find_format
from tf_frcnn.data.loading import read_datasets
from tf_frcnn.data.orientation import UPRIGHT
from tf_frcnn.data.trained_boxes import count_boxes, explain_nothing_to_learn, untrained_classes
from tf_frcnn.data.verification import without_images
from tf_frcnn.doctor.anchors import ResizedBoxes, best_ious, resize_boxes, suggest_anchors
from tf_frcnn.doctor.box_format import box_format_signs, read_stated_boxes
from tf_frcnn.doctor.duplicates import Duplicates, ImageFacts, examine_images, find_duplicates
from tf_frcnn.names import shown

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_LABELS = {
    "images": "num_pictures",
    "empty": "num_empty_pictures",
    "left out": "num_pictures_left_out",
    "boxes": "num_boxes",
    "boxes left out": "num_boxes_left_out",
    "difficult": "num_difficult",
    "crowd": "num_crowd",
    "clipped": "num_clipped",
    "rotated": "num_rotated",
    "repeated": "num_repeated",
    "other size": "num_sizes_differ",
    "1 px": "num_one_pixel",
}
_ALWAYS_SHOWN = ("num_pictures", "num_empty_pictures", "num_boxes")
_MAX_REMARK = 1000  # letters


@dataclass(frozen=True, eq=False)
class DataCheck:
    """What was found, and what the plots are drawn from.

    Attributes:
        report: the content of check_data.json.
        datasets: by the names of their splits, without what has faults.
        best_ious: for the anchors "chosen" and "suggested" the best IoU with each box that is
            trained on, [N] each; no "suggested" if there are no boxes.
    """

    report: dict[str, Any]
    datasets: dict[str, Dataset]
    best_ious: dict[str, np.ndarray]


def check_data(config: DataConfig, model: ModelConfig, seed: int) -> DataCheck:
    """Read a data set as training would, but go on past all faults, and look for what seems wrong.

    Args:
        config: folder, format, splits, classes, sizes, and what is to be done about faults.
        model: its anchors are judged, on the maps of its architecture.
        seed: divides the images if the data set has no splits of its own.

    Raises:
        ConfigError: no root was given, or the architecture wants another number of anchor sizes.
        DataError: there is no data set to read, or none of the splits asked for.
    """
    root, data_format = find_format(config)
    faults: list[str] = []
    by_role = read_datasets(config, seed, on_faults=lambda _, found: faults.extend(found))
    paths = {
        dataset.split: [example.image_path for example in dataset.examples]
        for dataset in by_role.values()
    }
    left_out = [item.image_path for one in by_role.values() for item in one.left_out]
    facts = examine_images([*(path for split in paths.values() for path in split), *left_out])
    undecodable = {path: fact.fault for path, fact in facts.items() if fact.fault}
    faults += undecodable.values()
    by_role = {role: without_images(dataset, undecodable) for role, dataset in by_role.items()}
    datasets = {dataset.split: dataset for dataset in by_role.values()}
    resized = resize_boxes(
        by_role["train"].examples, config.short_side, config.long_side, config.resize_rounding
    )
    anchors, ious = _judge_anchors(resized, model, by_role["train"].class_names)
    stated = read_stated_boxes(data_format, root, datasets)
    exact, near = find_duplicates(paths, facts)
    report = {
        "data": {
            "root": str(root),
            "format": data_format,
            "short_side": config.short_side,
            "long_side": config.long_side,
        },
        **_judge(config, faults, datasets.values(), explain_nothing_to_learn(by_role["train"])),
        "faults": {"count": len(faults), "first": list_faults(faults)},
        "roles": {role: dataset.split for role, dataset in by_role.items()},
        "class_names": list(by_role["train"].class_names),
        "splits": {split: count_split(dataset) for split, dataset in datasets.items()},
        "pictures": {"exif": by_role["train"].exif, **_describe_images(facts)},
        "duplicates": {
            "exact": _describe_duplicates(exact),
            "near": _describe_duplicates(near),
        },
        "suspicions": {
            "class_names": [list(pair) for pair in similar_names(by_role["train"].class_names)],
            "box_format": box_format_signs(data_format, stated),
            "files": _remarks_of(datasets.values()),
            "untrained_classes": untrained_classes(count_boxes(by_role["train"])),
        },
        "anchors": anchors,
    }
    return DataCheck(report, datasets, ious)


def _judge(
    config: DataConfig, faults: Sequence[str], datasets: Iterable[Dataset], nothing: str
) -> dict[str, Any]:
    """Tell whether training would refuse the data, and why, by the rules of `load_datasets`."""
    empty = [dataset.split for dataset in datasets if not dataset.examples]
    count = counted(len(faults), "fault")
    if faults and config.on_error == "stop":
        return {"would_stop_training": True, "verdict": f"{count} would stop training."}
    if empty:
        verdict = f"No image is left in {', '.join(empty)}: that would stop training."
        return {"would_stop_training": True, "verdict": verdict}
    if nothing:
        return {"would_stop_training": True, "verdict": f"That would stop training: {nothing}"}
    if faults:
        verdict = f"{count}: training would go on without what has them (--data.on-error skip)."
        return {"would_stop_training": False, "verdict": verdict}
    return {"would_stop_training": False, "verdict": "Nothing would stop training."}


def _remarks_of(datasets: Iterable[Dataset]) -> list[str]:
    """List what is odd about the files of the splits, each file once, safe to show."""
    remarks = dict.fromkeys(remark for dataset in datasets for remark in dataset.remarks)
    return [shown(remark, _MAX_REMARK) for remark in remarks]


def _describe_images(facts: Mapping[Path, ImageFacts]) -> dict[str, Any]:
    turned = Counter(fact.orientation for fact in facts.values() if fact.orientation != UPRIGHT)
    return {
        "num_files": len(facts),
        "num_unreadable": sum(bool(fact.fault) for fact in facts.values()),
        "unused_range": explain_unused_range(
            fact.brightest for fact in facts.values() if fact.brightest is not None
        ),
        "exif_orientations": {str(number): count for number, count in sorted(turned.items())},
    }


def _describe_duplicates(groups: Sequence[Duplicates]) -> dict[str, Any]:
    """Count groups of duplicates; those between splits are listed first."""
    ordered = sorted(groups, key=lambda group: not group.between_splits)
    return {
        "count": len(groups),
        "num_images": sum(len(group.images) for group in groups),
        "between_splits": sum(group.between_splits for group in groups),
        "first": [
            [
                *(f"{split}: {shown(name)}" for split, name in group.images[:MAX_LISTED]),
                *([f"{more} more"] if (more := len(group.images) - MAX_LISTED) > 0 else []),
            ]
            for group in ordered[:MAX_LISTED]
        ],
    }


def _judge_anchors(
    resized: ResizedBoxes, model: ModelConfig, class_names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Describe the chosen and the suggested anchors -> (for JSON, best IoUs by box)."""
    architecture = ARCHITECTURES[model.architecture]
    anchors = {"chosen": (model.anchor_sizes, model.aspect_ratios)}
    if len(resized.boxes):
        anchors["suggested"] = suggest_anchors(resized, *anchors["chosen"], architecture)
    ious = {name: best_ious(resized, *shapes, architecture) for name, shapes in anchors.items()}
    described = {
        name: {
            "sizes": list(sizes),
            "aspect_ratios": list(ratios),
            **_shares(ious[name]),
            "per_class": {
                class_name: _shares(ious[name][resized.classes == number])
                for number, class_name in enumerate(class_names, start=1)
            },
        }
        for name, (sizes, ratios) in anchors.items()
    }
    about = {"architecture": model.architecture, "num_boxes": len(resized.boxes)}
    return {**about, "suggested": None, **described}, ious


def _shares(ious: np.ndarray) -> dict[str, float | None]:
    """Compute the shares of boxes that are reached; None if there are no boxes."""
    figures = {
        "share_at_50": ious >= 0.5,
        "share_at_70": ious >= 0.7,
        "mean_best_iou": ious,
    }
    return {
        name: round(float(values.mean()), 4) if len(values) else None
        for name, values in figures.items()
    }


# === Counts of a split ===


def count_split(dataset: Dataset) -> dict[str, Any]:
    """Count the images and boxes of a split, by class, by image and by size.

    Args:
        dataset: may be without images.

    Returns:
        Numbers ready for JSON. Images with faults, and boxes with faults in images without, are
        counted as left out and nowhere else. `num_one_pixel` counts boxes with a side of one pixel
        or less: valid, but seldom meant. Sizes and ratios have their smallest value, 5 % quantile,
        median, 95 % quantile and largest value; None if there are no boxes.
    """
    examples = dataset.examples
    boxes_an_image = [len(example.boxes) for example in examples]
    sides = box_sides(dataset)
    height, width = sides.T
    return {
        "num_pictures": len(examples),
        "num_boxes": sum(boxes_an_image),
        "num_pictures_left_out": dataset.num_images_left_out,
        "num_boxes_left_out": dataset.num_boxes_left_out,
        "num_difficult": sum(int(example.difficult.sum()) for example in examples),
        "num_crowd": sum(int(example.crowd.sum()) for example in examples),
        "num_empty_pictures": boxes_an_image.count(0),
        "num_clipped": dataset.num_clipped,
        "num_rotated": dataset.num_rotated,
        "num_repeated": sum(_count_repeated(example) for example in examples),
        "num_sizes_differ": dataset.num_sizes_differ,
        "num_one_pixel": int((sides.min(axis=1) <= 1).sum()) if len(sides) else 0,
        "boxes_a_picture": {
            str(number): count for number, count in sorted(Counter(boxes_an_image).items())
        },
        "box_height": _quantiles(height),
        "box_width": _quantiles(width),
        "box_aspect_ratio": _quantiles(height / width),
        "per_class": _count_classes(dataset),
    }


def _count_repeated(example: Example) -> int:
    """Count the boxes of an image that another one of its class equals, all but the first."""
    rows = np.column_stack([example.classes, example.boxes])
    return len(rows) - len(np.unique(rows, axis=0))


def shown_counts(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Choose the columns of a table of splits, which would be too wide with all counts.

    Args:
        splits: name -> what `count_split` returns.

    Returns:
        Heading -> key; without counts that are 0 in every split, and mostly are.
    """
    return {
        label: key
        for label, key in _LABELS.items()
        if key in _ALWAYS_SHOWN or any(counts[key] for counts in splits.values())
    }


def box_sides(dataset: Dataset) -> np.ndarray:
    """Compute (height, width) of all boxes of a split, [N, 2] float32, in image pixels."""
    boxes = [np.zeros((0, 4), np.float32), *(example.boxes for example in dataset.examples)]
    stacked = np.concatenate(boxes)
    return stacked[:, 2:] - stacked[:, :2]


def _count_classes(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Count the boxes of each class, and the images with at least one."""
    num_boxes: Counter[int] = Counter()
    num_images: Counter[int] = Counter()
    for example in dataset.examples:
        num_boxes.update(example.classes.tolist())
        num_images.update(set(example.classes.tolist()))
    return {
        name: {"num_boxes": num_boxes[number], "num_pictures": num_images[number]}
        for number, name in enumerate(dataset.class_names, start=1)
    }


def _quantiles(values: np.ndarray) -> list[float] | None:
    if not len(values):
        return None
    return [round(float(value), 4) for value in np.quantile(values, _QUANTILES)]
