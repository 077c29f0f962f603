"""The four forms of the file: what they answer, and what they are made of."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import oracles
from tests.tflite.conftest import IMAGE_SIZE, build_inference_model, noise
from tf_frcnn.data.transforms import resize_images
from tf_frcnn.errors import ConfigError, UserError
from tf_frcnn.ops.builtin import builtin_operators_only
from tf_frcnn.ops.nms import per_class_nms
from tf_frcnn.tflite import conversion, interpreter
from tf_frcnn.tflite.conversion import Converter
from tf_frcnn.tflite.file import Graph, describe_file, foreign_operators, read_model
from tf_frcnn.tflite.interpreter import FileRunner
from tf_frcnn.tflite.report import compare_detections
from tf_frcnn.tflite.timing import cut_after

WEIGHTED = ("CONV_2D", "FULLY_CONNECTED")


@pytest.fixture(scope="module")
def ranges(converter):
    return converter.find_ranges([noise(IMAGE_SIZE, seed) for seed in (1, 2)])


@pytest.fixture(scope="module")
def int8_content(converter, ranges):
    return converter.convert("int8", ranges)


# === float32 ===


@pytest.fixture(params=["ai-edge-litert", "tf.lite"])
def interpreter_name(request, monkeypatch):
    if request.param == "ai-edge-litert":
        pytest.importorskip("ai_edge_litert")
    else:
        monkeypatch.setattr(
            interpreter, "_find_interpreter", lambda: (tf.lite.Interpreter, request.param)
        )
    return request.param


@pytest.mark.parametrize("seed", [0, 5])
def test_float32_answers_what_the_keras_model_does(
    float_content, inference_model, seed, interpreter_name
):
    image = noise(IMAGE_SIZE, seed)
    runner = FileRunner(float_content)
    assert runner.name.startswith(interpreter_name)
    found, expected = runner.detect(image), inference_model(image)
    assert len(expected[0]) > 3, "the comparison needs detections"
    np.testing.assert_array_equal(found[2], expected[2])
    # What is promised is 0.5 px and 1e-3; float32 in another order leaves less.
    np.testing.assert_allclose(found[0], expected[0], atol=0.02)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


def test_the_signature_is_that_of_serving_without_names(float_content):
    report = describe_file(float_content)
    assert report["inputs"] == [{"name": "images", "type": "uint8", "shape": [1, 50, 70, 3]}]
    assert sorted(report["outputs"], key=lambda output: output["name"]) == [
        {"name": "detection_boxes", "type": "float32", "shape": [1, 10, 4]},
        {"name": "detection_classes", "type": "int32", "shape": [1, 10]},
        {"name": "detection_scores", "type": "float32", "shape": [1, 10]},
        {"name": "num_detections", "type": "int32", "shape": [1]},
    ]
    (signature,) = read_model(float_content).signatureDefs
    assert signature.signatureKey == b"serving_default"


def test_the_rest_of_the_answer_is_zero(float_content, image):
    runner = FileRunner(float_content)
    runner.set_input(np.zeros_like(image))
    runner.run_once()
    by_shape = {output.shape: output for output in runner.outputs() if output.dtype == np.float32}
    scores, boxes = by_shape[1, 10], by_shape[1, 10, 4]
    assert np.all(boxes[scores == 0.0] == 0.0) and np.all(np.diff(scores) <= 0.0)


# === Soft-NMS ===


def test_soft_nms_answers_what_the_keras_model_does(tiny_config, image, interpreter_name):
    model = build_inference_model(
        dataclasses.replace(tiny_config.model, soft_nms_sigma=0.5, max_detections=40)
    )
    content = Converter(model, IMAGE_SIZE).convert("none")
    operators = describe_file(content)["operators"]
    assert operators["NON_MAX_SUPPRESSION_V5"] == 3  # one a class
    found, expected = FileRunner(content).detect(image), model(image)
    assert len(expected[0]) > 20
    for value, wanted, atol in zip(found, expected, (0.02, 1e-4, 0), strict=True):
        np.testing.assert_allclose(value, wanted, atol=atol)


def run_soft_nms(boxes, scores, folder):
    """Run soft-NMS, sigma 0.5, of [K, 4] boxes of one class in the interpreter -> [K] scores."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, len(boxes), 1, 4], tf.float32),
            tf.TensorSpec([1, len(boxes), 1], tf.float32),
        ]
    )
    def suppress(boxes, scores):
        with builtin_operators_only():
            return {"scores": per_class_nms(boxes, scores, 0.01, 0.3, scores.shape[1], 0.5)[1]}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"suppress": suppress})
    content = tf.lite.TFLiteConverter.from_saved_model(str(folder), ["suppress"]).convert()
    run = interpreter._find_interpreter()[0](model_content=content).get_signature_runner()
    inputs = {
        "boxes": np.float32(boxes)[None, :, None],
        "scores": np.float32(scores)[None, :, None],
    }
    return run(**inputs)["scores"][0]


def test_soft_nms_of_tflite_equals_the_loop_of_the_paper(tmp_path):
    random = np.random.default_rng(1)
    start = random.uniform(0, 30, (40, 2))
    boxes = np.concatenate([start, start + random.uniform(8, 40, (40, 2))], axis=1)
    scores = random.uniform(0, 1, 40)
    expected = [score for _, score in oracles.soft_nms(boxes, scores, 0.5, 0.01)]
    assert len(expected) > 15
    found = run_soft_nms(boxes, scores, tmp_path)
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-4)
    assert not found[len(expected) :].any()


