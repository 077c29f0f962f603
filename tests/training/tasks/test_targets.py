"""Targets of anchors and RoIs: who is an object, what is drawn, and what it should answer."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tf_frcnn.config import TrainConfig
from tf_frcnn.ops.anchors import cell_anchors, grid_anchors
from tf_frcnn.training.tasks.box import sample_rois
from tf_frcnn.training.tasks.rpn import assign_anchor_targets

STD = (0.1, 0.1, 0.2, 0.2)
UNIT = (1.0, 1.0, 1.0, 1.0)
EMPTY = [0.0, 0, 0, 0]


def anchor_targets(anchors, gt_boxes, size=(100, 100), seed=0, ignored=None, **options):
    """Draw the mini-batch of one image; 8 anchors by default."""
    config = TrainConfig(**{"rpn_batch_size": 8, **options})
    targets = assign_anchor_targets(
        tf.constant(anchors, tf.float32),
        tf.constant([size], tf.float32),
        tf.constant([gt_boxes], tf.float32),
        tf.constant([[0, seed]]),
        config,
        None if ignored is None else tf.constant([ignored], tf.float32),
    )
    return {name: value.numpy()[0] for name, value in targets._asdict().items()}


def drawn(targets, positive):
    """Indices of the anchors that were drawn as objects, or as background."""
    chosen = (targets["weights"] > 0) & (targets["positives"] == float(positive))
    return sorted(targets["indices"][chosen].tolist())


def test_labels_of_anchors():
    # Object 20 x 40. IoU: 1 of anchor 0; 600 / 800 = 0.75 of anchor 1 (15 rows of 20);
    # 400 / 800 = 0.5 of anchor 2, ignored; 200 / 800 = 0.25 of anchor 3; 0 of anchor 4.
    anchors = [
        [10, 10, 30, 50],
        [15, 10, 30, 50],
        [20, 10, 30, 50],
        [25, 10, 30, 50],
        [60, 60, 80, 99],
    ]
    targets = anchor_targets(anchors, [[10, 10, 30, 50]])
    assert drawn(targets, True) == [0, 1] and drawn(targets, False) == [3, 4]
    # 4 of 8 samples are padding.
    np.testing.assert_array_equal(targets["positives"][:4], [1, 1, 0, 0])
    np.testing.assert_array_equal(targets["weights"], [1] * 4 + [0] * 4)


def test_offsets_of_anchors_worked_by_hand():
    # Anchor 15..30 x 10..50: centre (22.5, 30), 15 x 40; object: centre (20, 30), 20 x 40.
    # dy = -2.5 / 15, dx = 0, log dh = log(20 / 15), log dw = 0. Background has zeros.
    targets = anchor_targets([[15, 10, 30, 50], [60, 60, 80, 99]], [[10, 10, 30, 50]])
    expected = [-2.5 / 15, 0, math.log(20 / 15), 0]
    np.testing.assert_allclose(targets["deltas"][0], expected, atol=1e-6)
    np.testing.assert_array_equal(targets["deltas"][1:], np.zeros((7, 4)))


def test_the_best_anchor_of_each_object_counts_however_low_its_iou():
    # Object A: 200 / 800 = 0.25 with anchor 0 and 100 / 800 with anchor 1. Object B: anchors 2
    # and 3 tie at 200 / 800 (upper and lower 10 rows of its 40).
    gt_boxes = [[10, 10, 30, 50], [50, 10, 90, 30], EMPTY]
    anchors = [[25, 10, 30, 50], [27.5, 10, 30, 50], [50, 10, 60, 30], [80, 10, 90, 30]]
    targets = anchor_targets(anchors, gt_boxes)
    assert drawn(targets, True) == [0, 2, 3] and drawn(targets, False) == [1]


@pytest.mark.parametrize(
    ("ignored", "objects", "background"), [(True, [0], [1]), (False, [0, 2], [1, 3])]
)
def test_anchors_across_the_border(ignored, objects, background):
    # An image of 60 x 80. Anchor 2 is anchor 0 and a pixel beyond the upper border, anchor 3 ends
    # beyond the right one, anchor 4 has its centre in the padding.
    anchors = [
        [0, 0, 20, 40],
        [40, 50, 60, 80],
        [-1, 0, 20, 40],
        [40, 50, 60, 82],
        [50, 70, 74, 94],
    ]
    targets = anchor_targets(
        anchors, [[0, 0, 20, 40]], size=(60, 80), ignore_border_anchors=ignored
    )
    assert drawn(targets, True) == objects and drawn(targets, False) == background


def test_anchors_in_the_padding_are_background_where_torchvision_is_followed():
    # An image of 60 x 80 in a batch of 80 x 96. Anchor 1 has its centre (62, 82) in the padding,
    # anchor 2 lies in it.
    anchors = [[0, 0, 20, 40], [50, 70, 74, 94], [62, 0, 80, 40]]
    options = {"size": (60, 80), "ignore_border_anchors": False}
    targets = anchor_targets(anchors, [[0, 0, 20, 40]], **options)
    assert drawn(targets, True) == [0] and drawn(targets, False) == []
    targets = anchor_targets(anchors, [[0, 0, 20, 40]], ignore_padding_anchors=False, **options)
    assert drawn(targets, True) == [0] and drawn(targets, False) == [1, 2]


def test_an_anchor_across_the_border_is_not_the_best_of_its_object():
    # Anchor 1 has IoU 1 but leaves the image; anchor 0, with 0.5, is the best of those inside.
    anchors = [[30, 40, 40, 80], [30, 40, 50, 80]]
    targets = anchor_targets(anchors, [[30, 40, 50, 80]], size=(45, 100))
    assert drawn(targets, True) == [0] and drawn(targets, False) == []


def test_an_image_without_objects_has_background_anchors_only():
    anchors = grid_anchors(
        cell_anchors([16.0], [0.5, 1.0, 2.0]), tf.constant([6, 6]), tf.constant([16.0, 16.0])
    )
    targets = anchor_targets(anchors, [EMPTY], size=(96, 96), rpn_batch_size=32)
    assert drawn(targets, True) == [] and len(drawn(targets, False)) == 32
    assert not targets["positives"].any() and not targets["deltas"].any()


def test_images_of_a_batch_keep_to_their_own_boxes_and_sizes():
    anchors = tf.constant([[0.0, 0, 20, 40], [40, 50, 60, 90]])
    targets = assign_anchor_targets(
        anchors,
        tf.constant([[60.0, 90.0], [30.0, 45.0]]),
        tf.constant([[[40.0, 50, 60, 90]], [[0, 0, 20, 40]]]),
        tf.constant([[0, 0], [0, 1]]),
        TrainConfig(rpn_batch_size=2),
    )
    np.testing.assert_array_equal(targets.indices, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(targets.positives, [[1, 0], [1, 0]])
    np.testing.assert_array_equal(targets.weights, [[1, 1], [1, 0]])  # the second lies outside


def roi_targets(proposals, gt_boxes, gt_classes, std=STD, seed=0, ignored=None, **options):
    """Draw the mini-batch of one image; 8 RoIs, all of which may be objects, by default."""
    config = TrainConfig(**{"roi_batch_size": 8, "roi_positive_fraction": 1.0, **options})
    targets = sample_rois(
        tf.constant([proposals], tf.float32),
        tf.constant([gt_boxes], tf.float32),
        tf.constant([gt_classes]),
        tf.constant([[0, seed]]),
        std,
        config,
        None if ignored is None else tf.constant([ignored], tf.float32),
    )
    return {name: value.numpy()[0] for name, value in targets._asdict().items()}


def row_of(targets, box):
    """The row of the mini-batch that holds a box, which must be there once."""
    (row,) = np.flatnonzero((targets["rois"] == np.array(box, np.float32)).all(axis=-1))
    return row


def test_classes_and_offsets_of_rois_worked_by_hand():
    # RoI: centre (20, 30), 20 x 40; dog: centre (22.5, 30), 25 x 40. IoU 800 / 1000.
    # dy = 2.5 / 20 / 0.1 = 1.25, dx = 0, dh = log(25 / 20) / 0.2 = 1.115718, dw = 0.
    roi, dog, cat = [10, 10, 30, 50], [10, 10, 35, 50], [60, 60, 90, 70]
    targets = roi_targets([roi, EMPTY], [cat, dog, EMPTY], [1, 2, 0])
    row = row_of(targets, roi)
    assert targets["classes"][row] == 2 and targets["positives"][row] == 1
    np.testing.assert_allclose(targets["deltas"][row], [1.25, 0, 1.115718, 0], atol=1e-5)
    np.testing.assert_allclose(
        targets["deltas"][row], oracles.encode(dog, roi, STD), rtol=1e-5, atol=1e-6
    )


def test_ground_truth_is_appended_to_the_proposals():
    cat, dog = [60, 60, 90, 70], [10, 10, 35, 50]
    targets = roi_targets([EMPTY], [cat, dog, EMPTY], [1, 2, 0])
    for box, class_id in ((cat, 1), (dog, 2)):
        row = row_of(targets, box)
        assert targets["classes"][row] == class_id and not targets["deltas"][row].any()
    # Neither the empty proposal nor the padding of the ground truth is ever drawn.
    np.testing.assert_array_equal(targets["weights"], [1, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(targets["rois"][2:], np.zeros((6, 4)))


def test_an_iou_of_a_half_is_an_object():
    # 10 of 20 rows: 400 / 800 = 0.5; with 9 rows 360 / 800 = 0.45.
    box, half, less = [10, 10, 30, 50], [10, 10, 20, 50], [10, 10, 19, 50]
    targets = roi_targets([half, less], [box], [3])
    assert targets["classes"][row_of(targets, half)] == 3
    assert targets["classes"][row_of(targets, less)] == 0
    assert targets["weights"][row_of(targets, less)] == 1


@pytest.mark.parametrize(("lower_bound", "fixed"), [(0.1, True), (0.0, False)])
def test_background_is_drawn_from_the_lower_bound_up_first(lower_bound, fixed):
    # Six proposals with IoU 0.2 (4 of 20 rows), thirty with 0: five are to be drawn.
    box = [10, 10, 30, 50]
    near = [[10 + i, 10, 14 + i, 50] for i in range(6)]
    far = [[40 + i, 10, 50 + i, 50] for i in range(30)]
    numbers = []
    for seed in range(5):
        targets = roi_targets(
            far[:15] + near + far[15:],
            [box],
            [1],
            roi_background_iou=lower_bound,
            roi_batch_size=6,
            roi_positive_fraction=0.2,
            seed=seed,
        )
        background = targets["rois"][targets["classes"] == 0]
        assert len(background) == 5
        numbers.append(sum(roi.tolist() in near for roi in background))
    assert (set(numbers) == {5}) == fixed


def test_a_short_background_is_filled_from_below_the_bound():
    box, near = [10, 10, 30, 50], [10, 10, 14, 50]
    far = [[40 + i, 10, 50 + i, 50] for i in range(9)]
    targets = roi_targets([*far, near], [box], [1], roi_background_iou=0.1)
    assert targets["weights"].all() and targets["positives"].sum() == 1
    assert targets["classes"][row_of(targets, near)] == 0  # certain to be drawn


def test_an_image_without_objects_gives_128_background_rois():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (300, 2))
    proposals = np.concatenate([corner, corner + rng.uniform(16, 40, (300, 2))], axis=1)
    for lower_bound in (0.0, 0.1):
        targets = roi_targets(
            proposals,
            [EMPTY],
            [0],
            roi_batch_size=128,
            roi_positive_fraction=0.25,
            roi_background_iou=lower_bound,
        )
        assert targets["weights"].sum() == 128 and not targets["classes"].any()
        assert not targets["positives"].any() and not targets["deltas"].any()
        assert (targets["rois"][:, 2:] > targets["rois"][:, :2]).all()


def test_anchors_and_rois_are_drawn_by_different_numbers():
    # The same 60 background boxes as anchors and as proposals, the same seed: other draws.
    boxes = [[0.0, i, 10, i + 20] for i in range(60)]
    anchors = {i for i in anchor_targets(boxes, [EMPTY], rpn_batch_size=30)["indices"].tolist()}
    rois = roi_targets(boxes, [EMPTY], [0], roi_batch_size=30)["rois"]
    assert anchors != {int(roi[1]) for roi in rois}


def test_draws_repeat_with_the_seed_and_change_with_it():
    boxes = [[0.0, i, 10, i + 20] for i in range(60)]
    first, again, other = (
        roi_targets(boxes, [EMPTY], [0], seed=seed)["rois"].tolist() for seed in (5, 5, 6)
    )
    assert first == again != other


def test_targets_give_no_gradient_to_the_proposals():
    proposals = tf.constant([[[10.0, 10, 30, 50], [60, 10, 80, 50]]])
    with tf.GradientTape() as tape:
        tape.watch(proposals)
        targets = sample_rois(
            proposals,
            tf.constant([[[10.0, 10, 35, 50]]]),
            tf.constant([[1]]),
            tf.constant([[0, 0]]),
            UNIT,
            TrainConfig(roi_batch_size=4),
        )
        total = tf.reduce_sum(targets.rois) + tf.reduce_sum(targets.deltas)
    assert tape.gradient(total, proposals) is None


# === Background inside of crowds and difficult boxes ===

CROWD = [50.0, 0, 100, 100]


def test_background_anchors_inside_of_a_crowd_are_ignored():
    # The crowd begins at row 50. Of 20 rows 20, 10, 9 and none are in it: shares 1, 0.5, 0.45, 0.
    # The last anchor is an object of its own, in the crowd.
    anchors = [
        [60, 10, 80, 50],
        [40, 10, 60, 50],
        [39, 10, 59, 50],
        [10, 10, 30, 50],
        [60, 60, 80, 99],
    ]
    objects = [[60, 60, 80, 99], EMPTY]
    for ignored, share, background in (
        (None, 0.0, [0, 1, 2, 3]),
        ([CROWD, EMPTY], 0.5, [2, 3]),
        ([CROWD, EMPTY], 0.6, [1, 2, 3]),
        ([CROWD, EMPTY], 0.4, [3]),
        ([EMPTY], 0.5, [0, 1, 2, 3]),
    ):
        targets = anchor_targets(anchors, objects, ignored=ignored, ignore_crowd_overlap=share)
        assert drawn(targets, True) == [4] and drawn(targets, False) == background


def test_anchors_of_several_crowds_are_judged_by_one_of_them():
    # Two crowds that share half of the anchor, 10 of 20 rows each: 0.5, not 1.
    anchors, crowds = [[40, 10, 60, 50]], [[50, 0, 100, 100], [0, 0, 50, 100]]
    for share, background in ((0.5, []), (0.51, [0])):
        targets = anchor_targets(anchors, [EMPTY], ignored=crowds, ignore_crowd_overlap=share)
        assert drawn(targets, False) == background


def test_a_low_best_anchor_of_an_object_in_a_crowd_stays_its_own():
    # 400 / 2400 is all that any anchor reaches; it would be background else, and is in the crowd.
    targets = anchor_targets(
        [[60, 10, 80, 30]],
        [[60, 10, 100, 70]],
        ignored=[CROWD],
        ignore_crowd_overlap=0.5,
    )
    assert drawn(targets, True) == [0] and drawn(targets, False) == []


def in_crowd(boxes):
    """Tell which boxes have half of their own area or more in the crowd, with loops."""
    told = []
    for ymin, xmin, ymax, xmax in np.asarray(boxes, float):
        rows = max(min(ymax, CROWD[2]) - max(ymin, CROWD[0]), 0.0)
        columns = max(min(xmax, CROWD[3]) - max(xmin, CROWD[1]), 0.0)
        told.append(rows * columns >= 0.5 * (ymax - ymin) * (xmax - xmin))
    return np.array(told)


@pytest.mark.parametrize("preferred", [0.0, 0.1])
def test_background_rois_are_never_drawn_from_inside_of_a_crowd(preferred):
    # Two objects, one of them in the crowd, and sixty proposals anywhere, some near to objects.
    random = np.random.default_rng(1)
    corner = random.uniform(0, 80, (60, 2))
    proposals = np.concatenate([corner, corner + random.uniform(8, 20, (60, 2))], axis=1)
    proposals = np.float32(proposals)
    objects, classes = [[60, 60, 80, 99], [10, 10, 30, 50], EMPTY], [1, 2, 0]
    options = {"roi_background_iou": preferred, "roi_batch_size": 16}
    seen, unguarded = 0, 0
    for seed in range(20):
        targets = roi_targets(
            proposals,
            objects,
            classes,
            seed=seed,
            ignored=[CROWD, EMPTY],
            ignore_crowd_overlap=0.5,
            **options,
        )
        is_drawn = targets["weights"] > 0
        background = targets["rois"][is_drawn & (targets["classes"] == 0)]
        assert len(background) and not in_crowd(background).any()
        # The object in the crowd is among what may be drawn as before.
        assert targets["classes"][row_of(targets, objects[0])] == 1
        seen += len(background)
        plain = roi_targets(proposals, objects, classes, seed=seed, **options)
        unguarded += in_crowd(plain["rois"][plain["classes"] == 0]).sum()
    assert seen > 100 < unguarded


def test_where_all_is_in_the_crowd_nothing_is_drawn():
    proposals = [[60.0, i, 80, i + 20] for i in range(30)]
    targets = roi_targets(proposals, [EMPTY], [0], ignored=[CROWD], ignore_crowd_overlap=0.5)
    assert not targets["weights"].any() and not targets["rois"].any()


def test_without_such_boxes_the_same_is_drawn():
    boxes = [[0.0, i, 10, i + 20] for i in range(60)]
    options = {"ignored": [EMPTY, EMPTY], "ignore_crowd_overlap": 0.5}
    for seed in range(3):
        for found, expected in (
            (
                anchor_targets(boxes, [boxes[5]], rpn_batch_size=30, seed=seed, **options),
                anchor_targets(boxes, [boxes[5]], rpn_batch_size=30, seed=seed),
            ),
            (
                roi_targets(boxes, [boxes[5]], [1], roi_batch_size=30, seed=seed, **options),
                roi_targets(boxes, [boxes[5]], [1], roi_batch_size=30, seed=seed),
            ),
        ):
            for name, value in expected.items():
                np.testing.assert_array_equal(found[name], value, err_msg=name)
