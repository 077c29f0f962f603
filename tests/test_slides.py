"""The deck, executed: each worked example of the slides with its arithmetic.

Sections are those of the restated deck. It writes x before y, tensors store y before x: `yxyx` and
`dy, dx, log dh, log dw`. All of it uses sigma 1 and std 1, as the deck does.
"""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.config import ModelConfig, TrainConfig
from tf_frcnn.layers.heads.box_head import BoxHead
from tf_frcnn.layers.heads.rpn import RPNHead
from tf_frcnn.layers.roi_pooling import RoIPooling
from tf_frcnn.model import FasterRCNN
from tf_frcnn.ops.anchors import cell_anchors, grid_anchors
from tf_frcnn.ops.boxes import decode_deltas, encode_deltas
from tf_frcnn.ops.matching import match_boxes
from tf_frcnn.presets import voc07
from tf_frcnn.training.losses import (
    box_loss,
    classification_loss,
    objectness_loss,
    samples_an_image,
)
from tf_frcnn.training.tasks.box import sample_rois
from tf_frcnn.training.tasks.rpn import assign_anchor_targets

CAT, DOG, DUCK = 1, 2, 3
PAPER_SIZES, PAPER_RATIOS = (128.0, 256.0, 512.0), (0.5, 1.0, 2.0)


@pytest.fixture(scope="module")
def vgg16():
    """Build the paper's model with cat, dog and duck: 547 MB, so once."""
    detector = FasterRCNN(ModelConfig(), num_classes=3)
    yield detector
    keras.backend.clear_session()


def as_float(array):
    return tf.constant(array, tf.float32)


def as_stored(d_x, d_y, d_w, d_h):
    """Turn the deck's numbers into what the network regresses: (dy, dx, log dh, log dw)."""
    return [d_y, d_x, math.log(d_h), math.log(d_w)]


def as_logits(probabilities):
    """Logits whose softmax is the given distribution; a probability of 0 becomes 1e-30."""
    return as_float(np.log(np.maximum(probabilities, 1e-30)))


# Section 3: anchors and box coding.


def test_box_coding():
    # Anchor (x, y, w, h) = (300, 300, 100, 100), d = (-2.0, -1.0, 0.5, 1.0):
    # x = 300 - 2.0 * 100 = 100, y = 300 - 1.0 * 100 = 200, w = 0.5 * 100 = 50, h = 1.0 * 100 = 100.
    # Corners: y 200 -+ 50, x 100 -+ 25; the anchor's: 300 -+ 50 both ways.
    anchor, target = as_float([[250, 250, 350, 350]]), as_float([[150, 75, 250, 125]])
    deltas = as_float([as_stored(d_x=-2.0, d_y=-1.0, d_w=0.5, d_h=1.0)])
    np.testing.assert_allclose(decode_deltas(deltas, anchor), target, rtol=1e-5)
    np.testing.assert_allclose(encode_deltas(target, anchor), deltas, atol=1e-6)


def test_nine_anchors_per_cell():
    # Areas 128^2, 256^2, 512^2, each as 1:1, 2:1 and 1:2.
    anchors = cell_anchors(PAPER_SIZES, PAPER_RATIOS)
    height, width = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    np.testing.assert_allclose(np.sqrt(height * width), PAPER_SIZES * 3, rtol=1e-5)
    np.testing.assert_allclose(height / width, np.repeat(PAPER_RATIOS, 3), rtol=1e-5)


# Section 4: RPN.


def test_rpn_channels_are_pairs_of_object_and_background():
    # With zero kernels the outputs are the biases: channel 2a + j is entry j of anchor a's pair,
    # channel 4a + j number j of anchor a's offsets, in each of the 2 x 3 cells.
    # What goes on is the difference of a pair, whose sigmoid is the softmax's share of the object.
    head = RPNHead(8, num_anchors=9, paired=True)
    head.build([(None, None, None, 4)])
    pairs = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    for layer, biases in ((head.objectness, pairs.reshape(18)), (head.deltas, np.arange(36.0))):
        layer.kernel.assign(tf.zeros_like(layer.kernel))
        layer.bias.assign(biases)
    (logits,), (deltas,) = head((tf.zeros([1, 2, 3, 4]),))
    assert logits.shape == (1, 2 * 3 * 9) and deltas.shape == (1, 2 * 3 * 9, 4)
    p_obj = tf.nn.softmax(pairs)[:, 0]
    for cell in range(6):
        rows = slice(9 * cell, 9 * cell + 9)
        np.testing.assert_allclose(tf.sigmoid(logits[0, rows]), p_obj, rtol=1e-6)
        np.testing.assert_array_equal(deltas[0, rows], np.arange(36).reshape(9, 4))