def test_of_the_same_box_tflite_keeps_the_best_alone(tmp_path):
    # TensorFlow keeps the second with 0.8 * exp(-1 / 0.5) = 0.108; docs/tflite.md says so.
    found = run_soft_nms([[0, 0, 9, 9]] * 2, [0.9, 0.8], tmp_path)
    np.testing.assert_allclose(found, [0.9, 0])


# === Smaller forms ===


@pytest.mark.parametrize(("form", "size"), [("float16", 0.5), ("dynamic", 0.25)])
def test_smaller_weights_find_the_same(
    converter, float_content, inference_model, image, form, size
):
    content = converter.convert(form)
    assert not foreign_operators(read_model(content))
    # The graph itself and the biases do not shrink.
    assert size < len(content) / len(float_content) < size + 0.05
    parameters = [
        sum(stage["parameters"] for stage in describe_file(file)["stages"].values())
        for file in (content, float_content)
    ]
    assert parameters[0] == parameters[1]
    figures = compare_detections(inference_model(image), FileRunner(content).detect(image))
    # A weight is off by 2^-11 of itself, or by half of 1/127 of its channel's largest.
    assert figures["max_score_difference"] < {"float16": 0.005, "dynamic": 0.05}[form]


# === int8 ===


def test_int8_computes_exactly_the_weighted_layers_in_8_bits(int8_content):
    assert not foreign_operators(read_model(int8_content))
    graph = Graph(read_model(int8_content))
    for operator in graph.operators:
        types = {graph.dtype(index) for index in (*operator.inputs[:2], *operator.outputs)}
        if operator.name in WEIGHTED:
            assert types == {"int8"}, operator
        elif operator.name in ("SOFTMAX", "EXP", "TOPK_V2", "NON_MAX_SUPPRESSION_V4", "FLOOR"):
            assert types <= {"float32", "int32"}, operator
        elif operator.name in ("ADD", "SUB", "MUL"):  # of boxes, coordinates and features
            assert "int8" not in types, operator
    assert sum(operator.name in WEIGHTED for operator in graph.operators) == 13 + 3 + 4


def test_int8_takes_and_answers_what_float32_does(int8_content, float_content):
    reports = describe_file(int8_content), describe_file(float_content)
    for name in ("inputs", "outputs"):
        assert reports[0][name] == reports[1][name]
    assert reports[0]["bytes"] < 0.3 * reports[1]["bytes"]


def test_int8_features_are_those_of_the_network(int8_content, inference_model, image):
    runner = FileRunner(cut_after(int8_content, "backbone"))
    runner.set_input(image)
    runner.run_once()
    (features,) = runner.outputs()
    network = inference_model.network
    resized = resize_images(np.float32(image[None]), (64, 90))
    expected = network.backbone(network.preprocessing((resized, np.float32([[64, 90]])))).numpy()
    assert features.dtype == np.int8
    # Thirteen layers each round by half a step of 256: they tell the same, not to the last bit.
    assert np.corrcoef(features.ravel(), expected.ravel())[0, 1] > 0.99


def test_ranges_are_over_all_images(converter, ranges):
    one, other = (converter.find_ranges([noise(IMAGE_SIZE, seed)]) for seed in (1, 2))
    assert set(one) == set(other) == set(ranges)
    for name, (smallest, largest) in ranges.items():
        assert smallest == min(one[name][0], other[name][0])
        assert largest == max(one[name][1], other[name][1])
    assert any(one[name] != other[name] for name in ranges)
    # Black and white images must not be cut off: 0 and 255 less the means of blue and red.
    assert ranges["network_input"] == pytest.approx((-123.68, 255 - 103.939))


# === What cannot be converted ===


def test_operators_that_are_left_are_told(converter, monkeypatch):
    class Fake:
        @classmethod
        def from_saved_model(cls, *_, **__):
            return cls()

        target_spec = tf.lite.TargetSpec()

        def convert(self):
            return b""

    monkeypatch.setattr(conversion.tf.lite, "TFLiteConverter", Fake)
    monkeypatch.setattr(conversion, "read_model", lambda content: content)
    monkeypatch.setattr(conversion, "foreign_operators", lambda model: {"FlexB", "FlexA"})
    with pytest.raises(
        UserError, match=r"builtin operators by TensorFlow .*: it left FlexA, FlexB"
    ):
        converter.convert("none")

    def fail(self):
        raise RuntimeError("tf.Foo: is not supported\nand a long story")

    monkeypatch.setattr(Fake, "convert", fail)
    with pytest.raises(UserError, match=r"tf\.Foo: is not supported\. Expected"):
        converter.convert("none")


def test_the_quantised_roi_operator_is_refused(tiny_config):
    inference_model = build_inference_model(
        dataclasses.replace(tiny_config.model, roi_op="roi_pool")
    )
    with pytest.raises(ConfigError, match=r"model\.roi_op roi_pool: cannot be converted"):
        Converter(inference_model, IMAGE_SIZE)


def test_mirror_images_are_refused(tiny_config):
    inference_model = build_inference_model(
        dataclasses.replace(tiny_config.model, flip_at_test=True)
    )
    with pytest.raises(
        ConfigError,
        match=r"model\.flip_at_test true: cannot be converted.*--flip-at-test False --output",
    ):
        Converter(inference_model, IMAGE_SIZE)
