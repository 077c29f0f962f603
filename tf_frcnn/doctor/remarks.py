"""The findings of a check that deserve attention: one sentence each, the gravest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from tf_frcnn.data.faults import MAX_LISTED, enumerate_names
from tf_frcnn.data.orientation import describe_choice, is_quarter_turn

_ANCHOR_GAIN = 0.02  # other anchors are suggested if they reach this share of the boxes in addition


def list_remarks(report: Mapping[str, Any]) -> list[str]:
    """Describe what deserves attention but does not stop training.

    Args:
        report: the content of check_data.json.

    Returns:
        Sentences; none for a data set without anything odd.
    """
    remarks = [
        *report["suspicions"]["box_format"],
        *report["suspicions"]["files"],
        *(
            f"Class names that look like the same: {first!r} and {second!r}."
            for first, second in report["suspicions"]["class_names"][:MAX_LISTED]
        ),
        *(
            f"A class all of whose boxes take no part in training, {flags}."
            for flags in report["suspicions"]["untrained_classes"][:MAX_LISTED]
        ),
        *_duplicate_remarks(report["duplicates"]),
        *_split_remarks(report["splits"], report["class_names"]),
    ]
    remarks += filter(None, [report["pictures"]["unused_range"]])
    remarks += _orientation_remarks(report["pictures"])
    return remarks + _anchor_remarks(report["anchors"])


def _orientation_remarks(images: Mapping[str, Any]) -> list[str]:
    counts = {int(number): count for number, count in images["exif_orientations"].items()}
    if not counts:
        return []
    where = {"apply": "on the turned image", "ignore": "on the stored pixels"}[images["exif"]]
    remark = (
        f"Images with an EXIF orientation: {sum(counts.values())}, "
        f"{describe_choice(images['exif'])}: boxes must be drawn {where}."
    )
    keeping = sum(count for number, count in counts.items() if not is_quarter_turn(number))
    if keeping:
        remark += f" Of {keeping} with orientations 2 to 4 no stated size tells whether they are."
    return [remark]


def _duplicate_remarks(duplicates: Mapping[str, Any]) -> list[str]:
    remarks = []
    for kind, what in (("exact", "The same image more than once"), ("near", "Near duplicates")):
        found = duplicates[kind]
        if found["count"]:
            between = found["between_splits"]
            harm = " Those make the figures better than the detector is." if between else ""
            remarks.append(
                f"{what}: {found['count']} ({found['num_images']} images), between splits: "
                f"{between}.{harm}"
            )
    return remarks


def _split_remarks(splits: Mapping[str, Any], class_names: Sequence[str]) -> list[str]:
    remarks = []
    for split, counts in splits.items():
        if counts["num_clipped"]:
            remarks.append(
                f"Boxes partly outside of their image in {split}: {counts['num_clipped']}; they "
                "are clipped."
            )
        if counts["num_rotated"]:
            remarks.append(
                f"Boxes that were drawn turned (attribute rotation) in {split}: "
                f"{counts['num_rotated']}; the upright boxes around them are taken."
            )
        if counts["num_repeated"]:
            remarks.append(
                f"Boxes that stand there again, same class and same place, in {split}: "
                f"{counts['num_repeated']}; each counts as another object."
            )
        if counts["num_sizes_differ"]:
            remarks.append(
                f"Images whose annotation states another size in {split}: "
                f"{counts['num_sizes_differ']}; look whether their boxes fit."
            )
        if counts["num_one_pixel"]:
            remarks.append(
                f"Boxes with a side of one pixel or less in {split}: {counts['num_one_pixel']}; "
                "valid, but seldom meant."
            )
        without = [name for name in class_names if not counts["per_class"][name]["num_boxes"]]
        if without:
            remarks.append(
                f"Classes without a box in {split}: {len(without)}: {enumerate_names(without)}."
            )
    return remarks


def _anchor_remarks(anchors: Mapping[str, Any]) -> list[str]:
    chosen, suggested = anchors["chosen"], anchors["suggested"]
    if suggested is None:
        return []
    gains = [suggested[key] - chosen[key] for key in ("share_at_50", "share_at_70")]
    if max(gains) < _ANCHOR_GAIN:
        return []
    options = " ".join(
        (
            "--model.anchor-sizes",
            *(f"{size:g}" for size in suggested["sizes"]),
            "--model.aspect-ratios",
            *(f"{ratio:g}" for ratio in suggested["aspect_ratios"]),
        )
    )
    return [
        f"Other anchors reach {suggested['share_at_50']:.1%} of the boxes at IoU 0.5 and "
        f"{suggested['share_at_70']:.1%} at 0.7, the chosen ones {chosen['share_at_50']:.1%} and "
        f"{chosen['share_at_70']:.1%}: {options}"
    ]