def test_rpn_intermediate_layer_pads_by_one_pixel_and_cuts_below_zero():
    # Kernels of ones on a map of ones count the cells they meet: 4 in a corner, 6 at a border,
    # 9 inside; minus a bias of 5, cut at zero.
    head = RPNHead(1, num_anchors=1, paired=True)
    head.build([(None, None, None, 1)])
    head.conv.kernel.assign(tf.ones_like(head.conv.kernel))
    head.conv.bias.assign([-5.0])
    hidden = head.conv(tf.ones([1, 3, 4, 1]))[0, ..., 0]
    np.testing.assert_allclose(hidden, [[0, 1, 1, 0], [1, 4, 4, 1], [0, 1, 1, 0]])


# Section 5: RoI pooling.


def test_roi_pooling_samples_14_by_14_and_pools_to_7_by_7():
    # A map that counts its cells, 20 x 30 of them, and a RoI of 14 x 14 cells from cell (2, 5): the
    # samples are the cells themselves, and the maximum of 2 x 2 is the lower right one:
    # cell (2 + 2i + 1, 5 + 2j + 1).
    cells = tf.reshape(tf.range(600, dtype=tf.float32), [1, 20, 30, 1])
    roi = [[[2 * 16, 5 * 16, 16 * 16, 19 * 16]]]
    pooled = RoIPooling("crop_and_resize", [16])(((cells,), as_float(roi)))
    assert pooled.shape == (1, 1, 7, 7, 1)
    expected = [[(3 + 2 * i) * 30 + 6 + 2 * j for j in range(7)] for i in range(7)]
    np.testing.assert_allclose(pooled[0, 0, ..., 0], expected, rtol=1e-5)


# Section 6: the detection network, and the shapes and sizes of the whole model.


def test_shape_table(vgg16):
    rpn, box = vgg16.rpn_head, vgg16.box_head
    kernels = [
        (rpn.conv, (3, 3, 512, 512)),
        (rpn.objectness, (1, 1, 512, 18)),  # 9 * 2
        (rpn.deltas, (1, 1, 512, 36)),  # 9 * 4
        (box.fc1, (25088, 4096)),  # 7 * 7 * 512
        (box.fc2, (4096, 4096)),
        (box.deltas, (4096, 16)),  # (3 + 1) * 4
        (box.classes, (4096, 4)),  # 3 + 1
    ]
    for layer, shape in kernels:
        assert tuple(layer.kernel.shape) == shape
        assert tuple(layer.bias.shape) == shape[-1:]


def test_backbone_is_vgg16_through_conv5_3(vgg16):
    convolutions = [layer for layer in vgg16.backbone.layers if "conv" in layer.name]
    assert [layer.filters for layer in convolutions] == (
        [64] * 2 + [128] * 2 + [256] * 3 + [512] * 3 + [512] * 3
    )
    assert convolutions[-1].name == "block5_conv3"
    # Stride 16: 32 x 48 pixels give 2 x 3 cells of 512 channels.
    assert vgg16.backbone(tf.zeros([1, 32, 48, 3])).shape == (1, 2, 3, 512)


def test_parameters_of_the_whole_model(vgg16):
    # Backbone: 9 (3*64 + 64*64 + 64*128 + 128*128 + 128*256 + 2*256*256 + 256*512 + 5*512*512)
    #        + biases 2*64 + 2*128 + 3*256 + 6*512                          =  14,714,688
    # RPN:   9*512*512 + 512 + 512*18 + 18 + 512*36 + 36                    =   2,387,510
    # FC:    25088*4096 + 4096 + 4096*4096 + 4096                           = 119,545,856
    # Branches, N = 3:  4097 * (4 + 16)                                     =      81,940
    assert vgg16.backbone.count_params() == 14_714_688
    assert vgg16.rpn_head.count_params() == 2_387_510
    assert vgg16.box_head.count_params() == 119_545_856 + 81_940
    assert vgg16.count_params() == 136_729_994
    # N = 20: the branches alone grow, to 4097 * (21 + 84) = 430,185.
    branches = BoxHead(4096, num_classes=20)
    for layer in (branches.classes, branches.deltas):
        layer.build((None, 4096))
    grown = branches.classes.count_params() + branches.deltas.count_params()
    assert grown == 430_185
    assert vgg16.count_params() - 81_940 + grown == 137_078_239


