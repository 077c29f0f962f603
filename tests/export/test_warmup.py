"""The requests for a server's warm-up: its own messages, and the signatures answer them."""

import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.export.warmup import WARMUP_FILE


@pytest.fixture(scope="module")
def requests(exported):
    """Read the requests with the server's own message classes."""
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2",
        reason="tensorflow-serving-api is not installed",
    )
    records = tf.data.TFRecordDataset(str(exported / WARMUP_FILE))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    for log in logs:
        assert log.WhichOneof("log_type") == "predict_log"
    return [log.predict_log.request for log in logs]


def test_the_server_finds_the_file_where_it_looks(exported):
    assert (exported / "assets.extra" / "tf_serving_warmup_requests").is_file()


def test_every_signature_is_warmed_and_answers(exported, requests):
    loaded = tf.saved_model.load(str(exported))
    names = [request.model_spec.signature_name for request in requests]
    assert sorted(names) == sorted(loaded.signatures)
    for request in requests:
        assert request.model_spec.name == exported.parent.name
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        answer = loaded.signatures[request.model_spec.signature_name](
            **{key: tf.constant(value) for key, value in inputs.items()}
        )
        (value,) = inputs.values()
        assert len(answer["num_detections"]) == len(value)


def test_all_ask_about_one_small_image_of_the_shape_that_the_network_sees(requests):
    # 64 x 96 of the network at a long side of 64: 42.67, so 43 rows.
    values = {
        request.model_spec.signature_name: tf.make_ndarray(next(iter(request.inputs.values())))
        for request in requests
    }
    image = values["serving_default"]
    assert image.shape == (1, 43, 64, 3) and image.dtype == np.uint8
    assert values["serve_float"].dtype == np.float32
    np.testing.assert_array_equal(values["serve_float"], image)
    jpeg, png = values["serve_encoded"]
    assert tf.io.is_jpeg(jpeg) and not tf.io.is_jpeg(png)
    np.testing.assert_array_equal(tf.io.decode_png(png), image[0])
