"""The networks that are made for phones and small boards compute in 8 bits, all of them.

Their weights are random: what 8 bits cost in AP stands in `results/tflite.md`.
"""

from collections import Counter

import keras
import pytest

from tests.tflite.conftest import noise
from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import FasterRCNN
from tf_frcnn.tflite.conversion import Converter
from tf_frcnn.tflite.file import Graph, read_model

pytestmark = pytest.mark.slow

SIZE = (64, 96)
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


# A depthwise convolution in each of the trunk's blocks, of which these have 15 and 16.
@pytest.mark.parametrize(
    ("name", "num_depthwise"),
    [("fasterrcnn_mobilenet_v3_large_320_fpn", 15), ("efficientnet_lite0_fpn", 16)],
)
def test_every_convolution_and_fc_layer_computes_in_8_bits(name, num_depthwise):
    keras.utils.set_random_seed(0)
    network = FasterRCNN.from_preset(name, 3)
    rounding = ARCHITECTURES[name].settings["data"]["resize_rounding"]
    model = InferenceModel(network, ("cat", "dog", "duck"), *SIZE, rounding)
    converter = Converter(model, SIZE)
    ranges = converter.find_ranges([noise(SIZE)])
    graph = Graph(read_model(converter.convert("int8", ranges)))
    weighted = [operator for operator in graph.operators if operator.name in WEIGHTED]
    for operator in weighted:
        types = {graph.dtype(index) for index in (*operator.inputs[:2], *operator.outputs)}
        assert types == {"int8"}, operator.name
    assert Counter(operator.name for operator in weighted)["DEPTHWISE_CONV_2D"] == num_depthwise
