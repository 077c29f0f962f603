"""The gRPC client against a server that answers as TensorFlow Serving's documentation says."""

import socket
import subprocess
import sys
import threading
from concurrent import futures

import numpy as np
import pytest

from tests.predict.predicting import files_below, read_results
from tests.serving.conftest import SERVING
from tests.serving.stand_ins import (
    ROW,
    RestStandIn,
    batched,
    grpc_stand_in,
    predict_response,
    same_row,
)
from tf_frcnn.errors import UserError, run_command

pytest.importorskip(
    "tensorflow_serving.apis", reason="needs tensorflow-serving-api: extra [serving]"
)

import grpc  # noqa: E402
import grpc_client  # noqa: E402


def detect(target, *arguments):
    """Run the client in this process -> exit status."""
    arguments = [*map(str, arguments), "--server", target]
    return run_command(lambda: grpc_client.main(arguments))


def same_rows(request, context):
    """Answer every image of a request with `ROW`."""
    return predict_response(batched([ROW] * request.inputs["image_bytes"].tensor_shape.dim[0].size))


# === What is sent and written ===


@pytest.mark.parametrize(("options", "version"), [((), None), (("--version", "3"), 3)])
def test_the_request_field_by_field(options, version, image, tmp_path):
    requests = []

    def keep(request, context):
        requests.append(request)
        return same_rows(request, context)

    with grpc_stand_in(keep) as target:
        output = tmp_path / "out"
        assert detect(target, image, "--output", output, "--model", "bccd", *options) == 0
    (request,) = requests
    spec = request.model_spec
    assert (spec.name, spec.signature_name) == ("bccd", "serve_encoded")
    assert spec.HasField("version") == (version is not None)
    assert spec.version.value == (version or 0)
    (name,) = request.inputs
    tensor = request.inputs[name]
    assert name == "image_bytes" and tensor.dtype == 7  # DT_STRING in types.proto
    assert [dimension.size for dimension in tensor.tensor_shape.dim] == [1]
    assert list(tensor.string_val) == [image.read_bytes()]


def test_bytes_that_end_in_zeros_arrive():
    server = grpc_client.GrpcServer("127.0.0.1:1", "tiny", None, 1)
    request = server.prepare([b"\x89PNG\0\0", b"\0", b""])
    assert list(request.inputs["image_bytes"].string_val) == [b"\x89PNG\0\0", b"\0", b""]


def test_results_and_drawings(images, tmp_path, capsys):
    with grpc_stand_in(same_rows) as target:
        options = ("--output", tmp_path / "out", "--score", "0.6", "--batch-size", "2")
        assert detect(target, images, *options) == 0
    # yxyx [1, 2, 11, 32] begins at x 2, y 1, and is 30 wide, 10 high; the cat's 0.5 is too low.
    assert read_results(tmp_path / "out") == [
        {
            "file_name": name,
            "category_name": "dog",
            "category_id": 2,
            "bbox": [2, 1, 30, 10],
            "score": 0.75,
        }
        for name in ("a.png", "b.jpg", "c.png")
    ]
    assert files_below(tmp_path / "out") == ["a.jpg", "b.jpg", "c.jpg", "detections.json"]
    assert f"{images / 'a.png'}: 1 dog -> " in capsys.readouterr().err


def test_tensors_come_apart_by_their_first_dimension():
    outputs = predict_response(
        {"a": np.array([[1, 2], [3, 4]], np.int32), "b": np.array([0.5, 0.25], np.float32)}
    ).outputs
    rows = grpc_client.to_rows(outputs)
    assert [row["a"].tolist() for row in rows] == [[1, 2], [3, 4]]
    assert [row["b"] for row in rows] == [0.5, 0.25]
    scalar = predict_response({"a": np.array(7, np.int32)}).outputs
    assert grpc_client.to_rows(scalar) == [] and grpc_client.to_rows({}) == []


