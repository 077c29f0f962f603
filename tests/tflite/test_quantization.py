"""What is looked at between the layers, and what rounding to 8 bits makes of it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tflite.conftest import IMAGE_SIZE, build_inference_model, noise
from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.architectures.vgg16 import build_vgg16
from tf_frcnn.layers.heads.box_head import BoxHead
from tf_frcnn.model import FasterRCNN
from tf_frcnn.tflite.conversion import Converter
from tf_frcnn.tflite.file import Graph, read_model
from tf_frcnn.tflite.quantization import RangeObserver, RoundingObserver, observing

HEADS = {
    *("rpn_conv", "rpn_objectness", "rpn_deltas"),
    *("fc1", "fc2", "box_classes", "box_deltas"),
}
CONVS = {
    f"block{block}_conv{conv}"
    for block, num_convs in enumerate((2, 2, 3, 3, 3), start=1)
    for conv in range(1, num_convs + 1)
}


def observed_names(network):
    observer = RangeObserver()
    with observing(network, observer):
        network((noise((32, 48))[None].astype(np.float32), np.float32([[32, 48]])))
    return set(observer.extremes())


def test_activations_after_normalisation_are_observed(inference_model):
    assert observed_names(inference_model.network) == {f"{name}_relu" for name in CONVS} | HEADS


def test_layers_without_normalisation_are_observed_themselves():
    backbone = build_vgg16(width=1 / 16)
    network = keras.Sequential([backbone])
    network.backbone = backbone
    observer = RangeObserver()
    with observing(network, observer):
        network(np.ones((1, 16, 32, 3), np.float32))
    assert set(observer.extremes()) == CONVS


def test_projections_of_a_head_of_low_rank_are_observed(tiny_config):
    inference_model = build_inference_model(dataclasses.replace(tiny_config.model, head_rank=5))
    assert {"fc1_projection", "fc2_projection"} < observed_names(inference_model.network)


def test_convolutions_of_the_box_head_are_observed_behind_their_activation(tiny_config):
    head = BoxHead(8, 3, num_fcs=1, conv_channels=(6, 5), name="box_head")
    network = FasterRCNN(tiny_config.model, 3, box_head=head)
    of_head = {
        name for name in observed_names(network) if name.startswith(("box_conv", "bn_", "fc"))
    }
    assert of_head == {"box_conv1_relu", "box_conv2_relu", "fc1"}


def test_the_layers_are_left_as_they_were(inference_model):
    network, observer = inference_model.network, RangeObserver()
    with pytest.raises(KeyError), observing(network, observer):
        raise KeyError
    network.rpn_head((tf.zeros([1, 2, 3, 128]),))
    assert not observer.extremes()


def test_ranges_are_after_the_activation(inference_model):
    head, observer = inference_model.network.rpn_head, RangeObserver()
    features = tf.random.stateless_normal([1, 3, 4, 128], [1, 2])
    with observing(inference_model.network, observer):
        head((features,))
    smallest, largest = observer.extremes()["rpn_conv"].numpy()
    assert smallest == 0.0
    assert largest == pytest.approx(np.max(head.conv(features)), rel=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_ranges_of_a_head_that_maps_share_are_over_all_maps(inference_model, order):
    head, observer = inference_model.network.rpn_head, RangeObserver()
    maps = [
        scale * tf.random.stateless_normal([1, 2 << index, 3, 128], [1, index])
        for index, scale in enumerate((0.5, 20.0, 1.0))
    ]
    with observing(inference_model.network, observer):
        for index in order:
            head((maps[index],))
    hidden = [head.conv(features) for features in maps]
    for name, layer in (("rpn_objectness", head.objectness), ("rpn_deltas", head.deltas)):
        answers = [layer(features).numpy() for features in hidden]
        expected = min(map(np.min, answers)), max(map(np.max, answers))
        np.testing.assert_allclose(observer.extremes()[name], expected, rtol=1e-6, err_msg=name)


def test_each_map_is_rounded_in_the_range_of_all(inference_model):
    # From -12 to 12 in 255 steps: a number is off by half a step at most, on every map.
    head = inference_model.network.rpn_head
    maps = [tf.random.stateless_normal([1, 4, 4, 128], [1, index]) for index in (0, 1)]
    expected = [head((features,))[1][0] for features in maps]
    with observing(inference_model.network, RoundingObserver({"rpn_deltas": (-12.0, 12.0)})):
        found = [head((features,))[1][0] for features in maps]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=0.5 * 24 / 255 + 1e-6)
        assert np.any(one.numpy() != other.numpy())


def hard_swish(features):
    """Compute x * ReLU6(x + 3) / 6 with layers that both versions of Keras have."""
    gate = keras.layers.Rescaling(1.0, offset=3.0, name="shift")(features)
    gate = keras.layers.ReLU(6.0, name="gate")(gate)
    gate = keras.layers.Rescaling(1 / 6, name="scale")(gate)
    return keras.layers.Multiply(name="swish")([features, gate])


def build_residual_backbone(dtype="float32"):
    """Build a backbone of stride 16 in which all sorts of things follow a convolution."""

    def conv(features, name, stride=1, **options):
        options = {"padding": "same", "use_bias": False, "dtype": dtype, **options}
        return keras.layers.Conv2D(8, 3, stride, name=name, **options)(features)

    def norm(features, name):
        return keras.layers.BatchNormalization(name=name, dtype=dtype)(features)

    images = keras.Input((None, None, 3), name="images")
    x = keras.layers.ReLU(name="stem_end")(norm(conv(images, "stem", 4), "first"))
    x = keras.layers.MaxPooling2D(2, name="pool")(x)
    x = keras.layers.ReLU(6.0, name="clipped")(norm(conv(x, "bottleneck"), "second"))
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = hard_swish(norm(x, "third"))
    shortcut = norm(conv(x, "shortcut", 2), "fourth")
    x = conv(x, "biased", 2, use_bias=True)
    x = keras.layers.Activation("relu", name="biased_end")(x)
    x = norm(conv(x, "branch"), "fifth")
    x = keras.layers.ReLU(name="block_end")(keras.layers.Add(name="sum")([x, shortcut]))
    x = norm(conv(x, "activated", activation="relu"), "after_activation")
    x = keras.layers.LeakyReLU(name="leaky")(norm(conv(x, "last"), "sixth"))
    return keras.Model(images, x, name="backbone")


OBSERVED = {
    # Convolution, normalisation and ReLU or ReLU6 are one, with the normalisation or without.
    *("stem_end", "clipped", "biased_end"),
    # Other activations, and none, end that: the convolution gives what they are given.
    *("third", "fourth", "fifth", "sixth"),
    # Behind a ReLU inside of the layer, a normalisation cannot be joined with the kernel.
    *("activated",),
    # What a convolution takes: the RPN takes the last.
    *("swish", "block_end", "leaky"),
}


@pytest.fixture
def residual_model(tiny_config, monkeypatch):
    name = tiny_config.model.architecture
    known = dataclasses.replace(ARCHITECTURES[name], backbone=build_residual_backbone)
    monkeypatch.setitem(ARCHITECTURES, name, known)
    return build_inference_model(tiny_config.model)


def test_what_a_convolution_gives_or_takes_is_told_by_the_flow_not_by_names(residual_model):
    # after_activation lies between two convolutions: the second takes what it gives.
    observed = observed_names(residual_model.network)
    assert observed == OBSERVED | {"after_activation"} | HEADS


def test_all_convolutions_of_such_a_network_compute_in_8_bits(residual_model):
    converter = Converter(residual_model, IMAGE_SIZE)
    ranges = converter.find_ranges([noise(IMAGE_SIZE)])
    graph = Graph(read_model(converter.convert("int8", ranges)))
    weighted = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    types = [
        {graph.dtype(index) for index in (*operator.inputs[:2], *operator.outputs)}
        for operator in graph.operators
        if operator.name in weighted
    ]
    # Eight in the backbone, three in the RPN, four in the head.
    assert types == [{"int8"}] * (8 + 3 + 4)


def test_rounding_by_hand():
    # 255 steps from 0 to 51: multiples of 0.2. What is beyond the ends is cut off.
    rounding = RoundingObserver({"a": (0.0, 51.0)})
    rounded = rounding("a", tf.constant([-1.0, 0.0, 0.29, 0.31, 50.93, 60.0]))
    np.testing.assert_allclose(rounded, [0.0, 0.0, 0.2, 0.4, 51.0, 51.0], atol=1e-5)


@pytest.mark.parametrize("ends", [(0.0, 0.0), (2.0, 5.0), (-5.0, -2.0)])
def test_0_is_kept_whatever_the_range_is(ends):
    rounded = RoundingObserver({"a": ends})("a", tf.constant([0.0, ends[0]]))
    np.testing.assert_allclose(rounded, [0.0, ends[0]], atol=5 / 255)
