"""What the package computes in tensors, as plain loops over NumPy numbers.

Written from the definitions, not from the package: tests compare the two.
"""

import math

import numpy as np


def area(box):
    """Area of one yxyx box; 0 where it is empty or inverted."""
    ymin, xmin, ymax, xmax = (float(edge) for edge in box)
    return max(ymax - ymin, 0.0) * max(xmax - xmin, 0.0)


def iou(box_a, box_b):
    """IoU of two yxyx boxes in double precision; 0 where their union is empty."""
    ymin, xmin = max(float(box_a[0]), float(box_b[0])), max(float(box_a[1]), float(box_b[1]))
    ymax, xmax = min(float(box_a[2]), float(box_b[2])), min(float(box_a[3]), float(box_b[3]))
    intersection = area((ymin, xmin, ymax, xmax))
    union = area(box_a) + area(box_b) - intersection
    return intersection / union if union > 0 else 0.0


def giou(box_a, box_b):
    """Generalised IoU of two yxyx boxes that have an area, in double precision."""
    ymin, xmin = min(box_a[0], box_b[0]), min(box_a[1], box_b[1])
    ymax, xmax = max(box_a[2], box_b[2]), max(box_a[3], box_b[3])
    shared = iou(box_a, box_b)
    union = (area(box_a) + area(box_b)) / (1 + shared)  # a + b = union + shared * union
    return shared - 1 + union / area((ymin, xmin, ymax, xmax))


def iou_matrix(boxes_a, boxes_b):
    """IoU of every box in `boxes_a` with every box in `boxes_b`."""
    return np.array([[iou(a, b) for b in boxes_b] for a in boxes_a]).reshape(
        len(boxes_a), len(boxes_b)
    )


def greedy_nms(boxes, scores, nms_iou):
    """Indices that survive NMS, best first."""
    kept = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        if all(iou(boxes[index], boxes[other]) <= nms_iou for other in kept):
            kept.append(index)
    return kept


def soft_nms(boxes, scores, sigma, score_threshold):
    """Gaussian soft-NMS as Bodla et al. (2017) write it down: (index, score) pairs, best first."""
    left = {index: float(score) for index, score in enumerate(scores) if score > score_threshold}
    kept = []
    while left:
        best = min(left, key=lambda index: (-left[index], index))
        kept.append((best, left.pop(best)))
        for index in left:
            left[index] *= math.exp(-(iou(boxes[index], boxes[best]) ** 2) / sigma)
        left = {index: score for index, score in left.items() if score > score_threshold}
    return kept


def decode(deltas, anchor, std=(1.0, 1.0, 1.0, 1.0)):
    """Apply (dy, dx, log dh, log dw) * std to one yxyx box."""
    ymin, xmin, ymax, xmax = (float(edge) for edge in anchor)
    dy, dx, log_dh, log_dw = (float(d) * s for d, s in zip(deltas, std, strict=True))
    height, width = ymax - ymin, xmax - xmin
    y, x = ymin + 0.5 * height + dy * height, xmin + 0.5 * width + dx * width
    height, width = height * math.exp(log_dh), width * math.exp(log_dw)
    return [y - 0.5 * height, x - 0.5 * width, y + 0.5 * height, x + 0.5 * width]


def encode(box, anchor, std=(1.0, 1.0, 1.0, 1.0)):
    """Code one yxyx box relative to another as (dy, dx, log dh, log dw) / std."""
    (y, x, height, width), (y_a, x_a, height_a, width_a) = (
        (0.5 * (b[0] + b[2]), 0.5 * (b[1] + b[3]), b[2] - b[0], b[3] - b[1]) for b in (box, anchor)
    )
    deltas = (
        (y - y_a) / height_a,
        (x - x_a) / width_a,
        math.log(height / height_a),
        math.log(width / width_a),
    )
    return [delta / s for delta, s in zip(deltas, std, strict=True)]


def clip(box, size):
    """Clip one yxyx box to an image of (height, width)."""
    height, width = size
    return [
        min(max(edge, 0.0), limit)
        for edge, limit in zip(box, (height, width, height, width), strict=True)
    ]


def propose(scores, deltas, anchors, size, min_size, pre_nms_top_k, post_nms_top_k, nms_iou):
    """The RPN's proposals of one image: decode, clip, drop small, top N, NMS, in this order."""
    boxes = [clip(decode(*pair), size) for pair in zip(deltas, anchors, strict=True)]
    large = [
        index
        for index, (ymin, xmin, ymax, xmax) in enumerate(boxes)
        if min(ymax - ymin, xmax - xmin) >= min_size
    ]
    top = sorted(large, key=lambda index: -scores[index])[:pre_nms_top_k]
    kept = greedy_nms([boxes[index] for index in top], [scores[index] for index in top], nms_iou)
    return np.array([boxes[top[index]] for index in kept[:post_nms_top_k]]).reshape(-1, 4)


def softmax(logits):
    """Softmax over the last axis, in double precision."""
    exponentials = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def smooth_l1(difference, sigma):
    """Smooth L1 of one number."""
    size = abs(difference)
    return 0.5 * (sigma * size) ** 2 if size < 1 / sigma**2 else size - 0.5 / sigma**2


def numerical_gradient(function, point, step):
    """Central differences of a scalar function of an array, coordinate by coordinate."""
    point = np.asarray(point, np.float64)
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        moved = np.zeros_like(point)
        moved[index] = step
        gradient[index] = (function(point + moved) - function(point - moved)) / (2 * step)
    return gradient
