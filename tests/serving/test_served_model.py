"""Clients, messages and an export together: they find what the network finds by itself."""

import json

import keras
import messages
import numpy as np
import pytest
import rest_client
import tensorflow as tf
from PIL import Image

from tests.predict.predicting import files_below, read_results
from tests.serving.stand_ins import (
    RestStandIn,
    ServedFunction,
    decimal,
    grpc_stand_in,
    predict_response,
)
from tf_frcnn.data.image import read_image
from tf_frcnn.errors import UserError, run_command
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import FasterRCNN
from tf_frcnn.run_folder import with_classes

CLASS_NAMES = ("cat", "dog", "天鹅")


@pytest.fixture(scope="module")
def inference_model(tiny_config):
    """Build an untrained model, its logits brought down to the size of trained ones."""
    keras.utils.set_random_seed(0)
    network = FasterRCNN(tiny_config.model, 3)
    kernel = network.box_head.classes.kernel
    kernel.assign(0.1 * kernel)  # rounding errors of scores grow with the logits
    return InferenceModel(network, CLASS_NAMES, 64, 96)


@pytest.fixture(scope="module")
def served(inference_model, tiny_config, tmp_path_factory):
    """Export the model and serve its signature `serve_encoded`."""
    config = with_classes(tiny_config, CLASS_NAMES)
    version = export_saved_model(inference_model, config, tmp_path_factory.mktemp("tiny"))
    loaded = tf.saved_model.load(str(version))
    return ServedFunction(lambda **inputs: loaded.signatures[messages.SIGNATURE](**inputs))


@pytest.fixture
def noise(tmp_path):
    """Write images of two sizes, of which one is a JPEG -> their folder."""
    random = np.random.default_rng(5)
    (tmp_path / "in").mkdir()
    for name, size in (("a.png", (50, 70)), ("b.jpg", (90, 40)), ("c.png", (50, 70))):
        image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "in" / name)
    return tmp_path / "in"


def expected_results(inference_model, folder):
    """Detect without a server -> file name, box and class of each detection, in order."""
    expected = []
    for path in sorted(folder.iterdir()):
        boxes, scores, classes = inference_model(read_image(path))
        assert len(boxes) > 0, "the comparison needs detections"
        for (ymin, xmin, ymax, xmax), score, class_id in zip(boxes, scores, classes, strict=True):
            expected.append(
                (path.name, int(class_id), [xmin, ymin, xmax - xmin, ymax - ymin], score)
            )
    return expected


def check(output, expected):
    found = read_results(output)
    assert [(result["file_name"], result["category_id"]) for result in found] == [
        (name, class_id) for name, class_id, _, _ in expected
    ]
    for result, (_, class_id, box, score) in zip(found, expected, strict=True):
        assert result["category_name"] == CLASS_NAMES[class_id - 1]
        # Within what a graph that is compiled otherwise may round, as for the export.
        np.testing.assert_allclose(result["bbox"], box, atol=1e-3)
        assert result["score"] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_over_rest(batch_size, served, inference_model, noise, tmp_path):
    output = tmp_path / "out"
    options = ["--model", "tiny", "--score", "0", "--batch-size", str(batch_size)]
    with RestStandIn(served.rest) as server:
        arguments = [str(noise), "--output", str(output), "--server", server.url, *options]
        assert run_command(lambda: rest_client.main(arguments)) == 0
    check(output, expected_results(inference_model, noise))
    assert files_below(output) == ["a.jpg", "b.jpg", "c.jpg", "detections.json"]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_over_grpc(batch_size, served, inference_model, noise, tmp_path):
    pytest.importorskip(
        "tensorflow_serving.apis", reason="needs tensorflow-serving-api: extra [serving]"
    )
    import grpc_client

    def predict(request, context):
        contents = tf.make_ndarray(request.inputs["image_bytes"])
        outputs = served.function(image_bytes=tf.constant(contents))
        return predict_response({name: tensor.numpy() for name, tensor in outputs.items()})

    output = tmp_path / "out"
    options = ["--model", "tiny", "--score", "0", "--batch-size", str(batch_size)]
    with grpc_stand_in(predict) as target:
        arguments = [str(noise), "--output", str(output), "--server", target, *options]
        assert run_command(lambda: grpc_client.main(arguments)) == 0
    check(output, expected_results(inference_model, noise))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # G I F 8 9 a in hexadecimal; items are counted from 0.
        (
            b"GIF89a",
            r"(?s)answered 400: .*image_bytes\[1\] begins with the bytes \[47 49 46 38 39 61\]",
        ),
        (b"\x89PNG\r\n\x1a\n and no more", r"(?s)answered 400: .*PNG"),
        (b"\xff\xd8\xff and no more", r"(?s)answered 400: .*JPEG"),
    ],
)
def test_a_corrupt_image_is_an_error_and_later_requests_are_answered(
    content, message, served, noise
):
    whole = (noise / "a.png").read_bytes()
    with RestStandIn(served.rest) as stand_in:
        server = rest_client.RestServer(stand_in.url, "tiny", None, 60)
        with pytest.raises(UserError, match=message):
            server.detect(server.prepare([whole, content]), 2)
        (found,) = server.detect(server.prepare([whole]), 1)
    assert len(found) > 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # json_tensor.cc: six digits if they are the same number, nine otherwise; 2.0 and not 2.
        (0.2, "0.2"),
        (2.0, "2.0"),
        (9e6, "9e+06"),
        (3e-5, "3e-05"),
        (16777216.0, "16777216.0"),
        (1 / 3, "0.333333343"),
        (np.nan, "NaN"),
        (-np.inf, "-Infinity"),
    ],
)
def test_the_stand_in_writes_numbers_as_the_server_does(value, text):
    assert decimal(np.float32(value)) == text
    written = np.float32(json.loads(text))
    assert written == np.float32(value) or np.isnan(written)
