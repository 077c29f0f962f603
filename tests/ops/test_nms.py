"""Non-maximum suppression against a greedy loop, and what comes out when little goes in."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracles
from tf_frcnn.ops.builtin import builtin_operators_only
from tf_frcnn.ops.nms import DROPPED, best_of_maps, per_class_nms, top_k_nms


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, [60, 90], (count, 2))
    return np.concatenate([corner, corner + rng.uniform([8, 12], [40, 70], (count, 2))], axis=1)


def as_float(array):
    return tf.constant(array, tf.float32)


def test_top_k_nms_of_three_boxes():
    # Boxes 10 x 20. The second overlaps the best by 9 rows: IoU 180 / (400 - 180) = 0.818 > 0.7;
    # the third by 5: IoU 100 / 300 = 0.333.
    boxes = as_float([[[5, 0, 15, 20], [1, 0, 11, 20], [0, 0, 10, 20]]])
    kept, _ = top_k_nms(boxes, as_float([[0.1, 0.2, 0.3]]), 3, 4, 0.7)
    expected = [[[0, 0, 10, 20], [5, 0, 15, 20], [0, 0, 0, 0], [0, 0, 0, 0]]]
    np.testing.assert_array_equal(kept, expected)


def test_an_iou_at_the_limit_is_kept():
    # Overlap of 5 rows of 10 x 20: IoU 100 / 300; the limit says "above".
    boxes = as_float([[[0, 0, 10, 20], [5, 0, 15, 20]]])
    for limit, count in ((100 / 300, 2), (0.333, 1)):
        kept, _ = top_k_nms(boxes, as_float([[2.0, 1.0]]), 2, 2, limit)
        assert np.count_nonzero(kept.numpy().any(axis=-1)) == count


def test_top_k_nms_equals_the_greedy_loop_in_each_image():
    boxes = np.stack([random_boxes(80, 1), random_boxes(80, 2)]).astype(np.float32)
    scores = np.random.default_rng(3).permutation(160).reshape(2, 80) / 7.0 - 9.0
    kept = top_k_nms(as_float(boxes), as_float(scores), 50, 60, 0.4)[0].numpy()
    assert kept.shape == (2, 60, 4)
    for image in range(2):
        top = np.argsort(-scores[image])[:50]
        survivors = oracles.greedy_nms(boxes[image][top], scores[image][top], 0.4)
        assert 5 < len(survivors) < 50  # the limit does something
        expected = np.zeros((60, 4), np.float32)
        expected[: len(survivors)] = boxes[image][top][survivors]
        np.testing.assert_array_equal(kept[image], expected)


def test_boxes_beyond_the_top_k_do_not_return_after_nms():
    # Two boxes enter, the same twice: one leaves, though a third, apart, had room.
    boxes = as_float([[[0, 0, 10, 20], [0, 0, 10, 20], [50, 50, 60, 80]]])
    kept, _ = top_k_nms(boxes, as_float([[3.0, 2.0, 1.0]]), 2, 2, 0.7)
    np.testing.assert_array_equal(kept, [[[0, 0, 10, 20], [0, 0, 0, 0]]])


def test_dropped_boxes_never_come_out_however_much_room_there_is():
    boxes = as_float([random_boxes(3, 0)])
    kept = top_k_nms(boxes, as_float([[DROPPED, -1e6, DROPPED]]), 10, 5, 0.7)[0].numpy()
    np.testing.assert_array_equal(kept[0, 0], boxes[0, 1])
    assert not kept[0, 1:].any()


def test_top_k_nms_without_any_box():
    assert not top_k_nms(tf.zeros([2, 0, 4]), tf.zeros([2, 0]), 10, 5, 0.7)[0].numpy().any()


def test_classes_are_suppressed_separately():
    # The same box twice for class 1 (one is dropped) and once for class 2 (kept).
    box = [3.0, 4, 20, 50]
    boxes = as_float([[[box, box], [box, box]]])  # [1, K=2, N=2, 4]
    scores = as_float([[[0.9, 0.0], [0.8, 0.7]]])
    kept, kept_scores, classes, count = per_class_nms(boxes, scores, 0.05, 0.3, 4)
    np.testing.assert_array_equal(count, [2])
    np.testing.assert_allclose(kept_scores, [[0.9, 0.7, 0, 0]])
    np.testing.assert_array_equal(classes, [[1, 2, 0, 0]])
    np.testing.assert_array_equal(kept, [[box, box, [0] * 4, [0] * 4]])
    assert classes.dtype == tf.int32 and count.dtype == tf.int32


def test_boxes_are_not_taken_to_be_fractions_of_the_image():
    box = [-3.0, 4, 20, 500]
    kept = per_class_nms(as_float([[[box]]]), as_float([[[0.9]]]), 0.05, 0.3, 1)[0]
    np.testing.assert_array_equal(kept, [[box]])


def test_per_class_nms_equals_the_greedy_loop():
    num_boxes, num_classes, limit, threshold, max_detections = 40, 3, 0.3, 0.2, 25
    rng = np.random.default_rng(0)
    boxes = np.stack([random_boxes(num_boxes, seed) for seed in range(num_classes)], axis=1)
    boxes = boxes.astype(np.float32)
    scores = (rng.permutation(num_boxes * num_classes) / 120).reshape(num_boxes, num_classes)
    expected = []
    for k in range(num_classes):
        above = np.flatnonzero(scores[:, k] > threshold)
        for index in oracles.greedy_nms(boxes[above, k], scores[above, k], limit):
            expected.append((scores[above[index], k], k + 1, *boxes[above[index], k]))
    assert len(expected) > max_detections  # so that the best of all classes are a choice
    expected = np.array(sorted(expected, reverse=True)[:max_detections])

    kept, kept_scores, classes, count = per_class_nms(
        as_float([boxes]), as_float([scores]), threshold, limit, max_detections
    )
    np.testing.assert_array_equal(count, [max_detections])
    np.testing.assert_allclose(kept_scores[0], expected[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(classes[0], expected[:, 1])
    np.testing.assert_allclose(kept[0], expected[:, 2:], rtol=1e-6)


def test_scores_must_exceed_the_threshold():
    boxes = as_float([[[[0, 0, 9, 9]], [[20, 20, 30, 40]], [[50, 0, 70, 9]]]])
    scores = as_float([[[0.5], [0.25], [0.2]]])
    count = per_class_nms(boxes, scores, 0.25, 0.3, 3)[3]
    np.testing.assert_array_equal(count, [1])
    assert not any(result.numpy().any() for result in per_class_nms(boxes, scores, 0.6, 0.3, 3))


def test_the_best_of_all_maps_by_their_scores():
    # Map 0 has scores 5 and 1, map 1 has 4, 3 and padding: the best three are 5, 4 and 3.
    boxes = [[[[0, 0, 5, 5], [1, 1, 2, 2]]], [[[0, 0, 9, 9], [3, 3, 4, 4]]]]
    scores = [[[5.0, 1.0]], [[4.0, 3.0]]]
    best = best_of_maps([as_float(one) for one in boxes], [as_float(one) for one in scores], 3)
    np.testing.assert_array_equal(best, [[[0, 0, 5, 5], [0, 0, 9, 9], [3, 3, 4, 4]]])


def test_padding_of_a_map_comes_after_the_boxes_of_all():
    boxes = [as_float([[[0, 0, 5, 5], [0, 0, 0, 0]]]), as_float([[[0, 0, 9, 9], [0, 0, 0, 0]]])]
    scores = [as_float([[-7.0, DROPPED]]), as_float([[-9.0, DROPPED]])]
    best = best_of_maps(boxes, scores, 4)
    np.testing.assert_array_equal(best[0, :2], [[0, 0, 5, 5], [0, 0, 9, 9]])
    assert not best[0, 2:].numpy().any()


# === Soft-NMS ===

# 10 x 20 each, 5 rows between neighbours: IoU 5 * 20 / (15 * 20) = 1 / 3; the first and the last
# only touch.
THREE_IN_A_ROW = [[0, 0, 10, 20], [5, 0, 15, 20], [10, 0, 20, 20]]


def test_soft_nms_of_three_boxes():
    # With sigma 0.5 an IoU of 1 / 3 takes exp(-(1 / 9) / 0.5) = 0.800737. The first box takes the
    # second from 0.8 to 0.640590, less than the third has: that is kept next, and takes the second
    # to 0.640590 * 0.800737 = 0.512944.
    first, second, third = THREE_IN_A_ROW
    boxes = as_float([[[first], [second], [third]]])
    scores = as_float([[[0.9], [0.8], [0.7]]])
    kept, kept_scores, classes, count = per_class_nms(boxes, scores, 0.5, 0.3, 4, 0.5)
    np.testing.assert_array_equal(count, [3])
    np.testing.assert_allclose(kept_scores, [[0.9, 0.7, 0.512944, 0.0]], rtol=1e-5)
    np.testing.assert_array_equal(kept, [[first, third, second, [0] * 4]])
    np.testing.assert_array_equal(classes, [[1, 1, 1, 0]])
    assert classes.dtype == tf.int32 and count.dtype == tf.int32
    # The score that has fallen is held against the threshold, too.
    np.testing.assert_array_equal(per_class_nms(boxes, scores, 0.52, 0.3, 4, 0.5)[3], [2])


def test_soft_nms_of_the_same_box_and_of_other_classes():
    # An IoU of 1 takes exp(-1 / 0.5) = 0.135335; a box of another class takes nothing.
    box = [3.0, 4, 20, 50]
    boxes, scores = as_float([[[box, box], [box, box]]]), as_float([[[0.9, 0.0], [0.8, 0.7]]])
    _, kept_scores, classes, _ = per_class_nms(boxes, scores, 0.05, 0.3, 4, 0.5)
    np.testing.assert_allclose(kept_scores, [[0.9, 0.7, 0.8 * 0.135335, 0]], rtol=1e-5)
    np.testing.assert_array_equal(classes, [[1, 2, 1, 0]])


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_soft_nms_equals_the_loop_of_the_paper(seed, sigma):
    num_boxes, num_classes, threshold, most = 40, 3, 0.02, 50
    random = np.random.default_rng(seed)
    boxes = [
        [random_boxes(num_boxes, 100 * seed + 10 * image + one) for one in range(num_classes)]
        for image in range(2)
    ]
    boxes = np.stack(boxes).transpose(0, 2, 1, 3).astype(np.float32)  # [2, K, N, 4]
    scores = random.uniform(0, 1, (2, num_boxes, num_classes)).astype(np.float32)
    boxes[1, 25:], scores[1, 25:] = 0.0, 0.0  # padding
    found = per_class_nms(as_float(boxes), as_float(scores), threshold, 0.3, most, sigma)
    for image in range(2):
        kept = [
            (-score, box, one + 1)
            for one in range(num_classes)
            for box, score in oracles.soft_nms(
                boxes[image, :, one], scores[image, :, one], sigma, threshold
            )
        ]
        expected = sorted(kept)[:most]
        assert len(kept) > 30  # nearly all stay, with less
        found_boxes, found_scores, classes, count = (value[image].numpy() for value in found)
        assert count == len(expected)
        assert classes[:count].tolist() == [one for _, _, one in expected]
        np.testing.assert_allclose(found_scores[:count], [-one[0] for one in expected], rtol=1e-5)
        np.testing.assert_array_equal(
            found_boxes[:count], [boxes[image, box, one - 1] for _, box, one in expected]
        )
        assert not any(value[image, count:].numpy().any() for value in found[:3])


@pytest.mark.parametrize("most", [6, 3])
def test_of_equal_scores_after_soft_nms_the_earlier_box_counts_and_then_the_lower_class(most):
    # In both classes the last box is the best, and takes as much from each of its neighbours,
    # which only touch.
    before, best, after = THREE_IN_A_ROW
    boxes = as_float([[[before] * 2, [after] * 2, [best] * 2]])
    scores = as_float([[[0.8, 0.8], [0.8, 0.8], [1.0, 1.0]]])
    expected = [(best, 1), (best, 2), (before, 1), (before, 2), (after, 1), (after, 2)][:most]
    for found_boxes, _, classes, _ in (
        per_class_nms(boxes, scores, 0.05, 0.3, most, 0.5),
        of_twin(per_class_nms, boxes, scores, 0.05, 0.3, most, 0.5),
    ):
        np.testing.assert_array_equal(classes[0], [one for _, one in expected])
        np.testing.assert_array_equal(found_boxes[0], [box for box, _ in expected])


def operators_of(sigma):
    traced = tf.function(lambda boxes, scores: per_class_nms(boxes, scores, 0.1, 0.3, 5, sigma))
    boxes, scores = tf.TensorSpec([2, 9, 3, 4], tf.float32), tf.TensorSpec([2, 9, 3], tf.float32)
    graph = traced.get_concrete_function(boxes, scores).graph.as_graph_def()
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    return {node.op: node for node in nodes}


def test_without_a_sigma_it_is_hard_nms_in_one_operator():
    hard, soft = operators_of(0.0), operators_of(0.5)
    assert "CombinedNonMaxSuppression" in hard and "While" not in str(hard.keys())
    assert "CombinedNonMaxSuppression" not in soft and "NonMaxSuppressionV5" in soft
    # In the loop nothing goes to a GPU and back.
    for name in ("NonMaxSuppressionV5", "ScatterNd"):
        assert soft[name].device.endswith("CPU:0")


# === The twins for TFLite ===


def draw_boxes(seed, count, num_classes=None):
    """Draw boxes that often overlap, higher than wide, and scores that never tie."""
    random = np.random.default_rng(seed)
    shape = (count,) if num_classes is None else (count, num_classes)
    start = random.uniform(0, 30, (*shape, 2))
    boxes = np.concatenate([start, start + random.uniform((8, 4), (40, 20), (*shape, 2))], axis=-1)
    scores = random.permutation(int(np.prod(shape))).reshape(shape) / np.prod(shape)
    return as_float(boxes[None]), as_float(scores[None])


@given(
    seed=st.integers(0, 10**6),
    num_boxes=st.integers(1, 60),
    num_classes=st.integers(1, 3),
    most=st.integers(1, 40),
)
@settings(max_examples=60)
def test_of_equal_scores_the_earlier_box_counts_and_of_one_box_the_lower_class(
    seed, num_boxes, num_classes, most
):
    random = np.random.default_rng(seed)
    boxes = np.stack([random_boxes(num_boxes, seed + one) for one in range(num_classes)], axis=1)
    scores = random.choice([0.0, 0.3, 0.99999994, 1.0], (num_boxes, num_classes))
    # All pairs of box and class, the best first; `sorted` keeps the order of equal ones.
    pairs = [(box, one) for box in range(num_boxes) for one in range(num_classes)]
    kept = []
    for box, one in sorted(pairs, key=lambda pair: -scores[pair]):
        rivals = [boxes[other, one] for other, of_class in kept if of_class == one]
        if scores[box, one] > 0.1 and all(
            oracles.iou(boxes[box, one], rival) <= 0.4 for rival in rivals
        ):
            kept.append((box, one))
    expected = kept[:most]
    found = per_class_nms(as_float(boxes[None]), as_float(scores[None]), 0.1, 0.4, most)
    found_boxes, found_scores, classes, count = (value[0].numpy() for value in found)
    assert count == len(expected)
    for row, (box, one) in enumerate(expected):
        np.testing.assert_array_equal(found_boxes[row], np.float32(boxes[box, one]))
        assert (found_scores[row], classes[row]) == (np.float32(scores[box, one]), one + 1)
    assert not found_scores[count:].any() and not classes[count:].any()
    assert_twins_agree(per_class_nms, as_float(boxes[None]), as_float(scores[None]), 0.1, 0.4, most)


def test_the_best_of_maps_go_by_probability_and_equal_ones_by_map():
    # The sigmoids of 20 and 30 are both 1 in float32, that of 3 is less; -200's is 0, and still
    # more than padding.
    maps = [as_float([[[0, 0, 1, 1], [0, 0, 2, 2]]]), as_float([[[0, 0, 3, 3], [0, 0, 4, 4]]])]
    scores = [as_float([[20.0, -200.0]]), as_float([[30.0, 3.0]])]
    best = best_of_maps(maps, scores, 4)
    np.testing.assert_array_equal(best[0, :, 2], [1, 3, 4, 2])
    padded = best_of_maps(maps, [as_float([[DROPPED, DROPPED]]), as_float([[-200, DROPPED]])], 1)
    np.testing.assert_array_equal(padded[0, :, 2], [3])


def of_twin(function, *arguments):
    with builtin_operators_only():
        return function(*arguments)


def assert_twins_agree(function, *arguments):
    expected, found = function(*arguments), of_twin(function, *arguments)
    for value, wanted in zip(found, expected, strict=True):
        assert value.dtype == wanted.dtype and value.shape == wanted.shape
        np.testing.assert_array_equal(value, wanted)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=40)
def test_proposals_of_the_twin_are_the_same(seed, count, pre_nms_top_k, post_nms_top_k):
    boxes, scores = draw_boxes(seed, count)
    dropped = tf.where(scores > 0.8, DROPPED, scores)
    assert_twins_agree(top_k_nms, boxes, dropped, pre_nms_top_k, post_nms_top_k, 0.4)


@given(
    st.integers(0, 10**6),
    st.integers(1, 30),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.05, 0.6, 1.0]),
    st.integers(1, 60),
    st.sampled_from([0.0, 0.1, 0.5]),
)
@settings(max_examples=60)
def test_detections_of_the_twin_are_the_same(seed, count, num_classes, threshold, most, sigma):
    boxes, scores = draw_boxes(seed, count, num_classes)
    assert_twins_agree(per_class_nms, boxes, scores, threshold, 0.3, most, sigma)


def test_the_twin_of_padded_proposals_by_hand():
    # All boxes are dropped: the twin pads with empty boxes too.
    boxes, _ = draw_boxes(0, 5)
    with builtin_operators_only():
        kept, scores = top_k_nms(boxes, tf.fill([1, 5], DROPPED), 9, 3, 0.7)
    np.testing.assert_array_equal(kept, np.zeros((1, 3, 4)))
    np.testing.assert_array_equal(scores, np.full((1, 3), np.float32(DROPPED)))
