"""Stand-ins for TensorFlow Serving, on this machine: they answer as its documentation says.

They can be told what to answer, or answer with a TensorFlow function as the server does with the
signature of a SavedModel. What is not documented is as in the server's source: json_tensor.cc
writes numbers, http_rest_api_handler.cc and http_server.cc choose the status of an error.
"""

import base64
import json
import math
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import numpy as np

# Two detections and a row of padding. The dog's box begins at x 2, y 1 and is 30 wide, 10 high.
ROW = {
    "detection_boxes": [[1.0, 2.0, 11.0, 32.0], [4.5, 0.0, 6.0, 8.0], [0.0, 0.0, 0.0, 0.0]],
    "detection_scores": [0.75, 0.5, 0.0],
    "detection_classes": [2, 1, 0],
    "detection_names": ["dog", "cat", ""],
    "num_detections": 2,
}


class Request(NamedTuple):
    """What the stand-in was asked."""

    method: str
    path: str
    headers: dict
    body: bytes


class RestStandIn:
    """An HTTP server that keeps what it was asked.

    Args of `__init__`: `answer` takes a `Request` and returns status and content.

    Attributes:
        url: its address.
        requests: all that it was asked, in the order of arrival.
        most_at_a_time: the largest number of requests that were on their way together.
    """

    def __init__(self, answer):
        self.requests = []
        self.most_at_a_time = 0
        self._answer, self._lock, self._at_a_time = answer, threading.Lock(), 0
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                stand_in._handle(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _handle(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        request = Request(handler.command, handler.path, dict(handler.headers), body)
        with self._lock:
            self.requests.append(request)
            self._at_a_time += 1
            self.most_at_a_time = max(self.most_at_a_time, self._at_a_time)
        status, content = self._answer(request)
        with self._lock:
            self._at_a_time -= 1
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def rest_error(status, message):
    """Write an error as the REST API does."""
    return status, json.dumps({"error": message}).encode()


def same_row(request):
    """Answer every image of a REST request with `ROW`."""
    count = len(json.loads(request.body)["instances"])
    return 200, json.dumps({"predictions": [ROW] * count}).encode()


# === A function behind REST ===


class ServedFunction:
    """A TensorFlow function as the server would serve it: decodes requests, writes answers.

    Args of `__init__`: `function` of `image_bytes` [B] string, the signature `serve_encoded`; the
    name that it is served by.
    """

    def __init__(self, function, model="tiny"):
        self.function, self.model = function, model

    def rest(self, request):
        """Answer a REST request -> status and content."""
        import tensorflow as tf

        match = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", request.path)
        if request.method != "POST" or not match:
            return rest_error(400, f"Malformed request: {request.method} {request.path}")
        if match[1] != self.model:
            return rest_error(404, f"Servable not found for request: Latest({match[1]})")
        asked = json.loads(request.body)
        if asked["signature_name"] != "serve_encoded":
            return rest_error(400, "Serving signature name not found in signature def")
        contents = []
        for instance in asked["instances"]:
            (name,) = instance
            assert name == "image_bytes" and list(instance[name]) == ["b64"]
            contents.append(base64.b64decode(instance[name]["b64"], validate=True))
        try:
            outputs = self.function(image_bytes=tf.constant(contents, tf.string))
        except tf.errors.InvalidArgumentError as error:
            return rest_error(400, error.message)
        return 200, to_json({name: tensor.numpy() for name, tensor in outputs.items()}).encode()


def to_json(outputs):
    """Write outputs with a batch dimension in row format, as the server does."""
    sizes = {len(array) for array in outputs.values()}
    assert len(sizes) == 1, "the server refuses outputs of different batch sizes"
    rows = [
        "{" + ", ".join(f'"{name}": {_value(array[row])}' for name, array in outputs.items()) + "}"
        for row in range(sizes.pop())
    ]
    return '{\n    "predictions": [' + ", ".join(rows) + "]\n}"


def _value(value):
    if isinstance(value, np.ndarray) and value.ndim:
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bytes):  # text, for no name ends in _bytes
        return json.dumps(value.decode(), ensure_ascii=False)
    return decimal(value) if np.issubdtype(value.dtype, np.floating) else str(int(value))


def decimal(value):
    """Write a float32: in six digits if that is the same number, else in nine; 2.0 and not 2."""
    if not np.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if np.float32(text) != value:
        text = f"{value:.9g}"
    return text if "." in text or "e" in text else text + ".0"


# === gRPC ===


@contextmanager
def grpc_stand_in(predict):
    """Serve `PredictionService.Predict`, a function of request and context -> HOST:PORT."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc as service

    class Servicer(service.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802
            return predict(request, context)

    options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    server = grpc.server(ThreadPoolExecutor(4), options=options)
    service.add_PredictionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def predict_response(outputs):
    """Write a `PredictResponse` of arrays with a batch dimension, values in typed fields."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    response = predict_pb2.PredictResponse()
    for name, array in outputs.items():
        tensor = response.outputs[name]
        dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
        tensor.dtype = dtype.as_datatype_enum
        for size in array.shape:
            tensor.tensor_shape.dim.add().size = size
        field = {"O": "string_val", "S": "string_val", "f": "float_val", "i": "int_val"}
        getattr(tensor, field[array.dtype.kind]).extend(array.ravel().tolist())
    return response


def batched(rows):
    """Put rows such as `ROW` together into arrays, names as bytes."""
    arrays = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            arrays[name] = array.astype(np.float32)
        elif array.dtype.kind == "i":
            arrays[name] = array.astype(np.int32)
    names = [[text.encode() for text in row["detection_names"]] for row in rows]
    return {**arrays, "detection_names": np.array(names, object)}
