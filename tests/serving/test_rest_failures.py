"""The REST client against servers that fail, and those that are none."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from tests.predict.predicting import read_results
from tests.serving.stand_ins import RestStandIn, rest_error, same_row
from tests.serving.test_rest_client import detect


def failing(answer, image, tmp_path, capsys, *options):
    """Run the client against a server that answers so -> what it said; the status must be 2."""
    with RestStandIn(answer) as server:
        assert detect(server.url, image, "--output", tmp_path / "out", *options) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("error: ") == 1
    assert f"error: {server.url}/v1/models/quickstart: " in said
    assert f"The request was for {image}." in said
    assert list((tmp_path / "out").iterdir()) == [], "so that the same command can be run again"
    return said


def test_a_model_that_is_not_loaded(image, tmp_path, capsys):
    message = "Servable not found for request: Latest(quickstart)"
    said = failing(lambda _: rest_error(404, message), image, tmp_path, capsys)
    assert f"no such model loaded ({message})" in said and "--model" in said


@pytest.mark.parametrize("status", [400, 429, 500, 503, 504])
def test_the_message_of_the_server_is_passed_on(status, image, tmp_path, capsys):
    message = 'image_bytes[0] is neither JPEG nor PNG: it begins with "GIF8"'
    said = failing(lambda _: rest_error(status, message), image, tmp_path, capsys)
    assert f"the server answered {status}: {message}" in said


@pytest.mark.parametrize(
    "content",
    [b'{ "error": "can\\\'t" }', b'{"message": "can\'t"}', b"<html>can't</html>", b"can't \xff"],
)
def test_an_error_in_another_form_is_shown_as_it_is(content, image, tmp_path, capsys):
    said = failing(lambda _: (400, content), image, tmp_path, capsys)
    assert f"the server answered 400: {content.decode('utf-8', 'replace')}" in said


def test_a_long_message_is_cut(image, tmp_path, capsys):
    said = failing(lambda _: rest_error(400, "x" * 10_000), image, tmp_path, capsys)
    assert "x" * 500 + " ..." in said and "x" * 501 not in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>hello</html>", "the answer is no JSON object ('<html>hello</html>')"),
        (b"[]", "the answer is no JSON object ('[]')"),
        (b'{"predictions"', "the answer is no JSON object"),
        (b"\xff\xfe", "the answer is no JSON object"),
        (b'{"outputs": []}', "the answer has NoneType, no rows"),
        (b'{"predictions": [[0.1, 0.9]]}', "row 1 of the answer: lacks detection_boxes"),
    ],
)
def test_an_answer_of_another_kind(content, message, image, tmp_path, capsys):
    assert message in failing(lambda _: (200, content), image, tmp_path, capsys)


def test_no_server(image, tmp_path, capsys):
    with socket.socket() as taken:  # bound and not listening: a port that refuses
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert detect(url, image, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"error: {url}/v1/models/quickstart: no server takes requests there (" in said
    assert "docs/serving.md" in said and "--server" in said


def test_a_server_that_takes_too_long(image, tmp_path, capsys):
    released = threading.Event()

    def wait(request):
        released.wait(30)
        return same_row(request)

    start = time.perf_counter()
    with RestStandIn(wait) as server:
        output = tmp_path / "out"
        assert detect(server.url, image, "--output", output, "--timeout", "0.2") == 2
        assert time.perf_counter() - start < 10
        released.set()
    assert "no answer within 0.2 s. Wait longer: --timeout" in capsys.readouterr().err


@contextmanager
def raw_server(answer):
    """Accept one connection, read something, send these bytes and close -> the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # closing with something unread resets all
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        # An HTTP/2 SETTINGS frame, with which a gRPC server begins.
        (
            b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00",
            "is no complete HTTP (BadStatusLine",
        ),
        (b"", "no server takes requests there"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", "is no complete HTTP (IncompleteRead"),
    ],
)
def test_what_is_no_whole_http(answer, message, image, tmp_path, capsys):
    with raw_server(answer) as port:
        assert detect(f"http://127.0.0.1:{port}", image, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_what_was_found_before_a_failure_is_kept(images, tmp_path, capsys):
    answers = iter([same_row, same_row, lambda _: rest_error(400, "Invalid PNG data")])
    with RestStandIn(lambda request: next(answers)(request)) as server:
        assert detect(server.url, images, "--output", tmp_path / "out") == 2
    assert [found["file_name"] for found in read_results(tmp_path / "out")] == [
        *("a.png", "a.png", "b.jpg", "b.jpg")
    ]
    said = capsys.readouterr().err
    assert f"{tmp_path / 'out' / 'detections.json'} holds what was found until then" in said
    assert f"Invalid PNG data\nThe request was for {images / 'c.png'}." in said