def test_an_answer_above_the_limit_of_grpc(image, tmp_path):
    # 300,000 boxes are 300,000 x 4 x 4 bytes = 4.8 MB; a client takes 4 MiB = 4.19 MB unless told.
    size = 300_000
    boxes = np.zeros((1, size, 4), np.float32)
    boxes[0, 0] = ROW["detection_boxes"][0]
    outputs = {
        "detection_boxes": boxes,
        "detection_scores": np.full((1, size), 0.75, np.float32),
        "detection_classes": np.full((1, size), 2, np.int32),
        "detection_names": np.full((1, size), b"dog", object),
        "num_detections": np.array([1], np.int32),
    }
    with grpc_stand_in(lambda request, context: predict_response(outputs)) as target:
        assert detect(target, image, "--output", tmp_path / "out") == 0
    assert len(read_results(tmp_path / "out")) == 1


# === Servers that fail ===


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.NOT_FOUND, "no such model loaded (what it says). It may still be loading"),
        (grpc.StatusCode.INVALID_ARGUMENT, "the server answered INVALID_ARGUMENT: what it says"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "answered RESOURCE_EXHAUSTED: what it says"),
        (grpc.StatusCode.UNAVAILABLE, "no server takes requests there (what it says)"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "no answer within 60 s"),
    ],
)
def test_each_status_has_its_message(code, message, image, tmp_path, capsys):
    with grpc_stand_in(lambda request, context: context.abort(code, "what it says")) as target:
        assert detect(target, image, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"error: {target}, model quickstart: " in said and message in said
    assert f"The request was for {image}." in said and "Traceback" not in said


def test_no_server(image, tmp_path, capsys):
    with socket.socket() as taken:  # bound and not listening: a port that refuses
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        assert detect(target, image, "--output", tmp_path / "out") == 2
    assert f"{target}, model quickstart: no server takes requests" in capsys.readouterr().err


def test_the_port_of_rest_is_told(image, tmp_path, capsys):
    with RestStandIn(same_row) as server:
        target = f"127.0.0.1:{server.port}"
        assert detect(target, image, "--output", tmp_path / "out", "--timeout", "20") == 2
    assert f"error: {target}, model quickstart: no server takes" in capsys.readouterr().err


def test_a_server_that_takes_too_long(image, tmp_path, capsys):
    released = threading.Event()

    def wait(request, context):
        released.wait(30)
        return same_rows(request, context)

    with grpc_stand_in(wait) as target:
        assert detect(target, image, "--output", tmp_path / "out", "--timeout", "0.2") == 2
        released.set()
    assert "no answer within 0.2 s. Wait longer: --timeout" in capsys.readouterr().err


def test_an_answer_of_another_model(image, tmp_path, capsys):
    scores = {"probabilities": np.array([[0.1, 0.9]], np.float32)}
    with grpc_stand_in(lambda request, context: predict_response(scores)) as target:
        assert detect(target, image, "--output", tmp_path / "out") == 2
    assert "row 1 of the answer: lacks detection_boxes" in capsys.readouterr().err


def test_a_tensor_that_is_broken(image, tmp_path, capsys):
    response = predict_response(batched([ROW]))
    response.outputs["detection_boxes"].float_val.append(1.0)  # 13 numbers for 1 x 3 x 4
    with grpc_stand_in(lambda request, context: response) as target:
        assert detect(target, image, "--output", tmp_path / "out") == 2
    assert "holds a tensor that cannot be read (" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["localhost", "http://localhost:8501", "localhost:port"])
def test_what_is_no_address(target, image, tmp_path, capsys):
    assert detect(target, image, "--output", tmp_path / "out") == 2
    assert f"--server {target}: expected one as localhost:8500" in capsys.readouterr().err


# === Without the package ===


def test_a_package_that_lacks_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(UserError, match=r"tensorflow-serving-api.*pip install -e '\.\[serving\]'"):
        grpc_client.GrpcServer("localhost:8500", "tiny", None, 1)


def test_the_script_ends_in_a_message(image, tmp_path):
    arguments = [str(image), "--output", str(tmp_path / "out"), "--server", "nowhere"]
    script = str(SERVING / "grpc_client.py")
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: --server nowhere: ")


def test_requests_may_be_sent_from_several_threads():
    with grpc_stand_in(same_rows) as target:
        server = grpc_client.GrpcServer(target, "tiny", None, 30)
        request = server.prepare([b"\x89PNG", b"\xff\xd8\xff"])
        with futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: server.detect(request, 2), range(20)))
    assert all([len(answer) for answer in pair] == [2, 2] for pair in answers)
