"""Signs of mistakes that no reader can be sure of: boxes in another format."""

from tf_frcnn.doctor.stated_boxes import StatedBoxes

_LEAST_SHARE = 0.02  # of boxes that do not fit: fewer are single slips, not another format
_MOST_FITTING = 0.95  # of boxes that the other format must explain
_LEAST_AT_BORDER = 5  # boxes at a border, from which its coordinate can be told


def box_format_signs(data_format: str, stated: StatedBoxes) -> list[str]:
    """Look for signs that boxes are in another format than the annotation's.

    Args:
        data_format: `voc` (xmin, ymin, xmax, ymax, from 1, inclusive) or `coco` (x, y, width,
            height, from 0).
        stated: the numbers as they stand in the files.

    Returns:
        One sentence a sign, with its counts; empty where nothing is suspicious.
    """
    if not len(stated.numbers):
        return []
    if (stated.numbers.max(axis=1) <= 1).mean() >= _MOST_FITTING:
        count = int((stated.numbers.max(axis=1) <= 1).sum())
        return [
            f"Boxes with all four numbers at most 1: {count} of {len(stated.numbers)}. They look "
            "normalised to the picture's size; expected are pixels."
        ]
    signs = _voc_signs(stated) if data_format == "voc" else _coco_signs(stated)
    return [sign for sign in signs if sign]


def _voc_signs(stated: StatedBoxes) -> list[str]:
    low, high = stated.numbers[:, :2], stated.numbers[:, 2:]
    inverted = (high < low).any(axis=1)
    past = (high > stated.picture_sizes).any(axis=1)
    as_xywh = ((high > 0) & (low + high <= stated.picture_sizes + 1)).all(axis=1)
    signs = []
    if inverted.mean() >= _LEAST_SHARE and as_xywh.mean() >= _MOST_FITTING:
        signs.append(
            f"Boxes with xmax < xmin or ymax < ymin: {inverted.sum()} of {len(low)}; read as x, y, "
            f"width, height, {as_xywh.sum()} lie inside of their pictures. They look like xywh."
        )
    elif inverted.mean() >= _LEAST_SHARE or past.mean() >= _LEAST_SHARE:
        signs.append(
            f"Boxes with xmax < xmin or ymax < ymin: {inverted.sum()}, past the right or lower "
            f"border: {past.sum()}, of {len(low)}. Are the numbers xmin, ymin, xmax, ymax of "
            "these very pictures?"
        )
    return [*signs, _zero_based_sign(stated)]


def _zero_based_sign(stated: StatedBoxes) -> str:
    """Tell 0-based numbers in VOC, where the first pixel is 1 and the last one the width."""
    low, high = stated.numbers[:, :2], stated.numbers[:, 2:]
    zeros = int((low == 0).any(axis=1).sum())
    if zeros:
        return (
            f"Boxes with xmin or ymin = 0: {zeros} of {len(low)}. VOC counts pixels from 1: the "
            "numbers look 0-based, and every box one pixel off."
        )
    at_last = int((high == stated.picture_sizes).any(axis=1).sum())
    before_last = int((high == stated.picture_sizes - 1).any(axis=1).sum())
    at_first = int((low == 1).any(axis=1).sum())
    if not at_first and max(at_last, before_last) >= _LEAST_AT_BORDER:
        return (
            f"No box begins at 1, the first pixel, though {max(at_last, before_last)} of "
            f"{len(low)} end at the far border. Do the numbers start at 1?"
        )
    return ""


def _coco_signs(stated: StatedBoxes) -> list[str]:
    first, second = stated.numbers[:, :2], stated.numbers[:, 2:]
    past = (first + second > stated.picture_sizes + 1).any(axis=1)
    as_corners = ((second > first) & (second <= stated.picture_sizes + 1)).all(axis=1)
    signs = []
    if past.mean() >= _LEAST_SHARE and as_corners.mean() >= _MOST_FITTING:
        signs.append(
            f"Boxes that end past the border: {past.sum()} of {len(first)}; read as xmin, ymin, "
            f"xmax, ymax, {as_corners.sum()} lie inside of their pictures. They look like corners."
        )
    elif past.mean() >= _LEAST_SHARE:
        signs.append(
            f"Boxes that end past the border: {past.sum()} of {len(first)}. Are the numbers x, y, "
            "width, height in pixels of these very pictures?"
        )
    ones = int((first == 1).any(axis=1).sum())
    if ones >= _LEAST_AT_BORDER and not (first < 1).any():
        signs.append(
            f"Boxes with x or y = 1: {ones} of {len(first)}, and none below. COCO counts from 0: "
            "the numbers look 1-based, and every box one pixel off."
        )
    return signs