def test_architecture_does_not_depend_on_the_preset(vgg16):
    defaults = ModelConfig()
    for name in ("architecture", "anchor_sizes", "aspect_ratios"):
        assert getattr(voc07().model, name) == getattr(defaults, name)
    assert defaults.architecture == "vgg16" and defaults.anchor_sizes == PAPER_SIZES
    assert vgg16.config == defaults


def test_offsets_of_class_k_are_y_4k_to_4k_plus_4():
    # With zero kernels the outputs are the biases: y_0..y_15, z_0..z_3 in the order bg, cat, dog,
    # duck.
    head = BoxHead(8, num_classes=3)
    head.build((None, None, 7, 7, 2))
    for layer, channels in ((head.classes, 4), (head.deltas, 16)):
        layer.kernel.assign(tf.zeros_like(layer.kernel))
        layer.bias.assign(tf.range(channels, dtype=tf.float32))
    z, y = head(tf.zeros([1, 2, 7, 7, 2]))
    np.testing.assert_array_equal(z[0, 1], [0, 1, 2, 3])
    for k in (0, CAT, DOG, DUCK):
        np.testing.assert_array_equal(y[0, 1, k], np.arange(16)[4 * k : 4 * k + 4])


# Section 7: RPN loss.


def test_rpn_mini_batch_is_128_objects_and_128_background():
    # An image of 608 x 1008 pixels; the objects are all anchors of 128 x 128 in the left part.
    anchors = grid_anchors(
        cell_anchors(PAPER_SIZES, PAPER_RATIOS), tf.constant([38, 63]), tf.constant([16.0, 16.0])
    )
    corners = [(y, x) for y in range(8, 450, 16) for x in range(8, 200, 32)]  # 28 * 6 = 168
    objects = [[y, x, y + 128, x + 128] for y, x in corners]
    targets = assign_anchor_targets(
        anchors,
        as_float([[608, 1008]]),
        as_float([objects]),
        tf.constant([[0, 0]]),
        TrainConfig(),
    )
    assert targets.weights.shape == (1, 256) and np.all(targets.weights == 1)
    assert np.sum(targets.positives) == 128


def test_rpn_loss():
    targets = as_float([[as_stored(0.125, 0.125, 1.0, 1.1), as_stored(0.25, -0.25, 2.0, 2.2)]])
    deltas = as_float([[as_stored(0.4, 0.2, 1.2, 1.2), as_stored(0.2, 0.35, 2.0, 2.0)]])
    positives, weights = as_float([[1, 0]]), as_float([[1, 1]])
    samples = samples_an_image(weights, "images")
    num_samples = 2  # the deck sums, the functions divide by the mini-batch

    # Anchor 1 alone is an object. Differences 0.4 - 0.125 = 0.275, 0.2 - 0.125 = 0.075,
    # log 1.2 - log 1.0 = 0.182322, log 1.2 - log 1.1 = 0.087011:
    # 0.5 * (0.075625 + 0.005625 + 0.033241 + 0.007571) = 0.061031.
    regression = num_samples * box_loss(deltas, targets, positives, samples, sigma=1.0)
    assert float(regression) == pytest.approx(0.061031, abs=1e-6)

    # p(1) = (0.6, 0.4), p^(1) = (1, 0); p(2) = (0.2, 0.8), p^(2) = (0, 1):
    # -log 0.6 - log 0.8 = 0.510826 + 0.223144 = 0.733969 (rounded once, at the end).
    pairs = as_logits([[[0.6, 0.4], [0.2, 0.8]]])
    classification = num_samples * classification_loss(
        pairs, tf.constant([[0, 1]]), weights, samples
    )
    assert float(classification) == pytest.approx(0.733969, abs=1e-6)
    # The RPN's own loss takes the difference of the pair.
    logits = pairs[..., 0] - pairs[..., 1]
    classification = num_samples * objectness_loss(logits, positives, weights, samples)
    assert float(classification) == pytest.approx(0.733969, abs=1e-6)


# Section 8: detection loss.


