"""Three signatures, one answer: what they take, and that they agree with the Keras model."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import GPU_KIND
from tests.export.test_elsewhere import assert_same
from tf_frcnn.export.signatures import make_signatures
from tf_frcnn.ops import convolution

SIGNATURES = {
    "serving_default": ("images", tf.uint8, [None, None, None, 3]),
    "serve_float": ("images", tf.float32, [None, None, None, 3]),
    "serve_encoded": ("image_bytes", tf.string, [None]),
}
OUTPUTS = {
    "detection_boxes": (tf.float32, [None, 10, 4]),
    "detection_scores": (tf.float32, [None, 10]),
    "detection_classes": (tf.int32, [None, 10]),
    "detection_names": (tf.string, [None, 10]),
    "num_detections": (tf.int32, [None]),
}


@pytest.fixture(scope="module", params=["exported", "exported_frozen"])
def loaded(request):
    """Load both exports, one after the other."""
    return tf.saved_model.load(str(request.getfixturevalue(request.param)))


def as_png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_inputs_and_outputs_are_those_of_the_documentation(loaded):
    assert set(loaded.signatures) == set(SIGNATURES)
    for name, (key, dtype, shape) in SIGNATURES.items():
        signature = loaded.signatures[name]
        assert signature.structured_input_signature[1] == {key: tf.TensorSpec(shape, dtype, key)}
        outputs = signature.structured_outputs
        assert {key: (spec.dtype, spec.shape.as_list()) for key, spec in outputs.items()} == OUTPUTS


@pytest.mark.parametrize("name", ["batch_3_50x70", "batch_1_9x7"])
def test_floats_and_files_are_answered_as_bytes_are(name, loaded, batches, expected):
    images = batches[name]
    inputs = {
        "serving_default": {"images": tf.constant(images)},
        "serve_float": {"images": tf.constant(images, tf.float32)},
        "serve_encoded": {"image_bytes": tf.constant([as_png(image) for image in images])},
    }
    for signature, arguments in inputs.items():
        answer = loaded.signatures[signature](**arguments)
        assert_same(answer, expected[name], f"{signature}: {name}")


def test_files_of_one_request_may_differ_in_size(loaded, batches, expected):
    names = [name for name in batches if name.startswith("batch_1_")]
    files = [as_png(batches[name][0]) for name in names]
    answer = loaded.signatures["serve_encoded"](image_bytes=tf.constant(files))
    for row, name in enumerate(names):
        one = {key: value[row : row + 1] for key, value in answer.items()}
        assert_same(one, expected[name], name)


def turned_png(image):
    """Store an image turned by a quarter against the clock, with the orientation that undoes it."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(image).copy()).save(file, "PNG", exif=exif)
    return file.getvalue()


def test_files_are_turned_upright_and_boxes_are_those_of_the_turned_image(
    loaded, batches, expected
):
    name = "batch_1_50x70"
    answer = loaded.signatures["serve_encoded"](
        image_bytes=tf.constant([turned_png(batches[name][0])])
    )
    assert_same(answer, expected[name], name)


def test_a_model_of_stored_pixels_is_served_these(inference_model, batches):
    image = batches["batch_1_50x70"][0]
    signatures = make_signatures(inference_model, apply_exif=False)
    answer = signatures["serve_encoded"](tf.constant([turned_png(image)]))
    stored = signatures["serving_default"](tf.constant(np.rot90(image)[None].copy()))
    assert_same(answer, stored, "stored pixels")


def test_no_files_are_an_empty_answer(loaded):
    answer = loaded.signatures["serve_encoded"](image_bytes=tf.constant([], tf.string))
    assert {key: value.shape.as_list() for key, value in answer.items()} == {
        key: [0, *shape[1:]] for key, (_, shape) in OUTPUTS.items()
    }


def test_after_a_wrong_file_the_next_request_is_answered(loaded, batches, expected):
    name = "batch_1_50x70"
    serve, good = loaded.signatures["serve_encoded"], as_png(batches[name][0])
    for wrong, message in (
        (b"BM6", r"image_bytes\[1\] begins with .* \[42 4d 36\]"),
        (good[:99], "PNG"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            serve(image_bytes=tf.constant([good, wrong]))
        assert_same(serve(image_bytes=tf.constant([good])), expected[name], name)


# === Constants ===


def nodes_of_a_run(model, signature_name):
    """List the operations that TensorFlow runs after it has arranged the graph: (type, fused)."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(model))
        signature = graph.signature_def[signature_name]
        ((_, spec),) = signature.inputs.items()
        dtype = tf.dtypes.as_dtype(spec.dtype)
        image = np.zeros((1, 50, 70, 3), np.uint8)
        fed = [as_png(image[0])] if dtype == tf.string else image.astype(dtype.as_numpy_dtype)
        metadata = tf.compat.v1.RunMetadata()
        session.run(
            signature.outputs["detection_boxes"].name,
            {spec.name: fed},
            tf.compat.v1.RunOptions(output_partition_graphs=True),
            metadata,
        )
    return [
        (node.op, list(node.attr["fused_ops"].list.s))
        for graph in metadata.partition_graphs
        for node in [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    ]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_convolutions_of_constants_are_fused_with_what_follows(signature, exported_frozen):
    # The names say whose kernels run: _FusedConv2D, or oneDNN's _MklNativeFusedConv2D. The RPN has
    # three convolutions with biases, one of them with ReLU; the FC layers are products with both.
    nodes = nodes_of_a_run(exported_frozen, signature)
    convolutions = [fused for op, fused in nodes if op.endswith("FusedConv2D")]
    products = [fused for op, fused in nodes if op.endswith("FusedMatMul")]
    assert len([fused for fused in convolutions if fused[:1] == [b"BiasAdd"]]) >= 3
    assert [b"BiasAdd", b"Relu"] in convolutions
    assert products.count([b"BiasAdd", b"Relu"]) == 2
    # Four matrices are read: of two FC layers and of two branches.
    assert [op for op, _ in nodes if "Variable" in op] == 4 * ["ReadVariableOp"]


def test_on_processors_with_avx2_only_frozen_convolutions_take_the_fast_form(
    inference_model, monkeypatch
):
    monkeypatch.setattr(convolution, "_products_are_faster", lambda: True)
    serve = make_signatures(inference_model, frozen=True)["serve_float"].get_concrete_function()
    inner = [node.op for f in serve.graph.as_graph_def().library.function for node in f.node_def]
    assert "Conv2DBackpropInput" in inner
    plain = make_signatures(inference_model)["serve_float"].get_concrete_function()
    inner = [node.op for f in plain.graph.as_graph_def().library.function for node in f.node_def]
    assert "Conv2DBackpropInput" not in inner  # for any machine


@pytest.mark.gpu
def test_a_gpu_answers_as_the_processor_does(inference_model, loaded, batches):
    served, files = loaded.signatures["serving_default"], loaded.signatures["serve_encoded"]
    for name, images in batches.items():
        pngs = tf.constant([as_png(image) for image in images])
        with tf.device("/CPU:0"):
            expected = {key: value.numpy() for key, value in inference_model.detect(images).items()}
        with tf.device(f"/{GPU_KIND}:0"):
            assert_same(inference_model.detect(images), expected, name)
            assert_same(served(images=tf.constant(images)), expected, name)
            assert_same(files(image_bytes=pngs), expected, name)
