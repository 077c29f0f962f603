"""Every layer: its configuration, what it accepts, and its values against loops or by hand."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tf_frcnn.architectures.vgg16 import CAFFE_PIXELS
from tf_frcnn.layers.activations import HardSigmoid, HardSwish
from tf_frcnn.layers.anchor_generator import AnchorGenerator
from tf_frcnn.layers.convolution import Conv3x3
from tf_frcnn.layers.detections import DetectionLayer
from tf_frcnn.layers.heads.box_head import BoxHead
from tf_frcnn.layers.heads.rpn import RPNHead
from tf_frcnn.layers.means import ChannelMeans
from tf_frcnn.layers.mirroring import AddMirrored, JoinMirrored
from tf_frcnn.layers.preprocessing import Preprocessing
from tf_frcnn.layers.proposals import ProposalLayer
from tf_frcnn.layers.roi_pooling import RoIPooling

# Each layer with arguments that differ from the defaults.
LAYERS = [
    (
        AnchorGenerator,
        {
            "sizes": (8.0, 20.0),
            "aspect_ratios": (0.5, 3.0),
            "offset": 0.0,
            "rounded": True,
            "one_size_a_map": True,
        },
    ),
    (
        Preprocessing,
        {"order": "rgb", "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0), "multiple": 8},
    ),
    (Conv3x3, {"filters": 5, "use_bias": False}),
    (
        DetectionLayer,
        {
            "score_threshold": 0.2,
            "nms_iou": 0.4,
            "max_detections": 7,
            "box_std": (0.1, 0.2, 0.3, 0.4),
            "min_side": 0.01,
            "unused": (2, 5),
            "soft_nms_sigma": 0.5,
        },
    ),
    (
        ProposalLayer,
        {
            "pre_nms_top_k": 50,
            "post_nms_top_k": 9,
            "nms_iou": 0.6,
            "min_size": 3.0,
            "min_score": 0.1,
            "sifts_first": False,
        },
    ),
    (AddMirrored, {}),
    (JoinMirrored, {}),
    (RoIPooling, {"op": "roi_align", "strides": (8, 16), "output_size": 5}),
    (RPNHead, {"channels": 6, "num_anchors": 2, "paired": True, "num_convs": 2}),
    (HardSigmoid, {}),
    (HardSwish, {}),
    (
        BoxHead,
        {
            "units": 9,
            "num_classes": 2,
            "dropout": 0.5,
            "fc_stddev": 0.0,
            "fc_bias": 0.3,
            "rank": 4,
            "num_fcs": 1,
            "conv_channels": (3, 5),
        },
    ),
]


def as_float(array):
    return tf.constant(array, tf.float32)


def by_name(layer_class):
    return getattr(layer_class, "__name__", None)


@pytest.mark.parametrize(("layer_class", "arguments"), LAYERS, ids=by_name)
def test_configuration_survives_json(layer_class, arguments):
    layer = layer_class(**arguments, name="stage")
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    restored = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(restored) is layer_class and restored.name == "stage"
    assert restored.get_config() == layer_class.from_config(layer.get_config()).get_config()
    for name, value in arguments.items():
        assert getattr(restored, name) == value


def test_preprocessing_gives_bgr_without_means_and_zero_in_the_padding():
    # An image of 2 x 3 pixels in a batch of 3 x 4, padded to 4 x 4 by stride 4. RGB (10, 20, 30)
    # becomes (30 - 103.939, 20 - 116.779, 10 - 123.68).
    images = np.full((2, 3, 4, 3), [10.0, 20, 30])
    layer = Preprocessing(**dataclasses.asdict(CAFFE_PIXELS) | {"multiple": 4})
    outputs = layer((as_float(images), as_float([[2, 3], [3, 4]]))).numpy()
    expected = np.zeros((2, 4, 4, 3))
    expected[0, :2, :3] = expected[1, :3, :4] = [30 - 103.939, 20 - 116.779, 10 - 123.68]
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    # From 0 - 123.68 to 255 - 103.939.
    assert layer.value_range == pytest.approx((-123.68, 151.061))


def test_preprocessing_divides_by_the_deviations():
    # (0.5 * 255 - 0.25 * 255) / (0.5 * 255) = 0.5 in the order of RGB; the others likewise.
    layer = Preprocessing("rgb", (63.75, 0.0, 255.0), (127.5, 255.0, 51.0), 1)
    outputs = layer((as_float(np.full((1, 1, 1, 3), 127.5)), as_float([[1, 1]])))
    np.testing.assert_allclose(outputs[0, 0, 0], [0.5, 0.5, -2.5])
    # 255 becomes (255 - 63.75) / 127.5 = 1.5, 0 of the last channel -255 / 51 = -5.
    assert layer.value_range == pytest.approx((-5.0, 1.5))


@pytest.mark.parametrize(("size", "padded"), [((1, 1), (16, 16)), ((17, 32), (32, 32))])
def test_preprocessing_pads_to_whole_cells(size, padded):
    images = tf.zeros([1, *size, 3])
    layer = Preprocessing(**dataclasses.asdict(CAFFE_PIXELS))
    assert layer((images, as_float([size]))).shape == (1, *padded, 3)


def test_anchor_generator_follows_the_feature_map():
    layer = AnchorGenerator([8.0, 20.0], [0.5, 1.0, 2.0])
    assert layer.num_anchors == 6
    for height, width in ((1, 1), (2, 5)):
        pixels = tf.zeros([3, 16 * height, 16 * width, 3])
        (anchors,) = layer((pixels, (tf.zeros([3, height, width, 4]),)))
        assert anchors.shape == (height * width * 6, 4)
        # The last cell's centre.
        last = [(height - 0.5) * 16, (width - 0.5) * 16]
        np.testing.assert_allclose(0.5 * (anchors[-1, :2] + anchors[-1, 2:]), last)


def test_heads_start_as_the_paper_says():
    rpn_head, box_head = RPNHead(64, 9), BoxHead(400, 20)
    rpn_head.build([(None, None, None, 64)])
    box_head.build((None, None, 7, 7, 8))
    expected = [
        (rpn_head.conv, 0.01, 0.0),
        (rpn_head.objectness, 0.01, 0.0),
        (rpn_head.deltas, 0.01, 0.0),
        (box_head.fc1, 0.005, 0.1),
        (box_head.fc2, 0.005, 0.1),
        (box_head.classes, 0.01, 0.0),
        (box_head.deltas, 0.001, 0.0),
    ]
    for layer, stddev, bias in expected:
        kernel, biases = (value.numpy() for value in layer.weights)
        # At least 1152 draws: the standard error of a deviation is at most 1 / sqrt(2304) = 2 %.
        assert kernel.std() == pytest.approx(stddev, rel=0.1)
        assert abs(kernel.mean()) < stddev / 5
        np.testing.assert_allclose(biases, bias)


def test_fc_layers_start_as_keras_draws_them():
    kind = type(BoxHead(8, 3).fc1.kernel_initializer)
    ours, theirs = (
        initializer(stddev=0.005, seed=3)((300, 200))
        for initializer in (kind, keras.initializers.RandomNormal)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_fc_layers_start_in_the_memory_of_one_array():
    try:
        tf.config.experimental.reset_memory_stats("CPU:0")
    except ValueError:
        pytest.skip("TensorFlow counts the processor's memory only with oneDNN's kernels")
    shape = (4096, 2048)  # 32 MiB; operators one by one take two or three arrays
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    drawn = BoxHead(2048, 3).fc1.kernel_initializer(shape)
    peak = tf.config.experimental.get_memory_info("CPU:0")["peak"]
    assert peak - before < 1.5 * drawn.numpy().nbytes


def test_box_head_drops_units_in_training_only():
    keras.utils.set_random_seed(0)
    head = BoxHead(64, 3, dropout=0.5)
    features = as_float(np.random.default_rng(0).normal(size=(1, 2, 7, 7, 4)))
    evaluated, again = (head(features, training=False)[0] for _ in range(2))
    np.testing.assert_array_equal(evaluated, again)
    seeds = tf.constant([[0, 7]])
    dropped = head(features, training=True, seeds=seeds)[0]
    assert not np.allclose(dropped, evaluated)
    np.testing.assert_array_equal(head(features, training=True, seeds=seeds)[0], dropped)
    assert not np.allclose(head(features, training=True, seeds=seeds + 1)[0], dropped)


def test_box_head_of_a_rank_is_a_head_whose_kernels_are_products():
    # K = P Q in both FC layers: no bias and no activation stands between P and Q.
    low, whole = BoxHead(6, 2, rank=2), BoxHead(6, 2)
    for head in (low, whole):
        head.build((None, None, 7, 7, 1))
    random = np.random.default_rng(0)
    for name, num_in in (("fc1", 49), ("fc2", 6)):
        first, second = random.normal(size=(num_in, 2)), random.normal(size=(2, 6))
        bias = random.normal(size=6)
        getattr(low, f"{name}_projection").set_weights([first])
        getattr(low, name).set_weights([second, bias])
        getattr(whole, name).set_weights([first @ second, bias])
    for name in ("classes", "deltas"):
        getattr(low, name).set_weights(getattr(whole, name).get_weights())
    features = as_float(random.normal(size=(2, 3, 7, 7, 1)))
    for value, expected in zip(low(features), whole(features), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)
        assert np.abs(expected).max() > 1e-2


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5)])
def test_rpn_head_takes_any_batch_and_size(shape):
    (logits,), (deltas,) = RPNHead(8, 6, paired=True)((tf.zeros([*shape, 4]),))
    num_anchors = shape[1] * shape[2] * 6
    assert logits.shape == (shape[0], num_anchors) and deltas.shape == (shape[0], num_anchors, 4)


def test_rpn_head_has_the_same_weights_on_every_map():
    head = RPNHead(8, 2)
    maps = [as_float(np.random.default_rng(i).normal(size=(1, 3 - i, 4, 5))) for i in range(2)]
    logits, deltas = head(tuple(maps))
    assert [one.shape[1] for one in logits] == [3 * 4 * 2, 2 * 4 * 2]
    assert len(head.weights) == 6
    for one_map, *expected in zip(maps, logits, deltas, strict=True):
        for value, wanted in zip(head((one_map,)), expected, strict=True):
            np.testing.assert_allclose(value[0], wanted, rtol=1e-6)


def random_rpn_outputs(num_images, num_anchors, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, [80, 120], (num_anchors, 2))
    anchors = np.concatenate([corner, corner + rng.uniform(10, [50, 70], (num_anchors, 2))], 1)
    logits = rng.normal(size=(num_images, num_anchors))
    deltas = rng.normal(0, 0.4, size=(num_images, num_anchors, 4))
    return logits, deltas, anchors


def test_proposals_are_decoded_clipped_sifted_cut_and_suppressed_in_this_order():
    # The second image is smaller than the first: its proposals keep out of the padding.
    logits, deltas, anchors = random_rpn_outputs(2, 150)
    sizes = [(90, 130), (60, 70)]
    proposals = ProposalLayer(60, 40, nms_iou=0.5, min_size=12.0)(
        ((as_float(logits),), (as_float(deltas),), (as_float(anchors),), as_float(sizes))
    ).numpy()
    assert proposals.shape == (2, 40, 4)
    for image, size in enumerate(sizes):
        expected = oracles.propose(logits[image], deltas[image], anchors, size, 12.0, 60, 40, 0.5)
        assert 10 < len(expected)
        np.testing.assert_allclose(proposals[image, : len(expected)], expected, atol=1e-3)
        assert not proposals[image, len(expected) :].any()


def propose(anchors, objectness, size, *arguments, **options):
    """Run the layer on the anchors of one map, without offsets."""
    inputs = ([objectness], np.zeros((1, len(anchors), 4)), anchors)
    maps = ((as_float(one),) for one in inputs)
    return ProposalLayer(*arguments, **options)((*maps, as_float([size]))).numpy()[0]


def test_small_boxes_do_not_use_up_the_top_n():
    # The best two are 15 high after clipping and 8 wide: below 16. Room for one in the top N.
    anchors = [[-25.0, 0, 15, 40], [0, 0, 40, 8], [10, 20, 40, 70]]
    proposals = propose(anchors, [3.0, 2, 1], (100, 100), 1, 2)
    np.testing.assert_array_equal(proposals, [[10, 20, 40, 70], [0, 0, 0, 0]])


def test_there_is_no_threshold_on_objectness():
    anchors = [[0.0, 0, 20, 30], [50, 40, 80, 90]]
    proposals = propose(anchors, [-1e4, -9e3], (100, 100), 10, 3)
    np.testing.assert_array_equal(proposals, [anchors[1], anchors[0], [0, 0, 0, 0]])


def test_saturated_scores_still_have_an_order():
    # Softmax gives 1.0 for both in float32.
    anchors = [[0.0, 0, 20, 30], [50, 40, 80, 90]]
    assert propose(anchors, [60.0, 70], (100, 100), 10, 1).tolist() == [anchors[1]]


def test_empty_boxes_are_small_whatever_the_limit():
    outside = [[0.0, 200, 20, 230], [10, 10, 30, 50]]
    proposals = propose(outside, [5.0, 1], (100, 100), 10, 2, min_size=0.0)
    np.testing.assert_array_equal(proposals, [[10, 10, 30, 50], [0, 0, 0, 0]])


def test_no_gradient_flows_through_proposals():
    logits, deltas, anchors = (as_float(value) for value in random_rpn_outputs(1, 20))
    with tf.GradientTape() as tape:
        tape.watch([logits, deltas])
        proposals = ProposalLayer(20, 5)(((logits,), (deltas,), (anchors,), as_float([[90, 130]])))
    assert tape.gradient(proposals, [logits, deltas]) == [None, None]


def detect(probabilities, deltas, proposals, size=(100.0, 150.0), **options):
    """Run the detection layer on one image; [K, 1 + N], [K, 1 + N, 4], [K, 4]."""
    arguments = {"score_threshold": 0.05, "nms_iou": 0.3, "max_detections": 4, **options}
    logits = np.log(np.maximum(probabilities, 1e-30))
    inputs = ([logits], [deltas], [proposals], [size])
    detections = DetectionLayer(**arguments)(tuple(as_float(value) for value in inputs))
    return {name: value.numpy()[0] for name, value in detections.items()}


def test_detections_use_the_offsets_of_their_own_class():
    # Proposal: centre (40, 60), 20 x 40. Class 1 moves it by dy = 1 * 0.1 * 20 = 2, class 2 by
    # dx = 2 * 0.1 * 40 = 8 and makes it exp(0.2 * 5 log 2) = 2 times as high. Class 0 is no object.
    deltas = np.zeros((1, 3, 4))
    deltas[0, 0], deltas[0, 1], deltas[0, 2] = 9.0, [1, 0, 0, 0], [0, 2, 5 * np.log(2), 0]
    detections = detect([[0.5, 0.2, 0.3]], deltas, [[30, 40, 50, 80]], box_std=(0.1, 0.1, 0.2, 0.2))
    assert detections["num_detections"] == 2
    np.testing.assert_array_equal(detections["detection_classes"], [2, 1, 0, 0])
    np.testing.assert_allclose(detections["detection_scores"], [0.3, 0.2, 0, 0], rtol=1e-5)
    expected = [[20, 48, 60, 88], [32, 40, 52, 80]]
    np.testing.assert_allclose(detections["detection_boxes"][:2], expected, rtol=1e-5)


def test_detections_are_clipped_and_none_is_empty():
    # The second proposal is moved out of the image as a whole: dx = 3 widths.
    deltas = np.zeros((2, 2, 4))
    deltas[1, 1, 1] = 3.0
    proposals = [[80.0, 100, 130, 170], [10, 100, 30, 140]]
    detections = detect([[0.1, 0.9]] * 2, deltas, proposals)
    assert detections["num_detections"] == 1
    np.testing.assert_array_equal(detections["detection_boxes"][0], [80, 100, 100, 150])


def test_padded_proposals_give_no_detections():
    detections = detect([[0.0, 1.0]] * 2, np.ones((2, 2, 4)), np.zeros((2, 4)), score_threshold=0.0)
    assert all(not value.any() for value in detections.values())


def test_suppression_is_per_class_and_scores_obey_the_threshold():
    # The same box twice: class 1 keeps the better one, class 2 has its own; 0.04 is below 0.05.
    probabilities = [[0.3, 0.6, 0.1], [0.56, 0.4, 0.04]]
    detections = detect(probabilities, np.zeros((2, 3, 4)), [[10, 20, 40, 90]] * 2)
    np.testing.assert_array_equal(detections["detection_classes"], [1, 2, 0, 0])
    np.testing.assert_allclose(detections["detection_scores"][:2], [0.6, 0.1], rtol=1e-5)


def test_detections_under_soft_nms_have_the_scores_that_are_left():
    # The same box twice: the second keeps exp(-1 / 0.5) = 0.135335 of its 0.4, 0.054 > 0.05.
    probabilities = [[0.4, 0.6], [0.6, 0.4]]
    detections = detect(
        probabilities, np.zeros((2, 2, 4)), [[10, 20, 40, 90]] * 2, soft_nms_sigma=0.5
    )
    assert detections["num_detections"] == 2
    np.testing.assert_allclose(
        detections["detection_scores"], [0.6, 0.4 * 0.135335, 0, 0], rtol=1e-5
    )


def test_images_are_mirrored_within_their_own_width():
    # 1 x 4 pixels of two images, 3 and 4 wide: the padding of the first, 9, stays at the right.
    images = np.zeros((2, 1, 4, 3))
    images[:, 0] = np.array([[1, 2, 3, 9], [5, 6, 7, 8]])[..., None]
    sizes = [[1, 3], [1, 4]]
    both, sizes_of_both = AddMirrored()((as_float(images), as_float(sizes)))
    expected = [[1, 2, 3, 9], [5, 6, 7, 8], [3, 2, 1, 9], [8, 7, 6, 5]]
    np.testing.assert_array_equal(both[:, 0, :, 1], expected)
    np.testing.assert_array_equal(sizes_of_both, sizes * 2)


def test_what_mirror_images_hold_is_mirrored_back():
    # Images 30 and 50 wide, two proposals each. [1, 4, 9, 10] of the first one's mirror image is
    # [1, 30 - 10, 9, 30 - 4]; what is moved by dx = 0.5 there is moved by -0.5 here.
    own = [[[0, 1, 2, 3], [0, 0, 0, 0]], [[5, 6, 7, 8], [0, 0, 0, 0]]]
    mirrored = [[[1, 4, 9, 10], [0, 0, 0, 0]], [[1, 4, 9, 10], [2, 0, 8, 50]]]
    logits = np.arange(2 * 2 * 2 * 3).reshape(4, 2, 3)
    deltas = np.tile([0.25, 0.5, 0.125, 2.0], (4, 2, 3, 1))
    found = JoinMirrored()(
        tuple(map(as_float, (logits, deltas, own + mirrored, [[20, 30], [20, 50]] * 2)))
    )
    joined_logits, joined_deltas, proposals, sizes = (value.numpy() for value in found)
    np.testing.assert_array_equal(joined_logits[0], [*logits[0], *logits[2]])
    np.testing.assert_array_equal(joined_logits[1], [*logits[1], *logits[3]])
    np.testing.assert_array_equal(joined_deltas[:, :2], deltas[:2])
    np.testing.assert_array_equal(joined_deltas[:, 2:, :, 1], np.full((2, 2, 3), -0.5))
    np.testing.assert_array_equal(joined_deltas[..., [0, 2, 3]][:, 2:], deltas[:2, :, :, [0, 2, 3]])
    np.testing.assert_array_equal(proposals[0], [*own[0], [1, 20, 9, 26], [0, 30, 0, 30]])
    np.testing.assert_array_equal(proposals[1], [*own[1], [1, 40, 9, 46], [2, 0, 8, 50]])
    np.testing.assert_array_equal(sizes, [[20, 30], [20, 50]])


def test_roi_pooling_names_its_operators():
    with pytest.raises(
        ValueError, match=r"op = 'mean' on 1 map.*expected one of crop_and_resize, roi_pool"
    ):
        RoIPooling("mean", [16])
    with pytest.raises(ValueError, match=r"'roi_pool' on 2 map.*expected one of roi_align, roi"):
        RoIPooling("roi_pool", [8, 16])


def test_means_of_a_padded_map_are_exact_to_float32():
    # Most cells are equal, as in padding: added up one by one, their rounding piles up to 7e-5.
    random = np.random.default_rng(0)
    features = np.full((1, 152, 136, 8), 0.37, np.float32)
    features *= random.uniform(0.5, 2, 8).astype(np.float32)
    features[:, :100, :100] = random.uniform(0, 2, (1, 100, 100, 8))
    means = ChannelMeans()(features)
    assert means.shape == (1, 1, 1, 8)
    expected = features.astype(np.float64).mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(means, expected, rtol=3e-6)