def test_detection_mini_batch_is_32_objects_and_96_background():
    # An object of 100 x 200; 60 proposals of 60 to 89 of its rows (IoU 0.60 to 0.89) are objects,
    # 120 of 20 to 49 rows (0.20 to 0.49) are background.
    box = [100.0, 300, 200, 500]
    rows = [*(60 + i % 30 for i in range(60)), *(20 + i % 30 for i in range(120))]
    proposals = [[100.0, 300, 100 + row, 500] for row in rows]
    targets = sample_rois(
        as_float([proposals]),
        as_float([[box]]),
        tf.constant([[CAT]]),
        tf.constant([[0, 0]]),
        (1.0, 1.0, 1.0, 1.0),
        TrainConfig(roi_background_iou=0.1),
    )
    assert np.all(targets.weights == 1) and targets.classes.shape == (1, 128)
    assert np.sum(targets.classes == CAT) == 32 and np.sum(targets.classes == 0) == 96


def test_proposals_take_the_class_of_the_largest_iou():
    # IoUs (0.8, 0.6, 0, 0) and (0.0, 0.1, 0.2, 0.0) against (cat, cat, dog, duck).
    iou = as_float([[[0.8, 0.6, 0, 0], [0.0, 0.1, 0.2, 0.0]]])
    matched, labels = match_boxes(iou, positive_iou=0.5, negative_iou=0.5)
    np.testing.assert_array_equal(matched, [[0, 2]])
    np.testing.assert_array_equal(labels, [[1, 0]])


def test_proposals_become_a_cat_and_background():
    # The same with boxes. Proposal 1, 10 x 20: a cat that is its upper 8 rows (IoU 160 / 200 =
    # 0.8), one that is its lower 6 (0.6), a dog and a duck elsewhere. Proposal 2, likewise in an
    # image of its own: a cat elsewhere, one of 1 row (0.1), a dog of 2 rows (0.2), a duck
    # elsewhere.
    proposal = [0.0, 0, 10, 20]
    elsewhere = [[50.0, 50, 60, 70], [80, 50, 90, 70]]
    gt_boxes = [
        [[0, 0, 8, 20], [4, 0, 10, 20], *elsewhere],
        [elsewhere[0], [0, 0, 1, 20], [5, 0, 7, 20], elsewhere[1]],
    ]
    targets = sample_rois(
        as_float([[proposal], [proposal]]),
        as_float(gt_boxes),
        tf.constant([[CAT, CAT, DOG, DUCK]] * 2),
        tf.constant([[0, 0], [0, 1]]),
        (1.0, 1.0, 1.0, 1.0),
        TrainConfig(roi_batch_size=5, roi_positive_fraction=1.0),
    )
    is_proposal = np.all(targets.rois == np.float32(proposal), axis=-1)  # not one of the objects
    np.testing.assert_array_equal(targets.classes.numpy()[is_proposal], [CAT, 0])


def test_detection_loss():
    # Proposal 1 is a cat: d^ = (-0.2, 0.2, 1.0, 1.0), its offsets y[4:8] are those of
    # d = (-0.1, 0.3, 0.8, 1.2); what the other classes' offsets are does not matter. Proposal 2 is
    # background.
    y = np.full((2, 16), 7.0)
    y[0, 4:8] = as_stored(-0.1, 0.3, 0.8, 1.2)
    classes = tf.constant([[CAT, 0]])
    deltas = tf.gather(as_float(y.reshape(1, 2, 4, 4)), classes, batch_dims=2)
    targets = as_float([[as_stored(-0.2, 0.2, 1.0, 1.0), [0, 0, 0, 0]]])
    positives, weights = as_float([[1, 0]]), as_float([[1, 1]])
    samples = samples_an_image(weights, "images")
    num_samples = 2  # the deck sums, the functions divide by the mini-batch

    # 0.5 * 0.1^2 + 0.5 * 0.1^2 + 0.5 * (log 0.8)^2 + 0.5 * (log 1.2)^2
    # = 0.005 + 0.005 + 0.024897 + 0.016620 = 0.051517 (rounded once, at the end).
    regression = num_samples * box_loss(deltas, targets, positives, samples, sigma=1.0)
    assert float(regression) == pytest.approx(0.051517, abs=1e-6)

    # p(1) = (0.1, 0.7, 0.1, 0.1), p(2) = (0.6, 0.0, 0.2, 0.2):
    # -log 0.7 - log 0.6 = 0.356675 + 0.510826 = 0.867501.
    logits = as_logits([[[0.1, 0.7, 0.1, 0.1], [0.6, 0.0, 0.2, 0.2]]])
    classification = num_samples * classification_loss(logits, classes, weights, samples)
    assert float(classification) == pytest.approx(0.867501, abs=1e-6)
