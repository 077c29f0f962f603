"""How well anchors fit the boxes of a data set, and which would fit them better.

The RPN starts from anchors, the same shapes at every cell of a feature map (Faster R-CNN, section
3.1.1). A box that no anchor overlaps well is hard to find. Counted here is the best IoU that any
anchor of the network's maps reaches with each box, in pixels of the network's input. Anchors across
the image's border count too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_frcnn.architectures.architecture import Architecture
from tf_frcnn.data.example import Example
from tf_frcnn.iou import paired_iou
from tf_frcnn.ops.resized_size import Rounding, resized_size

_ITERATIONS = 50  # of k-means in one dimension, which settles in far fewer


@dataclass(frozen=True, eq=False)
class ResizedBoxes:
    """Boxes as the network sees them.

    Attributes:
        boxes: [N, 4] float64 yxyx boxes in pixels of the network's input.
        image_sizes: [N, 2] int64 (height, width) of each box's image, in the same pixels.
        classes: [N] int64 class ids.
    """

    boxes: np.ndarray
    image_sizes: np.ndarray
    classes: np.ndarray

    @property
    def sides(self) -> np.ndarray:
        """[N, 2] float64 (height, width), in pixels of the network's input."""
        return self.boxes[:, 2:] - self.boxes[:, :2]


def resize_boxes(
    examples: Iterable[Example], short_side: int, long_side: int, rounding: Rounding = "nearest"
) -> ResizedBoxes:
    """Bring the boxes that are trained on to the size at which images enter the network.

    Args:
        examples: difficult and crowd boxes are left out, as in training.
        short_side: the shorter side of each image becomes this many pixels ...
        long_side: ... unless the longer one would exceed this many.
        rounding: of the sides, as in `ops.resized_size`.
    """
    boxes, sizes, classes = [np.zeros((0, 4))], [np.zeros((0, 2), int)], [np.zeros(0, int)]
    for example in examples:
        size = np.array(example.image_size, np.float64)
        resized = np.array(resized_size(example.image_size, short_side, long_side, rounding))
        kept = ~(example.difficult | example.crowd)
        boxes.append(example.boxes[kept] * np.tile(resized / size, 2))
        sizes.append(np.tile(resized.astype(int), (int(kept.sum()), 1)))
        classes.append(example.classes[kept].astype(int))
    return ResizedBoxes(np.concatenate(boxes), np.concatenate(sizes), np.concatenate(classes))


def map_sizes(architecture: Architecture, image_sizes: np.ndarray) -> list[np.ndarray]:
    """Compute the sizes of the maps that anchors stand on.

    Those that RoIs are pooled from; those that a pyramid has beyond them, for the RPN alone, are
    every second cell of the one before.

    Args:
        architecture: whose maps they are.
        image_sizes: [N, 2] (height, width) of images before they are padded.

    Returns:
        For each map [N, 2] int64 (rows, columns).
    """
    padded = padded_sizes(architecture, image_sizes)
    sizes = [-(-padded // stride) for stride in architecture.strides]
    while len(sizes) < architecture.num_maps:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def padded_sizes(architecture: Architecture, image_sizes: np.ndarray) -> np.ndarray:
    """Compute the sizes of images once they are padded, [N, 2] int64."""
    multiple = architecture.pixels.multiple
    return -(-image_sizes // multiple) * multiple


def best_ious(
    resized: ResizedBoxes,
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    architecture: Architecture,
) -> np.ndarray:
    """Compute the best IoU that any anchor of the network has with each box.

    For one shape the intersection shrinks in y and in x with the distance of the centres, so of the
    anchors of one map the one that is nearest in both is the best; no other needs to be looked at.

    Args:
        resized: the boxes.
        sizes: square roots of the anchors' areas, in pixels of the network's input; as many as
            `ModelConfig` lets this architecture have.
        aspect_ratios: height / width of the anchors.
        architecture: says on which maps anchors stand, and where.

    Returns:
        [N] float64 in [0, 1].
    """
    grid = architecture.anchors
    padded = padded_sizes(architecture, resized.image_sizes)
    centers = 0.5 * (resized.boxes[:, :2] + resized.boxes[:, 2:])  # [N, 2]
    best = np.zeros(len(resized.boxes))
    for number, cells in enumerate(map_sizes(architecture, resized.image_sizes)):
        strides = padded // cells
        nearest = np.clip(np.round(centers / strides - grid.offset), 0, cells - 1)
        anchor_centers = (nearest + grid.offset) * strides
        for size in sizes[number : number + 1] if grid.one_size_a_map else sizes:
            for ratio in aspect_ratios:
                half = 0.5 * size * np.array([np.sqrt(ratio), 1 / np.sqrt(ratio)])
                half = np.round(half) if grid.rounded else half
                anchors = np.concatenate([anchor_centers - half, anchor_centers + half], axis=-1)
                best = np.maximum(best, paired_iou(resized.boxes, anchors))
    return best


def suggest_anchors(
    resized: ResizedBoxes,
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    architecture: Architecture,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Suggest as many sizes and ratios as were chosen, so that the cost stays the same.

    Sizes are the centres of k-means over the boxes' sizes with the distance 1 - IoU of squares, and
    ratios likewise. For two squares of sides a < b that IoU is (a / b) ** 2, which orders distances
    as |log a - log b| does, so the clusters are those of the logarithms. What was chosen stays
    where the clusters would reach fewer boxes. Where each map has one size and there are fewer
    clusters, twice the largest follows, and so on.

    Args:
        resized: the boxes, at least one.
        sizes: the chosen sizes.
        aspect_ratios: the chosen ratios.
        architecture: says on which maps anchors stand, and where.

    Returns:
        Sizes in whole pixels and ratios with two decimals, both rising; as many sizes as maps where
        each map has one.
    """
    height, width = np.maximum(resized.sides, 1e-3).T
    clustered_sizes = _cluster(np.sqrt(height * width), len(sizes), decimals=0, least=1.0)
    clustered_ratios = _cluster(height / width, len(aspect_ratios), decimals=2, least=0.01)
    while architecture.anchors.one_size_a_map and len(clustered_sizes) < len(sizes):
        clustered_sizes = (*clustered_sizes, 2.0 * clustered_sizes[-1])
    candidates = [
        (tuple(some_sizes), tuple(some_ratios))
        for some_sizes in (sizes, clustered_sizes)
        for some_ratios in (aspect_ratios, clustered_ratios)
    ]
    return max(
        candidates, key=lambda both: _reached(best_ious(resized, both[0], both[1], architecture))
    )


def _reached(ious: np.ndarray) -> float:
    return float((ious >= 0.5).mean() + (ious >= 0.7).mean())


def _cluster(values: np.ndarray, count: int, decimals: int, least: float) -> tuple[float, ...]:
    """Find at most `count` centres of positive numbers by k-means over their logarithms."""
    logs = np.log(values)
    centers = np.unique(np.quantile(logs, (np.arange(count) + 0.5) / count))
    for _ in range(_ITERATIONS):
        nearest = np.abs(logs[:, None] - centers).argmin(axis=1)
        moved = np.array([logs[nearest == index].mean() for index in np.unique(nearest)])
        if len(moved) == len(centers) and np.allclose(moved, centers):
            break
        centers = moved
    rounded = np.maximum(np.round(np.exp(centers), decimals), least)
    return tuple(float(value) for value in np.unique(rounded))
