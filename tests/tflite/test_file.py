"""What a file's flatbuffer tells: operators by kind and stage, foreign ones, sizes."""

import keras
import pytest
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from tf_frcnn.model import STAGES
from tf_frcnn.tflite.file import (
    Graph,
    foreign_operators,
    operator_counts,
    pack_model,
    read_model,
    stage_index,
)


@pytest.fixture(scope="module")
def graph(float_content):
    return Graph(read_model(float_content))


def make_model(*codes):
    """Make a model without tensors: an operator for each (builtin code, custom name)."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.operatorCodes, graph.operators = 3, [], []
    for number, (builtin, custom) in enumerate(codes):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.customCode = builtin, custom
        code.deprecatedBuiltinCode = min(builtin, 127)
        operator.opcodeIndex, operator.inputs, operator.outputs = number, [], []
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    graph.tensors, graph.inputs, graph.outputs = [], [], []
    model.subgraphs, model.buffers = [graph], [schema.BufferT()]
    return read_model(pack_model(model))


def test_flex_and_custom_operators_are_named():
    builtin = schema.BuiltinOperator
    model = make_model(
        (builtin.CUSTOM, "FlexCropAndResize"),
        (builtin.CONV_2D, None),
        (builtin.BROADCAST_TO, None),  # its number does not fit into the older field
        (builtin.CUSTOM, "TFLite_Detection_PostProcess"),
    )
    assert foreign_operators(model) == {"FlexCropAndResize", "TFLite_Detection_PostProcess"}
    assert operator_counts(model) == {
        "BROADCAST_TO": 1,
        "CONV_2D": 1,
        "FlexCropAndResize": 1,
        "TFLite_Detection_PostProcess": 1,
    }
    assert foreign_operators(make_model((builtin.CONV_2D, None))) == set()


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("backbone/block1_conv1/Relu;backbone/block1_conv1/BiasAdd", "backbone"),
        ("box_head/Reshape;roi_pooling/Reshape_5", "box_head"),
        ("rpn_head", "rpn_head"),
        ("backbones/a", None),
        ("StatefulPartitionedCall:0", None),
        ("", None),
    ],
)
def test_a_stage_is_the_first_scope(name, stage):
    assert stage_index(name) == (-1 if stage is None else STAGES.index(stage))


def test_operators_are_in_their_stages(graph):
    stages = {}
    for operator in graph.operators:
        stages.setdefault(operator.name, []).append(operator.stage)
    assert stages["RESIZE_BILINEAR"] == ["preprocessing"]
    assert stages["CONV_2D"] == ["backbone"] * 13 + ["rpn_head"] * 3
    assert stages["FULLY_CONNECTED"] == ["box_head"] * 4
    # One for the proposals, one for each of the three classes.
    assert sorted(stages["NON_MAX_SUPPRESSION_V4"]) == ["detection_layer"] * 3 + ["proposal_layer"]
    assert set(stages["GATHER"]) == {"proposal_layer", "roi_pooling", "detection_layer"}


def test_data_never_flows_back(graph):
    made_in = {}
    for operator in graph.operators:
        stage = STAGES.index(operator.stage)
        assert all(made_in.get(index, 0) <= stage for index in operator.inputs)
        made_in.update(dict.fromkeys(operator.outputs, stage))


def test_in_float16_every_operator_is_in_the_stage_it_is_in_in_float32(graph, converter):
    half = Graph(read_model(converter.convert("float16")))
    conversions = [operator for operator in half.operators if operator.name == "DEQUANTIZE"]
    assert len(conversions) > len(STAGES)
    both = [
        sorted((one.name, one.stage) for one in operators if one.name != "DEQUANTIZE")
        for operators in (half.operators, graph.operators)
    ]
    assert both[0] == both[1]
    stage_of = {index: one.stage for one in half.operators for index in one.outputs}
    for conversion in conversions:
        users = [one.stage for one in half.operators if conversion.outputs[0] in one.inputs]
        assert stage_of[conversion.outputs[0]] == min(users, key=STAGES.index)


def test_parameters_and_multiply_adds(graph):
    # 64 x 90 is padded to 64 x 96: block 5 sees 4 x 6 cells, the head 20 RoIs.
    convs = [operator for operator in graph.operators if operator.name == "CONV_2D"]
    first, last_of_backbone = convs[0], convs[12]
    assert graph.parameters(first) == 3 * 3 * 3 * 16 + 16
    assert graph.multiply_adds(first) == 64 * 96 * 16 * 27
    assert graph.parameters(last_of_backbone) == 9 * 128 * 128 + 128
    assert graph.multiply_adds(last_of_backbone) == 4 * 6 * 128 * 9 * 128
    fully_connected = [op for op in graph.operators if op.name == "FULLY_CONNECTED"]
    sizes = sorted((graph.parameters(op), graph.multiply_adds(op)) for op in fully_connected)
    # Four classes with the background, 16 deltas; FC layers of 512 units on 7 x 7 x 128.
    assert [size[1] for size in sizes] == [20 * 512 * n for n in (4, 16, 512, 49 * 128)]
    assert sizes[-1][0] == 49 * 128 * 512 + 512
    assert graph.multiply_adds(graph.operators[0]) == graph.parameters(graph.operators[0]) == 0


def test_bytes_by_stage_are_those_of_the_weights(graph, float_content):
    sizes = graph.bytes_by_stage()
    for stage in ("backbone", "rpn_head", "box_head"):
        parameters = sum(graph.parameters(op) for op in graph.operators if op.stage == stage)
        # Beside the weights there are only shapes.
        assert 4 * parameters <= sizes[stage] < 4 * parameters + 200
    assert sum(sizes.values()) < len(float_content) < sum(sizes.values()) + 100_000


def test_parameters_and_multiply_adds_of_a_depthwise_convolution():
    layers = [keras.Input((6, 8, 5), 1), keras.layers.DepthwiseConv2D(3, padding="same")]
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Sequential(layers))
    graph = Graph(read_model(converter.convert()))
    (operator,) = (one for one in graph.operators if one.name == "DEPTHWISE_CONV_2D")
    # Each output is a sum of 3 * 3 products, in its own channel alone.
    assert graph.multiply_adds(operator) == 6 * 8 * 5 * 3 * 3
    assert graph.parameters(operator) == 3 * 3 * 5 + 5
